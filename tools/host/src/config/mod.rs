//! Configuration: a file, flags, or both → the engine's configuration, checked, and what is wrong with it by line and column.
//!
//! Precedence, the lowest first: what is built in, `[handler_defaults]`, the file, the command line. A guest's own settings may only
//! tighten what comes of these; the engine sees to that.

mod fault;
pub(crate) mod file;
mod handler;
mod limits;
mod nats;
mod place;
mod read;
mod secret;
mod urls;
mod values;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond::{CacheConfig, EngineConfig, Grants, ResetMode, Spread, StartError};

use self::fault::{Fault, Origin};
use self::file::{EngineKeys, FileKeys, Flags, HandlerKeys, ResetKey, SpreadKey};
use self::handler::Around;
pub(crate) use self::handler::level_name;
pub(crate) use self::limits::{EngineLimitKeys, HandlerLimitKeys};
use self::place::Way;
use self::read::Document;
use self::secret::SecretValue;
pub(crate) use self::values::{Layer, Size};
use crate::exit::{Exit, Failed};

/// How long what is in flight may take at the end, unless said otherwise: less than the 30 s after which orchestrators kill.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(25);

/// In the place of a folder for compiled code: there is none.
const OFF: &str = "off";

/// A handler as it was configured.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// Its component's file.
    pub(crate) component: PathBuf,
    /// Where the file names it; empty without a file.
    pub(crate) place: String,
    /// Its keys, with the defaults of the file and the flags.
    pub(crate) keys: HandlerKeys,
}

/// What a configuration comes to. Not `Debug`: the environment of its guests may have secrets.
pub(crate) struct Plan {
    /// For the engine; checked, but for what only servers and components can say.
    pub(crate) engine: EngineConfig,
    /// How long what is in flight may take at the end.
    pub(crate) drain_wait_max: Duration,
    /// Its handlers, in the engine's order.
    pub(crate) handlers: Vec<Planned>,
    /// What can be used and should not.
    pub(crate) warnings: Vec<String>,
}

/// The plan of a file, with these flags over it.
///
/// # Errors
/// The first thing that is wrong, with its place in the file.
pub(crate) fn of_file(path: &Path, flags: &Flags) -> anyhow::Result<Plan> {
    of_document(&Document::read(path)?, flags)
}

fn of_document(document: &Document, flags: &Flags) -> anyhow::Result<Plan> {
    let keys = document.keys()?;
    let origin = Origin {
        document: Some(document),
        flags,
    };
    plan(keys, Grants::default(), document.folder(), &origin)
}

/// The plan of components without a file: of one that takes from servers, or of several in a shell pipe.
///
/// # Errors
/// Files that give no name, or the same; flags that contradict each other or that the engine refuses.
pub(crate) fn of_components(components: &[PathBuf], flags: &Flags) -> anyhow::Result<Plan> {
    let usage = |what: String| Err(Failed::error(Exit::Usage, what));
    let nats = flags.nats.urls.is_some();
    if !nats && flags.nats.says() {
        return usage("flags of servers are given, and no server; name it with --nats".into());
    }
    if nats && components.len() != 1 {
        return usage(format!(
            "{} components are given with --nats; give one, or name them in a file (--config)",
            components.len()
        ));
    }
    unlike(components, flags)?;
    let mut handler = flags.handler.clone();
    if let (Some(deadline), false) = (handler.limits.deadline, nats) {
        // Of a shell pipe the deadline is that of the whole call; waits stay under it, so that a guest that waits in vain
        // gets an error and not a fault.
        let wait = millpond::HandlerLimits::default()
            .receive_wait_max
            .min(deadline.0 / 2);
        let limits = &mut handler.limits;
        limits.wall_deadline = limits.wall_deadline.or(Some(deadline));
        limits.receive_wait_max = limits.receive_wait_max.or(Some(values::Time(wait)));
    }
    let of = |component: &PathBuf| HandlerKeys {
        component: Some(component.clone()),
        ..handler.clone()
    };
    let keys = FileKeys {
        handler: components.iter().map(of).collect(),
        ..FileKeys::default()
    };
    let base = Grants {
        any_broker: true,
        ..if nats {
            Grants::default()
        } else {
            Grants::all()
        }
    };
    let origin = Origin {
        document: None,
        flags,
    };
    plan(keys, base, Path::new(""), &origin)
}

/// Sees to it that no two components give the same name.
fn unlike(components: &[PathBuf], flags: &Flags) -> anyhow::Result<()> {
    let mut files: HashMap<String, &Path> = HashMap::new();
    for path in components {
        let named = flags
            .handler
            .name
            .clone()
            .or_else(|| handler::name_of(path));
        let Some(name) = named else { continue };
        if let Some(other) = files.insert(name.clone(), path) {
            let what = format!(
                "two handlers would be named {name:?}: {} and {}; rename one of the files",
                other.display(),
                path.display()
            );
            return Err(Failed::error(Exit::Usage, what));
        }
    }
    Ok(())
}

