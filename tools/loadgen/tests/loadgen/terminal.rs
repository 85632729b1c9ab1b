//! What a user sees on a terminal.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

use crate::loadgen;

/// What the program has drawn on a terminal of so many columns, one text a drawn line, and its exit code.
fn drawn(line: &str, columns: u16) -> (Vec<String>, Option<i32>) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).expect("the system has terminals");
    let mut command = loadgen(line);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command
        .stderr(Stdio::from(terminal.slave))
        .spawn()
        .expect("the program exists");
    // It has a copy of the terminal's other side, without which this side ends when the program does.
    drop(command);
    let (mut bytes, mut screen) = (Vec::new(), File::from(terminal.master));
    let mut part = [0; 4096];
    // A terminal whose other side is gone ends with an error.
    while let Ok(read @ 1..) = screen.read(&mut part) {
        bytes.extend_from_slice(&part[..read]);
    }
    let code = child.wait().expect("it was started").code();
    let text = String::from_utf8(bytes).expect("the program writes text");
    let lines = text.split(['\r', '\n']).map(plain);
    (lines.filter(|line| !line.is_empty()).collect(), code)
}

/// A line without colours and movements: `ESC [ numbers letter`.
fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic());
        text + end.map_or("", |end| &part[end + 1..])
    })
}

#[test]
fn the_live_line_is_whole_on_80_columns() {
    let (lines, code) = drawn(
        "publish --sink --rate 20000 --duration 3s --settle 20s --warmup 0s",
        80,
    );
    assert_eq!(code, Some(0), "{lines:?}");
    let live: Vec<&String> = lines.iter().filter(|line| line.contains("p50")).collect();
    assert!(!live.is_empty(), "{lines:?}");
    for line in live {
        assert!(line.chars().count() <= 80, "{line:?}");
        assert!(line.contains("msgs/s · ") && line.contains(" in flight · p50 "));
        // A number and its unit.
        let (_, p99) = line
            .split_once(" · p99 ")
            .unwrap_or_else(|| panic!("{line:?}"));
        let (number, unit) = p99
            .trim_end()
            .split_once(' ')
            .unwrap_or_else(|| panic!("{line:?}"));
        assert!(
            number.parse::<f64>().is_ok() && ["ns", "µs", "ms", "s"].contains(&unit),
            "{line:?}"
        );
    }
}
