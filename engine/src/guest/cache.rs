//! Compiled code that is kept in a folder, so that a component is compiled once and not at every start.
//!
//! Owns the folder: what its files are called, what they hold, how many bytes they may have, and whether one may be run. A file holds
//! machine code, which runs with all the rights of this process. So nothing is run that somebody else could have written: the folder
//! and its files must belong to this user or to root, and nobody else may write to them. A digest tells a damaged file; it can't tell
//! a forged one, whose digest would be forged too. The folder's own parents are the owner's business.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock;
use crate::config::CacheConfig;
use crate::error::StartError;

/// What a file begins with: its form. Wasmtime's version and settings are in its name, and in the code itself.
const MAGIC: &[u8; 8] = b"MPCODE1\n";
/// Bytes of the digest behind it.
const DIGEST_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES;
/// What files of compiled code end with.
const EXTENSION: &str = "mpcode";
/// Rights that make a file or folder somebody else's: group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder of compiled code, for one engine's settings.
pub(crate) struct Cache {
    folder: PathBuf,
    bytes_max: u64,
    /// Stands for Wasmtime's version and all settings that the code depends on.
    settings: u64,
}

/// Why a kept file is not used. None of it is an error: the component is compiled.
#[derive(Debug)]
enum Unusable {
    Missing,
    /// Somebody else could have written it.
    Foreign(String),
    /// It is not what was written.
    Damaged(String),
}

impl Cache {
    /// The folder, made if it is missing.
    ///
    /// # Errors
    /// It can't be made, is none, or somebody else may write to it.
    pub(crate) fn open(config: &CacheConfig, engine: &Engine) -> Result<Self, StartError> {
        let folder = &config.folder;
        let fault = |why: String| StartError::Cache {
            path: folder.clone(),
            why,
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| fault(format!("can't be made: {error}")))?;
        let metadata =
            fs::metadata(folder).map_err(|e| fault(format!("can't be looked at: {e}")))?;
        if let Some(why) = foreign(&metadata) {
            return Err(fault(format!(
                "holds code that is run, and {why}; take these rights away, or use another folder"
            )));
        }
        let mut hasher = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: folder.clone(),
            bytes_max: config.bytes_max,
            settings: hasher.finish(),
        })
    }

    /// The compiled code of a component with this digest, if it is there and may be run.
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        match load(engine, &path) {
            Ok(component) => {
                tracing::debug!(path = %path.display(), "compiled code was kept");
                Some(component)
            }
            Err(Unusable::Missing) => None,
            Err(Unusable::Foreign(why) | Unusable::Damaged(why)) => {
                tracing::warn!(path = %path.display(), "compiled code is not used, and made anew: it {why}");
                None
            }
        }
    }

    /// Keeps the compiled code of a component. What goes wrong is logged, and costs the next start a compilation.
    pub(crate) fn put(&self, component: &Component, digest: &str) {
        let path = self.path(digest);
        let kept = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(&path, &code));
        match kept {
            Ok(true) => self.prune(&path),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code can't be kept");
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        let settings = self.settings;
        self.folder
            .join(format!("{digest}-{settings:016x}.{EXTENSION}"))
    }

    /// Writes a file so that it is there whole or not at all. Whether it is: one above the folder's bound is not written.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<bool> {
        if (HEAD_BYTES + code.len()) as u64 > self.bytes_max {
            tracing::warn!(
                bytes = code.len(),
                "compiled code is larger than its folder may be"
            );
            return Ok(false);
        }
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&draft);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        let written = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&Sha256::digest(code)))
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written.map(|()| true)
    }

    /// Removes the files that were used longest ago until the folder is within its bound; never the one just written.
    fn prune(&self, written: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let file = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let metadata = fs::symlink_metadata(&path).ok()?;
            let is_code = path.extension().is_some_and(|e| e == EXTENSION) && metadata.is_file();
            is_code.then(|| {
                (
                    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    metadata.len(),
                    path,
                )
            })
        };
        let mut files: Vec<_> = entries.filter_map(file).collect();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, of_file, path) in files.iter().filter(|(_, _, path)| path != written) {
            if bytes <= self.bytes_max {
                return;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= of_file;
                tracing::debug!(path = %path.display(), "compiled code was removed: its folder is full");
            }
        }
    }
}

