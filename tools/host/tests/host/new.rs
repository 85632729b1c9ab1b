//! `millpond new`: what it writes builds with the commands it prints, and runs at once; what can't be written leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use millpond_tests::folder::Folder;
use millpond_tests::guests::build_script;
use millpond_tests::{cache, repository};

use super::{Done, done, millpond};

const LANGUAGES: [&str; 2] = ["rust", "c"];

fn new(folder: &Path, arguments: &[&str]) -> Done {
    let mut command = millpond();
    command.current_dir(folder).arg("new").args(arguments);
    done(&mut command, b"")
}

/// The printed commands under these words.
fn commands<'a>(printed: &'a str, words: &str) -> Vec<&'a str> {
    let after = printed.lines().skip_while(|line| *line != words).skip(1);
    let commands: Vec<_> = after.map_while(|line| line.strip_prefix("  ")).collect();
    assert!(!commands.is_empty(), "{words:?} in {printed}");
    commands
}

/// A shell in which nothing of this build is set.
fn plain_shell(folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.current_dir(folder).arg("-ec");
    let keep = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    let builds = |name: &str| name.starts_with("CARGO") || name.starts_with("RUST");
    for (name, _) in
        std::env::vars().filter(|(name, _)| builds(name) && !keep.contains(&name.as_str()))
    {
        shell.env_remove(name);
    }
    shell
}

/// The same, in which `millpond` and the language's compiler for components are found.
fn shell(folder: &Path, language: &str) -> Command {
    let mut shell = plain_shell(folder);
    let tools = build_script(&repository(), &[language, "--env"]);
    let tools =
        tools.unwrap_or_else(|complaint| panic!("the compiler for {language}: {complaint}"));
    let mut path = std::env::var("PATH").expect("there is one");
    for (name, value) in tools.lines().filter_map(|line| line.split_once('=')) {
        match name {
            // In C all that is needed is installed by the printed commands.
            "PATH" | "PYTHONPATH" if language == "c" => {}
            "PATH" => value.clone_into(&mut path),
            _ => drop(shell.env(name, value)),
        }
    }
    let program = Path::new(env!("CARGO_BIN_EXE_millpond"))
        .parent()
        .expect("it lies in a folder");
    shell.env("PATH", format!("{}:{path}", program.display()));
    shell
}

/// Runs the printed commands that install the tools for C. The packages themselves, of half a gigabyte, are those that the guests' script
/// has unpacked: pip finds them in the environment, and must not ask for others.
fn install(project: &Path, once: &[&str]) {
    let [venv, pip] = once else {
        panic!("{once:?}");
    };
    done(shell(project, "c").arg(venv), b"").ended(0);
    let libraries = fs::read_dir(project.join(".venv/lib")).expect("it is an environment");
    let python = libraries.map(|entry| entry.expect("it can be read").path());
    let packages = python
        .last()
        .expect("it has a Python")
        .join("site-packages");
    let unpacked = pip.split(' ').filter_map(|word| word.split_once("=="));
    let unpacked = unpacked.map(|(name, version)| cache().join(format!("{name}-{version}")));
    let lines: String = unpacked
        .map(|path| format!("{}\n", path.display()))
        .collect();
    fs::write(packages.join("unpacked.pth"), lines).expect("the folder is ours");
    let installed = done(shell(project, "c").env("PIP_NO_INDEX", "1").arg(pip), b"").ended(0);
    assert_eq!(
        installed.out.matches("already satisfied").count(),
        2,
        "{}",
        installed.out
    );
}

#[test]
fn a_project_builds_with_the_printed_commands_and_runs_at_once() {
    for language in LANGUAGES {
        let folder = Folder::new();
        let printed = new(folder.path(), &["my-mill", "--lang", language])
            .ended(0)
            .out;
        let readme =
            fs::read_to_string(folder.path().join("my-mill/README.md")).expect("it is written");
        let [once, build, run] =
            ["once:", "to build it:", "to run it:"].map(|words| commands(&printed, words));
        for command in once.iter().chain(&build).chain(&run) {
            assert!(
                readme.lines().any(|line| line == *command),
                "{command} in {readme}"
            );
        }
        assert!(
            !readme.contains("{{") && !printed.contains("{{"),
            "{readme}{printed}"
        );

        assert_eq!(commands(&printed, "in its folder:"), ["cd my-mill"]);
        let project = folder.path().join("my-mill");
        if language == "c" {
            install(&project, &once);
        }
        let script = [&build[..], &run].concat().join("\n");
        let ran = done(shell(&project, language).arg(&script), b"").ended(0);
        assert_eq!(
            ran.out, "greetings hello, world\n",
            "{language}: {}",
            ran.err
        );

        // The same component, with nobody to greet, and with two.
        let component = run[0].rsplit(' ').next().expect("it runs one");
        let component = project.join(component);
        let again = |input| {
            let arguments = ["run", "--subject", "hello", "--dead-letter", "dead"];
            done(millpond().args(arguments).arg(&component), input).ended(6)
        };
        if language == "rust" {
            // A name that is no text is given up on, and is no fault of a call; in C names are bytes.
            let no_text = again(b"hello \xff\n");
            assert_eq!(no_text.lines(), ["dead \\xff"]);
            no_text.says(&["1 by terminated"]);
        }
        let again = again(b"hello a b\nhello\nhello c\n");
        assert_eq!(
            again.lines(),
            ["dead ", "greetings hello, a b", "greetings hello, c"],
            "{language}"
        );
        let inspect = done(millpond().args(["inspect", "--json"]).arg(&component), b"")
            .ended(0)
            .json();
        assert_eq!(inspect["contract"], "millpond:batch/handler@0.1.0");
        assert_eq!(
            inspect["way"], "direct",
            "{language}: it imports nothing that waits"
        );
    }
}

