//! Values that are never shown: where they are kept, and reading them.
//!
//! No text that this makes has a secret in it: no error, no `Debug`.

use std::convert::Infallible;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use millpond::{Pem, Secret};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Largest file with a secret, in bytes. Default 64 KiB: a key is far smaller, and another file named by mistake is not read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// What a secret may be, for errors.
const FORM: &str =
    "{ env = \"NAME\" }, { file = \"PATH\" } or a text (which everybody sees who sees the file)";

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretValue {
    /// In an environment variable: `{ env = "NAME" }`.
    Env(String),
    /// In a file, without its last line break: `{ file = "PATH" }`.
    File(PathBuf),
    /// In the configuration itself: discouraged, since whoever reads that reads it too.
    Literal(String),
    /// On the command line, which everybody on the machine sees: not kept.
    Typed,
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Literal(_) | Self::Typed => f.write_str("(secret)"),
        }
    }
}

impl SecretValue {
    /// The secret. A file's path is relative to `folder`.
    ///
    /// # Errors
    /// A variable that is not set, a file that can't be read, or one of them that is empty or no text.
    pub(crate) fn read(&self, folder: &Path) -> Result<String, String> {
        let (text, whence) = match self {
            Self::Typed => return Err(
                "write env:NAME or file:PATH; a command line is seen by everybody on the machine"
                    .into(),
            ),
            Self::Literal(text) => (text.clone(), "it".to_owned()),
            Self::Env(name) => (
                variable(name)?,
                format!("the environment variable {name:?}"),
            ),
            Self::File(path) => {
                let path = folder.join(path);
                let text =
                    content(&path).map_err(|why| format!("the file {} {why}", path.display()))?;
                (text, format!("the file {}", path.display()))
            }
        };
        match text.is_empty() {
            true => Err(format!(
                "{whence} is empty; a secret has at least one character"
            )),
            false => Ok(text),
        }
    }
}

fn variable(name: &str) -> Result<String, String> {
    use std::env::VarError;
    std::env::var(name).map_err(|error| match error {
        VarError::NotPresent => {
            format!("the environment variable {name:?} is not set; set it, or name another")
        }
        VarError::NotUnicode(_) => format!("the environment variable {name:?} is not UTF-8"),
    })
}

/// The text of a file, without its last line break; what is wrong with it, to be put behind its name.
fn content(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!(
            "has more than {SECRET_BYTES_MAX} bytes, which no secret has"
        ));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let end = line.strip_suffix('\r').unwrap_or(line).len();
    text.truncate(end);
    Ok(text)
}