/// Loads a file, if it may be run and is as it was written.
fn load(engine: &Engine, path: &Path) -> Result<Component, Unusable> {
    let mut options = OpenOptions::new();
    let no_link = OFlags::NOFOLLOW.bits() as i32;
    let mut file = match options.read(true).custom_flags(no_link).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
        Err(error) => return Err(Unusable::Foreign(format!("can't be opened: {error}"))),
    };
    let unread = |error: io::Error| Unusable::Damaged(format!("can't be read: {error}"));
    let metadata = file.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err(Unusable::Foreign("is no file".into()));
    }
    if let Some(why) = foreign(&metadata) {
        return Err(Unusable::Foreign(format!("is not trusted: {why}")));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.read_to_end(&mut bytes).map_err(unread)?;
    let code = checked(&bytes).map_err(|why| Unusable::Damaged(why.into()))?;
    // SAFETY: what Wasmtime asks for is that the bytes are what `Component::serialize` gave. The digest says that they are as they
    // were written, and that only this user and root can have written them was seen on the opened file. Wasmtime itself refuses the
    // code of another version or other settings.
    #[allow(unsafe_code, reason = "there is no other way to load compiled code")]
    let component = unsafe { Component::deserialize(engine, code) };
    let component =
        component.map_err(|error| Unusable::Damaged(format!("is refused: {error:#}")))?;
    used(&file);
    Ok(component)
}

/// The code in a file's bytes.
fn checked(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let Some((head, code)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Err("is cut off");
    };
    let (magic, digest) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("is of another form");
    }
    match Sha256::digest(code).as_slice() == digest {
        true => Ok(code),
        false => Err("is damaged"),
    }
}

/// Why somebody else could have written this, if so.
fn foreign(metadata: &fs::Metadata) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    writable_by_others(metadata.uid(), metadata.mode(), own)
}

/// Why somebody else than user `own` and root could write what has this owner and these rights, if so.
fn writable_by_others(owner: u32, mode: u32, own: u32) -> Option<String> {
    if owner != own && owner != 0 {
        return Some(format!(
            "it belongs to user {owner}, and this process to user {own}"
        ));
    }
    (mode & WRITABLE_BY_OTHERS != 0)
        .then(|| format!("others may write to it (mode {:o})", mode & 0o7777))
}

/// Notes that a file was used, by its time: what was not is removed first. Of root's file it can't be noted.
fn used(file: &File) {
    let _ = file.set_modified(clock::file_time());
}

/// SHA-256 as a hasher: the same in every process, unlike the standard one.
struct Sha(Sha256);

impl Hasher for Sha {
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineConfig;
    use crate::guest::runtime;
    use millpond_tests::folder::Folder;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const DIGEST: &str = "d";
    const BYTES_MAX: u64 = 1 << 30;

    fn engine(guard_pages: bool) -> Engine {
        let mut config = EngineConfig::new().shards(1);
        config.guard_pages = guard_pages;
        runtime::engine(&config, crate::ResetMode::Copy).unwrap()
    }

    /// An empty component.
    fn component(engine: &Engine) -> Component {
        Component::new(engine, b"\0asm\x0d\0\x01\0").unwrap()
    }

    /// A folder, an engine, and a cache that keeps one component.
    struct Kept {
        folder: Folder,
        engine: Engine,
        cache: Cache,
    }

    impl Kept {
        fn new() -> Self {
            let folder = Folder::new();
            let engine = engine(false);
            let cache = open(folder.path(), &engine, BYTES_MAX).unwrap();
            cache.put(&component(&engine), DIGEST);
            assert!(cache.get(&engine, DIGEST).is_some());
            Self {
                folder,
                engine,
                cache,
            }
        }

        fn is_used(&self) -> bool {
            self.cache.get(&self.engine, DIGEST).is_some()
        }

        fn path(&self) -> PathBuf {
            self.cache.path(DIGEST)
        }

        fn files(&self) -> usize {
            fs::read_dir(self.folder.path()).unwrap().count()
        }
    }

