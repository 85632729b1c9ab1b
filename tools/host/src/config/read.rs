//! A file: read with a bound, and taken apart.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::FileKeys;
use crate::exit::{Exit, Failed};

/// Largest file, in bytes. Default 4 MiB: the most handlers that one engine has, each with a thousand bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its path, as it was given.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// One that can't be read, is too large or no text.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let refused =
            |why: String| Failed::error(Exit::Usage, format!("{}: {why}", path.display()));
        let cannot = |error: std::io::Error| refused(format!("it can't be read: {error}"));
        if path.is_dir() {
            return Err(refused(
                "it is a folder; name the configuration's file".into(),
            ));
        }
        let file = std::fs::File::open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(refused(format!(
                "it has more than {FILE_BYTES_MAX} bytes; a configuration may have so many"
            )));
        }
        if bytes.starts_with(b"\0asm") {
            return Err(refused(
                "it is WebAssembly, not a configuration: a handler's `component` names it there, and `millpond inspect` shows what it is"
                    .into(),
            ));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            refused(format!(
                "line {} is not UTF-8",
                good.split(|byte| *byte == b'\n').count()
            ))
        })?;
        let path = path.to_owned();
        Ok(Self { path, text })
    }

    /// What it says.
    ///
    /// # Errors
    /// What is no TOML, no key or no value of its key: with line and column.
    pub(crate) fn keys(&self) -> anyhow::Result<FileKeys> {
        toml::from_str(&self.text).map_err(|error| self.unreadable(&error))
    }

    /// The folder that its paths are relative to.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}
