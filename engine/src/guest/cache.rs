//! Compiled code that is kept in a folder, so that a component is compiled once and not at every start.
//!
//! Owns the folder: what its files are called, what they hold, how many bytes they may have, and whether one may be run. A file holds
//! machine code, which runs with all the rights of this process. So nothing is run that somebody else could have written: the folder
//! and its files must belong to this user or to root, and nobody else may write to them. A digest of the code and of the file's name,
//! which says what the code is of, tells a file that is damaged or was renamed; it can't tell a forged one, whose digest would be forged
//! too, so it is one that is quick and not one that resists forgers. The folder's own parents are the owner's business.
//!
//! A file is mapped and not copied: code that is never called is never loaded. It is never changed in place, but replaced whole, by a
//! draft of its own name for each writer.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::Xxh3;

use crate::clock;
use crate::config::CacheConfig;
use crate::error::StartError;

/// What a file ends with, behind its code and the digest: its form. The code comes first because it is mapped from there. Wasmtime's
/// version and settings are in the file's name, and in the code itself.
const MAGIC: &[u8; 8] = b"MPCODE3\n";
/// Bytes of XXH3's digest.
const DIGEST_BYTES: usize = 16;
const TAIL_BYTES: usize = DIGEST_BYTES + MAGIC.len();
/// Bytes that are read at a time for the digest: they stay in a core's cache. Picked by hand.
const READ_BYTES: usize = 256 << 10;
/// What files of compiled code end with.
const EXTENSION: &str = "mpcode";
/// What files end with that are being written.
const DRAFT: &str = "draft";
/// How old a draft is whose writer is taken to be gone, and which is removed: a minute, since to write one takes milliseconds. A writer
/// that is stopped for longer keeps nothing. By age, since the writer may be a process of another machine or container.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(60);
/// Drafts that this process has begun: each has a name of its own.
static DRAFTS: AtomicU64 = AtomicU64::new(0);
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
    /// The folder of this configuration, if it has one. One that is optional and can't be used is none, and that is told.
    ///
    /// # Errors
    /// As of [`Cache::open`].
    pub(crate) fn of(
        config: Option<&CacheConfig>,
        engine: &Engine,
    ) -> Result<Option<Self>, StartError> {
        let Some(config) = config else {
            return Ok(None);
        };
        match Self::open(config, engine) {
            Err(error) if config.optional => {
                tracing::warn!("no compiled code is kept, and each start compiles: {error}");
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

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
        match load(engine, &path, self.bytes_max) {
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

    /// Keeps the compiled code of a component. Without it the next start compiles again.
    ///
    /// # Errors
    /// Why it is not kept.
    pub(crate) fn put(&self, component: &Component, digest: &str) -> Result<(), StartError> {
        let path = self.path(digest);
        let code = component.serialize().map_err(io::Error::other);
        let kept = code.and_then(|code| self.write(&path, &code));
        kept.map_err(|error| self.not_kept(&error.to_string()))?;
        self.prune(&path);
        Ok(())
    }

    /// Whether there is a file for this component.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path(digest).exists()
    }

    /// The error of compiled code that is not there afterwards.
    pub(crate) fn not_kept(&self, why: &str) -> StartError {
        StartError::Cache {
            path: self.folder.clone(),
            why: format!("does not keep the compiled code: {why}"),
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        let settings = self.settings;
        self.folder
            .join(format!("{digest}-{settings:016x}.{EXTENSION}"))
    }

    /// Writes a file so that it is there whole or not at all.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let (bytes, max) = ((code.len() + TAIL_BYTES) as u64, self.bytes_max);
        if bytes > max {
            let why = format!("it has {bytes} bytes, and the whole folder may have {max}");
            return Err(io::Error::other(why));
        }
        self.remove_old_drafts();
        let (draft, mut file) = begin(path)?;
        let mut hasher = Xxh3::new();
        hasher.update(code);
        let written = file
            .write_all(code)
            .and_then(|()| file.write_all(&named(hasher, path)))
            .and_then(|()| file.write_all(MAGIC))
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// The folder's files with this extension: when each was used last, its bytes and its path.
    fn files(&self, extension: &str) -> Vec<(SystemTime, u64, PathBuf)> {
        let file = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let metadata = fs::symlink_metadata(&path).ok()?;
            let is_meant = path.extension().is_some_and(|e| e == extension) && metadata.is_file();
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            is_meant.then_some((used, metadata.len(), path))
        };
        let entries = fs::read_dir(&self.folder);
        entries.into_iter().flatten().filter_map(file).collect()
    }

    /// Removes what processes left that were killed while they wrote.
    fn remove_old_drafts(&self) {
        let now = clock::file_time();
        for (begun, _, path) in self.files(DRAFT) {
            if now
                .duration_since(begun)
                .is_ok_and(|age| age >= DRAFT_AGE_MAX)
            {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes the files that were used longest ago until the folder, drafts of others included, is within its bound; never the one just
    /// written.
    fn prune(&self, written: &Path) {
        let mut files = self.files(EXTENSION);
        files.sort();
        let drafts = self.files(DRAFT);
        let mut bytes: u64 = files.iter().chain(&drafts).map(|(_, bytes, _)| bytes).sum();
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

/// Where the file of this path may be written first: nobody else of this process takes the same place.
fn draft(path: &Path) -> PathBuf {
    let (process, count) = (std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
    path.with_extension(format!("{process}-{count}.{DRAFT}"))
}

/// Begins a draft of the file of this path. Where there is one, of a process that had or has the same number, the next place is tried.
fn begin(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    loop {
        let draft = draft(path);
        match options.open(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (draft, file)),
        }
    }
}

/// The digest of the code that a hasher has seen, in a file of this path: of another name it would be another.
fn named(mut hasher: Xxh3, path: &Path) -> [u8; DIGEST_BYTES] {
    hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.digest128().to_be_bytes()
}

/// Loads a file, if it may be run, is as it was written, and has at most `bytes_max` bytes.
fn load(engine: &Engine, path: &Path, bytes_max: u64) -> Result<Component, Unusable> {
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
    if metadata.len() > bytes_max {
        return Err(Unusable::Damaged("is larger than its folder may be".into()));
    }
    check(&mut file, path, metadata.len()).map_err(unread)??;
    used(&file);
    // SAFETY: what Wasmtime asks for is that the file is what `Component::serialize` gave, now and as long as it is mapped. The digest,
    // of this same opened file, says that it is as it was written, by this name; that only this user and root can write to it was seen on
    // it too, and this program never changes a file in place: it replaces or removes its name, which leaves what is mapped as it is. Who is this
    // user or root and changes it nevertheless could change the process as well. Wasmtime itself refuses the code of another version
    // or other settings; it finds code by the places that the code names, so that the tail is in nobody's way.
    #[allow(unsafe_code, reason = "there is no other way to load compiled code")]
    let component = unsafe { Component::deserialize_file(engine, opened(&file)) };
    component.map_err(|error| Unusable::Damaged(format!("is refused: {error:#}")))
}

/// A path by which an opened file is opened again: this very file, whatever its name leads to by now. Wasmtime maps components by
/// path alone.
fn opened(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Whether a file of this many bytes is as it was written by this path's name: its form, then its digest. It is read piece by piece.
///
/// # Errors
/// It can't be read; or, within, what is wrong with it.
fn check(file: &mut File, path: &Path, bytes: u64) -> io::Result<Result<(), Unusable>> {
    let damaged = |why: &str| Ok(Err(Unusable::Damaged(why.into())));
    let Some(mut left) = bytes.checked_sub(TAIL_BYTES as u64) else {
        return damaged("is cut off");
    };
    let mut tail = [0; TAIL_BYTES];
    file.read_exact_at(&mut tail, left)?;
    let (digest, magic) = tail.split_at(DIGEST_BYTES);
    if magic != MAGIC {
        return damaged("is cut off or of another form");
    }
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; READ_BYTES.min(left as usize)];
    while left > 0 {
        let piece = left.min(READ_BYTES as u64);
        let piece = &mut buffer[..piece as usize];
        file.read_exact(piece)?;
        hasher.update(piece);
        left -= piece.len() as u64;
    }
    match named(hasher, path) == digest {
        true => Ok(Ok(())),
        false => damaged("is damaged, or is that of another component or of other settings"),
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
    use wasmtime::ModuleVersionStrategy;

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
            cache.put(&component(&engine), DIGEST).unwrap();
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
            bytes_max,
            ..CacheConfig::folder(folder)
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
            TAIL_BYTES - 1,
            TAIL_BYTES,
            good.len() / 2,
            good.len() - TAIL_BYTES,
            good.len() - 1,
        ];
        for cut in cuts {
            fs::write(kept.path(), &good[..cut]).unwrap();
            assert!(!kept.is_used(), "cut at {cut}");
        }
        let (tail, end) = (good.len() - TAIL_BYTES, good.len());
        for place in [0, end / 2, tail - 1, tail, end - MAGIC.len(), end - 1] {
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
    fn a_file_that_was_renamed_to_that_of_another_component_was_used() {
        let kept = Kept::new();
        let other = kept.cache.path("e");
        fs::copy(kept.path(), &other).unwrap();
        assert!(kept.cache.get(&kept.engine, "e").is_none());
        // It is made anew, as one that is damaged.
        kept.cache.put(&component(&kept.engine), "e").unwrap();
        assert!(kept.cache.get(&kept.engine, "e").is_some());
        fs::rename(&other, kept.path()).unwrap();
        assert!(!kept.is_used());
    }

    #[test]
    fn two_who_keep_the_same_component_at_once_took_each_others_drafts() {
        const TIMES: usize = 200;
        let kept = Kept::new();
        let begin = std::sync::Barrier::new(2);
        let keep = || {
            let engine = engine(false);
            let cache = open(kept.folder.path(), &engine, BYTES_MAX).unwrap();
            let component = component(&engine);
            begin.wait();
            for _ in 0..TIMES {
                cache.put(&component, DIGEST).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(keep);
            scope.spawn(keep);
        });
        assert!(kept.is_used());
        assert_eq!(kept.files(), 1, "no draft is left");
    }

    /// Makes a file look as if it was used so long ago.
    fn age(path: &Path, age: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(clock::file_time() - age).unwrap();
    }

    #[test]
    fn drafts_of_writers_that_are_gone_were_kept_for_ever() {
        let kept = Kept::new();
        let [old, young] = [DRAFT_AGE_MAX, DRAFT_AGE_MAX / 2].map(|of_draft| {
            let path = draft(&kept.path());
            fs::write(&path, "a part").unwrap();
            age(&path, of_draft);
            path
        });
        kept.cache.put(&component(&kept.engine), "e").unwrap();
        assert!(!old.exists(), "its writer is gone");
        assert!(young.exists(), "somebody writes it");
    }

    #[test]
    fn drafts_count_for_the_folders_bound() {
        let kept = Kept::new();
        let one = fs::metadata(kept.path()).unwrap().len();
        let cache = open(kept.folder.path(), &kept.engine, 2 * one).unwrap();
        let keep = || cache.put(&component(&kept.engine), "e").unwrap();
        keep();
        assert!(kept.is_used(), "two have room");
        fs::write(draft(&kept.path()), "x").unwrap();
        keep();
        assert!(!kept.is_used(), "two and a byte have none");
        assert!(cache.get(&kept.engine, "e").is_some());
    }

    #[test]
    fn a_file_above_the_folders_bound_is_not_read() {
        let kept = Kept::new();
        let bytes = fs::metadata(kept.path()).unwrap().len();
        let at = |max| load(&kept.engine, &kept.path(), max);
        assert!(at(bytes).is_ok());
        let too_large = |loaded| matches!(loaded, Err(Unusable::Damaged(why)) if why.contains("larger than its folder"));
        assert!(too_large(at(bytes - 1)));
        let file = File::options().write(true).open(kept.path()).unwrap();
        for bytes in [BYTES_MAX + 1, 8 << 40] {
            file.set_len(bytes).unwrap();
            assert!(too_large(at(BYTES_MAX)), "{bytes}");
        }
    }

    #[test]
    fn code_of_another_version_of_wasmtime_is_refused_by_whatever_name_it_has() {
        let kept = Kept::new();
        let mut config = wasmtime::Config::new();
        let version = ModuleVersionStrategy::Custom("47".into());
        config.module_version(version).unwrap();
        let other = Engine::new(&config).unwrap();
        kept.cache.put(&component(&other), DIGEST).unwrap();
        let refused = load(&kept.engine, &kept.path(), BYTES_MAX);
        assert!(
            matches!(refused, Err(Unusable::Damaged(why)) if why.contains("incompatible version '47'"))
        );
    }

    #[test]
    fn what_is_mapped_stays_when_its_file_is_replaced_or_removed() {
        let kept = Kept::new();
        let mapped = load(&kept.engine, &kept.path(), BYTES_MAX).unwrap();
        let before = mapped.serialize().unwrap();
        kept.cache.put(&mapped, DIGEST).unwrap();
        fs::remove_file(kept.path()).unwrap();
        assert!(mapped.serialize().unwrap() == before);
    }

    #[test]
    fn code_of_other_settings_is_refused_by_whatever_name_it_has() {
        let kept = Kept::new();
        let other = engine(true);
        let cache = open(kept.folder.path(), &other, BYTES_MAX).unwrap();
        let code = component(&kept.engine).serialize().unwrap();
        cache.write(&cache.path(DIGEST), &code).unwrap();
        let refused = load(&other, &cache.path(DIGEST), BYTES_MAX);
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
        let config = |optional| CacheConfig {
            optional,
            ..CacheConfig::folder(file.join("below"))
        };
        let of = |optional| Cache::of(Some(&config(optional)), &engine(false));
        assert!(of(false).is_err(), "it was asked for");
        assert!(of(true).unwrap().is_none());
        let made = folder.path().join("a/b");
        open(&made, &engine(false), 1).unwrap();
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_folder_is_kept_within_its_bound_and_what_was_used_last_stays() {
        let kept = Kept::new();
        let one = fs::metadata(kept.path()).unwrap().len();
        let cache = open(kept.folder.path(), &kept.engine, one * 2 + one / 2).unwrap();
        let put = |digest: &str| cache.put(&component(&kept.engine), digest).unwrap();
        let age = |digest: &str, seconds| age(&cache.path(digest), Duration::from_secs(seconds));
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
        let error = small.put(&component(&kept.engine), "g").unwrap_err();
        assert!(error.to_string().contains("the whole folder"), "{error}");
        assert!(
            small.get(&kept.engine, "g").is_none(),
            "larger than the folder"
        );
    }
}