    fn open(folder: &Path, engine: &Engine, bytes_max: u64) -> Result<Cache, StartError> {
        let config = CacheConfig {
            folder: folder.to_owned(),
            bytes_max,
        };
        Cache::open(&config, engine)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_component_is_kept_for_its_digest_and_settings_alone() {
        let kept = Kept::new();
        assert!(kept.cache.get(&kept.engine, "e").is_none());
        let other = engine(true);
        let cache = open(kept.folder.path(), &other, BYTES_MAX).unwrap();
        assert!(cache.get(&other, DIGEST).is_none());
        let again = open(kept.folder.path(), &engine(false), BYTES_MAX).unwrap();
        assert!(
            again.get(&kept.engine, DIGEST).is_some(),
            "the next start has it"
        );
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let kept = Kept::new();
        let good = fs::read(kept.path()).unwrap();
        let cuts = [
            0,
            1,
            MAGIC.len(),
            HEAD_BYTES - 1,
            HEAD_BYTES,
            good.len() / 2,
            good.len() - 1,
        ];
        for cut in cuts {
            fs::write(kept.path(), &good[..cut]).unwrap();
            assert!(!kept.is_used(), "cut at {cut}");
        }
        for place in [0, MAGIC.len(), HEAD_BYTES, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(kept.path(), &bad).unwrap();
            assert!(!kept.is_used(), "changed at {place}");
        }
        fs::write(kept.path(), [&good[..], b"x"].concat()).unwrap();
        assert!(!kept.is_used(), "one byte more");
        fs::write(kept.path(), &good).unwrap();
        assert!(kept.is_used());
    }

    #[test]
    fn code_of_other_settings_is_refused_by_whatever_name_it_has() {
        let kept = Kept::new();
        let other = engine(true);
        let cache = open(kept.folder.path(), &other, BYTES_MAX).unwrap();
        fs::copy(kept.path(), cache.path(DIGEST)).unwrap();
        let refused = load(&other, &cache.path(DIGEST));
        assert!(matches!(refused, Err(Unusable::Damaged(why)) if why.contains("is refused")));
    }

    #[test]
    fn what_others_may_write_is_not_run() {
        let kept = Kept::new();
        for (mode, used) in [(0o600, true), (0o644, true), (0o660, false), (0o602, false)] {
            set_mode(&kept.path(), mode);
            assert_eq!(kept.is_used(), used, "{mode:o}");
        }
        set_mode(&kept.path(), 0o600);
        let moved = kept.folder.path().join("moved");
        fs::rename(kept.path(), &moved).unwrap();
        symlink(&moved, kept.path()).unwrap();
        assert!(!kept.is_used(), "a link");
        fs::remove_file(kept.path()).unwrap();
        fs::create_dir(kept.path()).unwrap();
        assert!(!kept.is_used(), "a folder");
        for mode in [0o720, 0o702] {
            set_mode(kept.folder.path(), mode);
            let error = open(kept.folder.path(), &kept.engine, BYTES_MAX)
                .err()
                .unwrap();
            assert!(error.to_string().contains("others may write"), "{error}");
        }
        set_mode(kept.folder.path(), 0o700);
    }

    #[test]
    fn own_and_root_are_trusted_and_nobody_else() {
        assert_eq!(writable_by_others(7, 0o755, 7), None);
        assert_eq!(writable_by_others(0, 0o644, 7), None);
        assert!(writable_by_others(8, 0o600, 7).unwrap().contains("user 8"));
        assert!(writable_by_others(0, 0o664, 7).is_some());
        assert!(writable_by_others(7, 0o602, 7).is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_with_its_path() {
        let folder = Folder::new();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file.join("below"), &engine(false), 1).err().unwrap();
        assert!(error.to_string().contains("file/below"), "{error}");
        let made = folder.path().join("a/b");
        open(&made, &engine(false), 1).unwrap();
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_folder_is_kept_within_its_bound_and_what_was_used_last_stays() {
        let kept = Kept::new();
        let one = fs::metadata(kept.path()).unwrap().len();
        let cache = open(kept.folder.path(), &kept.engine, one * 2 + one / 2).unwrap();
        let put = |digest: &str| cache.put(&component(&kept.engine), digest);
        let age = |digest: &str, seconds| {
            let file = File::options()
                .write(true)
                .open(cache.path(digest))
                .unwrap();
            let time = clock::file_time() - std::time::Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        put("e");
        assert_eq!(kept.files(), 2);
        age(DIGEST, 20);
        age("e", 10);
        assert!(kept.is_used());
        put("f");
        assert_eq!(kept.files(), 2);
        assert!(cache.get(&kept.engine, "e").is_none(), "used longest ago");
        assert!(kept.is_used());
        let small = open(kept.folder.path(), &kept.engine, one - 1).unwrap();
        small.put(&component(&kept.engine), "g");
        assert!(
            small.get(&kept.engine, "g").is_none(),
            "larger than the folder"
        );
    }
}