#[test]
fn a_project_in_rust_has_a_test_and_lints_that_need_no_target() {
    let folder = Folder::new();
    let printed = new(folder.path(), &["mill", "--lang", "rust"]).ended(0).out;
    let project = folder.path().join("mill");
    let test = commands(&printed, "to test it:").join("\n");
    let tested = done(plain_shell(&project).arg(test), b"").ended(0);
    let passed = "who_names_itself_is_greeted_and_who_does_not_is_given_up_on ... ok";
    assert!(tested.out.contains(passed), "{}", tested.out);
    let lints = "cargo clippy --all-targets -- -D warnings && cargo fmt --check -p mill";
    done(plain_shell(&project).arg(lints), b"").ended(0);
}

#[test]
fn the_printed_versions_of_tools_are_those_that_the_guests_are_built_with() {
    let folder = Folder::new();
    let printed = new(folder.path(), &["mill", "--lang", "c"]).ended(0).out;
    let script = fs::read_to_string(repository().join("guests/build.py")).expect("it is there");
    let once = commands(&printed, "once:");
    let pip = once.last().expect("there is one");
    let tools: Vec<_> = pip
        .split(' ')
        .filter_map(|word| word.split_once("=="))
        .collect();
    assert_eq!(tools.len(), 2, "{pip}");
    for (name, version) in tools {
        assert!(
            script.contains(&format!("(\"{name}\", \"{version}\")")),
            "{name} {version}"
        );
    }
}

#[test]
fn a_project_is_written_into_an_empty_folder_and_into_no_other() {
    let folder = Folder::new();
    let at = |name| folder.path().join(name);
    fs::create_dir(at("empty")).expect("the folder is ours");
    new(folder.path(), &["empty", "--lang", "rust"]).ended(0);
    assert!(at("empty/src/lib.rs").exists());

    fs::create_dir(at("full")).expect("the folder is ours");
    fs::write(at("full/mine"), "x").expect("the folder is ours");
    fs::write(at("file"), "x").expect("the folder is ours");
    std::os::unix::fs::symlink("nowhere", at("link")).expect("the folder is ours");
    for name in ["empty", "full", "file", "link"] {
        for language in LANGUAGES {
            new(folder.path(), &[name, "--lang", language])
                .ended(2)
                .says(&["error: ", name, "is there already"]);
        }
    }
    assert_eq!(names(folder.path()), ["empty", "file", "full", "link"]);
    assert_eq!(names(&at("full")), ["mine"]);
}

#[test]
fn a_name_or_language_that_can_not_be_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let long = "a".repeat(65);
    let letters = "lower-case letters, digits and hyphens";
    for (name, why) in [
        ("", letters),
        ("Mill", letters),
        ("1mill", letters),
        ("my_mill", letters),
        ("../mill", letters),
        ("/tmp/mill", letters),
        ("mühle", letters),
        ("a b", letters),
        (&long, "more than 64 characters"),
        ("fn", "a crate can't be called so"),
        ("millpond-guest", "a crate can't be called so"),
    ] {
        new(folder.path(), &[name, "--lang", "rust"])
            .ended(2)
            .says(&["can't be a project's name", why]);
    }
    new(folder.path(), &["mill", "--lang", "cobol"])
        .ended(2)
        .says(&["cobol", "rust", "c"]);
    new(folder.path(), &["mill"]).ended(2).says(&["--lang"]);
    new(folder.path(), &[]).ended(2).says(&["NAME"]);
    assert!(names(folder.path()).is_empty());
    new(folder.path(), &[&long[1..], "--lang", "c"]).ended(0);
}

/// A file may have 512 bytes here: the first that is larger can't be written.
#[test]
fn a_project_that_can_not_be_written_as_a_whole_is_not_there_at_all() {
    let folder = Folder::new();
    for language in LANGUAGES {
        let script = format!("trap '' XFSZ; ulimit -f 1; exec \"$0\" new mill --lang {language}");
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .args(["-c", &script, env!("CARGO_BIN_EXE_millpond")]);
        done(&mut shell, b"")
            .ended(1)
            .says(&["error: mill can't be written: "]);
        assert!(names(folder.path()).is_empty(), "{language}");
    }
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is ours");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
