//! Who one is to a server, and where secrets come from.
//!
//! No text that this makes has a secret in it: no error, no `Debug`.

use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::args::TargetArguments;
use crate::nats::login::user_key;

/// Largest secret, and largest file of credentials. Default 64 KiB: a JWT with many permissions has a few KiB, and another file that is named
/// by mistake is not read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Who one is to a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nobody in particular.
    None,
    /// A user with a password.
    User(String, String),
    /// Who has this token.
    Token(String),
    /// Who has the nkey of this seed.
    Nkey(String),
    /// Who has this JWT, and the nkey of this seed.
    Jwt(String, String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::User(..) => "user",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
            Self::Jwt(..) => "credentials",
        })
    }
}

/// Who one is by these arguments; none if they don't say.
pub(super) fn auth(arguments: &TargetArguments) -> Result<Option<Auth>, String> {
    Ok(Some(match arguments {
        TargetArguments {
            user: Some(user),
            password: Some(password),
            ..
        } => Auth::User(user.clone(), secret("--password", password)?),
        TargetArguments {
            token: Some(token), ..
        } => Auth::Token(secret("--token", token)?),
        TargetArguments {
            nkey: Some(file), ..
        } => nkey(file)?,
        TargetArguments {
            creds: Some(file), ..
        } => credentials(file)?,
        _ => return Ok(None),
    }))
}

/// The secret at `env:NAME` or `file:PATH`.
fn secret(flag: &str, value: &str) -> Result<String, String> {
    let text = match value.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| {
            format!("{flag}: the environment variable {name:?} is not set to a text")
        })?,
        Some(("file", path)) => read(flag, Path::new(path))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
        _ => {
            return Err(format!(
                "{flag}: write env:NAME or file:PATH; a command line is seen by everybody on the machine"
            ));
        }
    };
    match text.is_empty() {
        true => Err(format!("{flag}: what it names is empty")),
        false => Ok(text),
    }
}

/// A file with a seed: alone, or in a block as in a credentials file.
fn nkey(file: &Path) -> Result<Auth, String> {
    let text = read("--nkey", file)?;
    let seed = block(&text, "SEED").unwrap_or_else(|| text.trim().to_owned());
    user_key(&seed).map_err(|why| format!("--nkey {}: {why}", file.display()))?;
    Ok(Auth::Nkey(seed))
}

fn credentials(file: &Path) -> Result<Auth, String> {
    let wrong = |why: &str| {
        format!(
            "--creds {}: {why}; `nsc generate creds` makes such a file",
            file.display()
        )
    };
    let text = read("--creds", file)?;
    let jwt = block(&text, "JWT").ok_or_else(|| wrong("it has no block BEGIN NATS USER JWT"))?;
    let seed = block(&text, "SEED").ok_or_else(|| wrong("it has no block BEGIN USER NKEY SEED"))?;
    user_key(&seed).map_err(|why| wrong(&why))?;
    Ok(Auth::Jwt(jwt, seed))
}

/// What stands between the lines `---BEGIN … what---` and `---END … what---`.
fn block(text: &str, what: &str) -> Option<String> {
    let marks = |line: &str, word: &str| {
        let line = line.trim();
        let label = line.trim_matches('-').trim();
        line.starts_with("---") && label.starts_with(word) && label.ends_with(what)
    };
    let mut lines = text.lines().skip_while(|line| !marks(line, "BEGIN"));
    lines.next()?;
    let mut body = String::new();
    for line in lines {
        if marks(line, "END") {
            return (!body.is_empty()).then_some(body);
        }
        body.push_str(line.trim());
    }
    None
}

fn read(flag: &str, file: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("{flag}: the file {file:?} {why}");
    let unread = |error: std::io::Error| wrong(format!("can't be read: {error}"));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unread)?;
    let read = opened.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    match read.map_err(unread)? as u64 > SECRET_BYTES_MAX {
        true => Err(wrong(format!(
            "has more than {SECRET_BYTES_MAX} bytes, which no secret has"
        ))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_tests::folder::Folder;

    #[test]
    fn secrets_come_from_files_within_their_limit() {
        let folder = Folder::new();
        let file = folder.path().join("secret");
        let named = format!("file:{}", file.display());
        let most = SECRET_BYTES_MAX as usize;
        for (bytes, taken) in [(0, false), (1, true), (most, true), (most + 1, false)] {
            std::fs::write(&file, vec![b'x'; bytes]).unwrap();
            assert_eq!(secret("--token", &named).is_ok(), taken, "{bytes}");
        }
        std::fs::write(&file, "let me in\r\n").unwrap();
        assert_eq!(secret("--token", &named).as_deref(), Ok("let me in"));
        let error = secret("--token", "hunter2").unwrap_err();
        assert!(error.contains("env:NAME") && !error.contains("hunter2"));
    }

    #[test]
    fn what_a_file_of_credentials_lacks_is_said_without_what_it_has() {
        let folder = Folder::new();
        let file = folder.path().join("user.creds");
        let begin = "-----BEGIN NATS USER JWT-----\nhunter2\n------END NATS USER JWT------\n";
        let seed = "-----BEGIN USER NKEY SEED-----\nhunter3\n------END USER NKEY SEED------\n";
        for (text, words) in [
            (seed.to_owned(), "NATS USER JWT"),
            (begin.to_owned(), "USER NKEY SEED"),
            (format!("{begin}{seed}"), "begins with SU"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = credentials(&file).unwrap_err();
            assert!(
                error.contains(words) && !error.contains("hunter"),
                "{error}"
            );
        }
        std::fs::write(&file, "hunter2").unwrap();
        let error = nkey(&file).unwrap_err();
        assert!(
            error.contains("begins with SU") && !error.contains("hunter"),
            "{error}"
        );
    }
}
