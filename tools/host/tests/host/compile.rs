//! `millpond compile`, and starts with and without what it kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use millpond_tests::folder::Folder;
use millpond_tests::guest;

use super::{Done, done, millpond};

fn compile(cache: &Path) -> Done {
    compile_with(cache, &["echo"], &[])
}

fn compile_with(cache: &Path, guests: &[&str], flags: &[&str]) -> Done {
    let mut command = millpond();
    command
        .arg("compile")
        .args(guests.iter().map(|name| guest(name)));
    done(command.arg("--cache").arg(cache).args(flags), b"")
}

#[test]
fn its_help_shows_the_flags_that_change_what_it_does() {
    for help in ["-h", "--help"] {
        let shown = done(millpond().args(["compile", help]), b"").ended(0).out;
        let flags = shown.lines().filter_map(|line| {
            let flag = line.trim_start().strip_prefix("--")?;
            flag.split(['=', '[', ' ']).next()
        });
        let flags: Vec<_> = flags.collect();
        assert_eq!(flags, ["config", "guard-pages", "cache", "cache-max"]);
    }
}

/// Runs a line through the component, with a log of what was kept.
fn run(cache: &Path) -> Done {
    let mut command = millpond();
    command
        .arg("run")
        .arg(guest("echo"))
        .arg("--cache")
        .arg(cache);
    command.env("RUST_LOG", "millpond::guest::cache=debug");
    let done = done(&mut command, b"echo hello\n");
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "echo.out hello\n"),
        "{}",
        done.err
    );
    done
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is there");
    entries
        .map(|entry| entry.expect("it can be read").path())
        .collect()
}

#[test]
fn what_was_compiled_ahead_is_loaded_and_not_compiled() {
    let folder = Folder::new();
    let cache = folder.path().join("made/here");
    let first = compile(&cache);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.out.starts_with("compiled   "), "{}", first.out);
    assert!(compile(&cache).out.starts_with("was there"));
    assert_eq!(files(&cache).len(), 1);
    assert!(run(&cache).err.contains("compiled code was kept"));
}

#[test]
fn a_start_keeps_what_it_compiles_and_what_is_damaged_is_compiled_anew() {
    let folder = Folder::new();
    let cache = folder.path().join("cache");
    assert!(!run(&cache).err.contains("was kept"));
    assert!(run(&cache).err.contains("was kept"));
    let file = files(&cache).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(run(&cache).err.contains("made anew: it is damaged"));
    assert!(run(&cache).err.contains("was kept"), "it was replaced");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_and_off_is_none() {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = compile(folder.path());
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(
        refused.err.contains("others may write to it (mode 777)"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("--cache"), "{}", refused.err);
    assert_eq!(files(folder.path()).len(), 0);
    let off = compile(Path::new("off"));
    assert_eq!(off.code, Some(2));
    assert!(off.err.contains("no cache"), "{}", off.err);
}

/// Runs a line through the component with these variables of the environment, and no folder named.
fn run_by_default(variables: &[(&str, &Path)]) -> Done {
    let mut command = millpond();
    command.arg("run").arg(guest("echo"));
    command.envs(variables.iter().copied());
    let done = done(&mut command, b"echo hello\n").ended(0);
    assert_eq!(done.out, "echo.out hello\n");
    done
}

fn warnings(done: &Done) -> usize {
    done.err
        .lines()
        .filter(|line| line.contains("WARN"))
        .count()
}

#[test]
fn the_default_folder_is_below_that_of_caches_or_home_or_none() {
    let (caches, home) = (Folder::new(), Folder::new());
    let both = [("XDG_CACHE_HOME", caches.path()), ("HOME", home.path())];
    run_by_default(&both);
    let folder = |of: &Folder, below: &str| of.path().join(below);
    assert_eq!(files(&folder(&caches, "millpond/compiled")).len(), 1);
    assert_eq!(files(home.path()).len(), 0);
    run_by_default(&[("XDG_CACHE_HOME", Path::new("")), both[1]]);
    assert_eq!(files(&folder(&home, ".cache/millpond/compiled")).len(), 1);
    for none in [&[][..], &[("HOME", Path::new(""))]] {
        assert_eq!(warnings(&run_by_default(none)), 0, "{none:?}");
    }
}

#[test]
fn a_default_folder_that_cannot_be_used_ended_the_program() {
    let home = Folder::new();
    let compiled = home.path().join("millpond/compiled");
    let variable = [("XDG_CACHE_HOME", home.path())];
    let goes_without = |why: &str| {
        let done = run_by_default(&variable).says(&["WARN", &compiled.display().to_string(), why]);
        assert_eq!(warnings(&done), 1, "{}", done.err);
    };
    // Not by its rights: who runs tests as root may write everywhere.
    fs::write(home.path().join("millpond"), "").unwrap();
    goes_without("can't be made");
    fs::remove_file(home.path().join("millpond")).unwrap();
    fs::create_dir_all(&compiled).unwrap();
    fs::set_permissions(&compiled, fs::Permissions::from_mode(0o777)).unwrap();
    goes_without("others may write to it");
    assert_eq!(files(&compiled).len(), 0);

    // Whoever names it asks for it, and so does who compiles ahead.
    let mut named = millpond();
    named.arg("run").arg(guest("echo")).arg("--cache");
    let why = ["others may write to it", "--cache"];
    done(named.arg(&compiled), b"").ended(2).says(&why);
    let mut ahead = millpond();
    ahead.arg("compile").arg(guest("echo")).envs(variable);
    done(&mut ahead, b"").ended(2).says(&why);
}

#[test]
fn what_is_compiled_ahead_and_not_kept_is_an_error() {
    let folder = Folder::new();
    let refused = compile_with(folder.path(), &["echo"], &["--cache-max", "2KiB"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert_eq!(refused.out, "");
    let why = "the whole folder may have 2048";
    assert!(refused.err.contains(why), "{}", refused.err);
    assert_eq!(files(folder.path()).len(), 0);
    let names = ["echo", "counter"];
    let sizes = names.map(|name| {
        let alone = Folder::new();
        assert_eq!(compile_with(alone.path(), &[name], &[]).code, Some(0));
        fs::metadata(files(alone.path()).remove(0)).unwrap().len()
    });
    let both: u64 = sizes.iter().sum();
    let max = (both - 1).to_string();
    let one_short = compile_with(folder.path(), &names, &["--cache-max", &max]);
    assert_eq!(one_short.code, Some(2), "{}", one_short.err);
    let why = "1 of 2 made room for others";
    assert!(one_short.err.contains(why), "{}", one_short.err);
    let enough = compile_with(folder.path(), &names, &["--cache-max", &both.to_string()]);
    assert_eq!(enough.code, Some(0), "{}", enough.err);
    assert_eq!(files(folder.path()).len(), 2);
}