/// What these keys come to, with the flags over them.
fn plan(keys: FileKeys, base: Grants, folder: &Path, origin: &Origin<'_>) -> anyhow::Result<Plan> {
    let FileKeys {
        engine,
        nats,
        handler_defaults,
        handler,
    } = keys;
    let flags = origin.flags;
    let engine = EngineKeys {
        cache: engine.cache.map(|cache| match cache == Path::new(OFF) {
            true => cache,
            false => folder.join(cache),
        }),
        ..engine
    };
    let engine_keys = flags.engine.clone().over(engine);
    let mut config = engine_config(&engine_keys);
    let mut warnings = Vec::new();
    if nats.is_some() || flags.nats.says() {
        let keys = nats::merged(flags.nats.clone(), nats.unwrap_or_default());
        warnings = literals(&keys, origin);
        let nats = nats::config(&keys, folder).map_err(|fault| origin.error(&fault))?;
        config.nats = Some(nats);
    }
    let around = Around {
        folder,
        nats: config.nats.is_some(),
    };
    let mut handlers = Vec::new();
    for (index, keys) in handler.into_iter().enumerate() {
        let at = Way::of(&["handler"]).index(index);
        let mut default = handler_defaults.handler();
        // Those of subjects have no other level, so a default is not meant for them.
        default.delivery = default.delivery.filter(|_| keys.stream.is_some());
        let mut keys = keys.over(default);
        keys.limits = flags.handler.limits.clone().over(keys.limits);
        let made = handler::config(&keys, base.clone(), &at, around);
        let (name, made) = made.map_err(|fault| origin.error(&fault))?;
        config = config.handler(made);
        let component = folder.join(keys.component.as_deref().unwrap_or(Path::new("")));
        let place = origin
            .document
            .map(|document| document.place(&at.key("component")));
        handlers.push(Planned {
            name,
            component,
            place: place.unwrap_or_default(),
            keys,
        });
    }
    let plan = Plan {
        engine: config,
        drain_wait_max: engine_keys
            .drain_wait_max
            .map_or(DRAIN_WAIT_MAX, |time| time.0),
        handlers,
        warnings,
    };
    match plan.engine.validate() {
        Ok(()) => Ok(plan),
        Err(StartError::Config(verdict)) => {
            Err(origin.error(&verdict::fault(&verdict, &plan.handlers, origin)))
        }
        Err(error) => Err(error.into()),
    }
}

fn engine_config(keys: &EngineKeys) -> EngineConfig {
    let mut config = EngineConfig::new();
    if let Some(shards) = keys.shards {
        config.shards = usize::try_from(shards.0).unwrap_or(usize::MAX);
    }
    config.spread = match keys.spread {
        Some(SpreadKey::Subject) => Spread::Subject,
        Some(SpreadKey::Any) | None => Spread::Any,
    };
    config.reset = keys.reset.map(|reset| match reset {
        ResetKey::PagemapScan => ResetMode::PagemapScan,
        ResetKey::Copy => ResetMode::Copy,
        ResetKey::Madvise => ResetMode::Madvise,
    });
    config.pin = keys.pin.unwrap_or(config.pin);
    config.seed = keys.seed.or(config.seed);
    config.guard_pages = keys.guard_pages.unwrap_or(config.guard_pages);
    let cache = keys.cache.clone().or_else(cache_folder);
    config.cache = cache.filter(|cache| cache != Path::new(OFF)).map(|folder| {
        let mut cache = CacheConfig::folder(folder);
        cache.optional = keys.cache.is_none();
        cache.bytes_max = keys.cache_max.map_or(cache.bytes_max, |size| size.0);
        cache
    });
    keys.limits.set(&mut config.limits);
    config
}

/// Where compiled code is kept unless said otherwise: nowhere for who has no home. Where that can't be used, nothing is kept.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_home = || Some(PathBuf::from(folder("HOME")?).join(".cache"));
    let caches = folder("XDG_CACHE_HOME").map(PathBuf::from).or_else(of_home);
    caches.map(|caches| caches.join("millpond/compiled"))
}

/// Warnings of secrets that are in the file itself.
fn literals(keys: &file::NatsKeys, origin: &Origin<'_>) -> Vec<String> {
    let secrets = [
        ("password", &keys.password),
        ("token", &keys.token),
        ("nkey_seed", &keys.nkey_seed),
    ];
    let literal = |secret: &Option<SecretValue>| matches!(secret, Some(SecretValue::Literal(_)));
    let literal = secrets.into_iter().filter(|(_, secret)| literal(secret));
    let warning = |(key, _)| {
        let what = format!(
            "{key} is in the file itself, for all who read it; write {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
        );
        origin.text(&Fault::new(Way::of(&["nats", key]), what))
    };
    literal.map(warning).collect()
}