/// On the command line: `env:NAME` or `file:PATH`. What else is typed is an error when it is read, since one here would repeat it.
impl FromStr for SecretValue {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Self::Env(name.to_owned()),
            Some(("file", path)) if !path.is_empty() => Self::File(path.into()),
            _ => Self::Typed,
        })
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Reads a value of the file; what it is instead is not told, since that may be the secret.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = SecretValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretValue, E> {
        Ok(SecretValue::Literal(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SecretValue, E> {
        Err(bad())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretValue, E> {
        Err(bad())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretValue, E> {
        Err(bad())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretValue, E> {
        Err(bad())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretValue, A::Error> {
        let mut found = None;
        let mut keys = 0;
        while let Some(key) = map.next_key::<String>()? {
            keys += 1;
            match key.as_str() {
                "env" => found = Some(SecretValue::Env(map.next_value().map_err(|_| bad())?)),
                "file" => found = Some(SecretValue::File(map.next_value().map_err(|_| bad())?)),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(bad());
                }
            }
        }
        found.filter(|_| keys == 1).ok_or_else(bad)
    }
}

/// Certificates or a key: the path of a PEM file, or what such a file has in it.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct PemValue(String);

impl fmt::Debug for PemValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_text() {
            true => f.write_str("(secret)"),
            false => f.write_str(&self.0),
        }
    }
}

impl FromStr for PemValue {
    type Err = Infallible;

    fn from_str(path: &str) -> Result<Self, Infallible> {
        Ok(Self(path.to_owned()))
    }
}

impl PemValue {
    fn is_text(&self) -> bool {
        self.0.contains('\n') || self.0.contains("BEGIN ")
    }

    /// What the engine is told. A path is relative to `folder`.
    pub(crate) fn pem(&self, folder: &Path) -> Pem {
        match self.is_text() {
            true => Pem::Text(Secret::new(self.0.clone())),
            false => Pem::File(folder.join(&self.0)),
        }
    }
}

/// Some other kind of value.
fn bad<E: Error>() -> E {
    E::custom(format!("this is no secret; write {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct One {
        secret: SecretValue,
    }

    fn read(value: &str) -> Result<SecretValue, String> {
        let one = toml::from_str::<One>(&format!("secret = {value}"));
        one.map(|one| one.secret)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn secrets_are_named_or_written() {
        assert_eq!(read("{ env = \"A\" }"), Ok(SecretValue::Env("A".into())));
        assert_eq!(
            read("{ file = \"/a\" }"),
            Ok(SecretValue::File("/a".into()))
        );
        assert_eq!(
            read("\"hunter2\""),
            Ok(SecretValue::Literal("hunter2".into()))
        );
        assert_eq!("env:A".parse(), Ok(SecretValue::Env("A".into())));
        assert_eq!("file:a:b".parse(), Ok(SecretValue::File("a:b".into())));
    }

    #[test]
    fn what_is_no_secret_is_not_repeated() {
        for value in [
            "12345",
            "true",
            "1.2345",
            "[\"12345\"]",
            "{ env = \"A\", file = \"12345\" }",
            "{ value = \"12345\" }",
            "{}",
            "{ env = 12345 }",
            "2012-12-12",
        ] {
            let error = read(value).expect_err("it is no secret");
            assert!(
                !error.contains("2345") && !error.contains("2012"),
                "{error}"
            );
        }
        for text in ["hunter2", "env:", "token:hunter2"] {
            let secret: SecretValue = text.parse().expect("what is typed is never refused here");
            assert!(!format!("{secret:?}").contains("hunter2"));
            let error = secret.read(Path::new("")).expect_err("it names no place");
            assert!(
                error.contains("env:NAME") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(!format!("{:?}", SecretValue::Literal("hunter2".into())).contains("hunter2"));
    }

    #[test]
    fn a_pem_is_a_path_or_what_such_a_file_has() {
        let folder = Path::new("/etc/mill");
        let path: PemValue = "a.pem".parse().expect("it is a path");
        assert_eq!(path.pem(folder), Pem::File("/etc/mill/a.pem".into()));
        let text = "-----BEGIN PRIVATE KEY-----\nhunter2\n";
        let text = PemValue(text.into());
        assert_eq!(text.pem(folder), Pem::Text(Secret::new(text.0.clone())));
        assert!(!format!("{text:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_are_read_from_where_they_are() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = std::env::temp_dir().join(format!("millpond-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.join(name), bytes).expect("the folder was just made");
            SecretValue::File(name.into()).read(&folder)
        };
        assert_eq!(write("a", b"hunter2\n"), Ok("hunter2".into()));
        assert_eq!(write("a", b"hunter2\r\n"), Ok("hunter2".into()));
        assert_eq!(write("a", b"two\nlines\n\n"), Ok("two\nlines\n".into()));
        let most = vec![b'x'; SECRET_BYTES_MAX as usize];
        assert!(write("a", &most).is_ok());
        let over = vec![b'x'; SECRET_BYTES_MAX as usize + 1];
        assert!(write("a", &over).is_err_and(|error| error.contains("65536 bytes")));
        assert!(write("a", b"\n").is_err_and(|error| error.contains("is empty")));
        assert!(write("a", b"\xff").is_err_and(|error| error.contains("not UTF-8")));
        std::fs::remove_dir_all(&folder).expect("it is there");
        let gone = SecretValue::File("a".into()).read(&folder);
        assert!(gone.is_err_and(
            |error| error.contains("can't be read") && error.contains("millpond-secret")
        ));
        let path = SecretValue::Env("PATH".into()).read(here);
        assert_eq!(path.ok(), std::env::var("PATH").ok());
        let unset = SecretValue::Env("MILLPOND_NOT_SET".into()).read(here);
        assert!(unset.is_err_and(|error| error.contains("\"MILLPOND_NOT_SET\" is not set")));
        assert!(SecretValue::Literal(String::new()).read(here).is_err());
    }
}
