//! Loading a component: compiling it, detecting its contract, linking it once.

use std::borrow::Cow;
use std::fs;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};
use wasmtime::{Engine, error::Context as _};

use super::cache::Cache;
use super::contract::{Contract, Exports, waits};
use super::host::Host;
use super::{HostLinker, log, wasi};
use crate::config::{HandlerConfig, Source};
use crate::error::{ComponentError, StartError};
use crate::memory::Footprint;
use crate::slice::Way;

/// Bytes of a page of WebAssembly memory.
const PAGE_BYTES: u64 = 64 << 10;

/// An import, and whether anything provides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The interface.
    pub name: String,
    /// Whether a handler's grants decide what it may do, or it is there for all.
    pub granted: bool,
}

/// A component, compiled and linked once: an instance of it costs no look-up by name.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) pre: InstancePre<Host>,
    /// SHA-256 of the component, in hexadecimal digits.
    pub(crate) digest: Arc<str>,
    pub(crate) contract: Contract,
    pub(crate) exports: Exports,
    /// How its imports ask for it to be made, and called: on a fiber if one of them waits.
    pub(crate) way: Way,
    pub(crate) wasi: bool,
    pub(crate) image_bytes: u64,
    pub(crate) memories: u32,
}

impl Loaded {
    /// Reads, compiles, detects and links the component of a handler.
    pub(crate) fn load(
        engine: &Engine,
        cache: Option<&Cache>,
        handler: &HandlerConfig,
    ) -> Result<Self, StartError> {
        let at = |cause| StartError::Component {
            path: handler.path(),
            cause,
        };
        let bytes = read(&handler.source).map_err(at)?;
        let digest = digest(&bytes);
        let component = compiled(engine, cache, &bytes, &digest).map_err(at)?;
        let linked = Self::link(engine, &component, handler).map_err(at)?;
        Ok(Self {
            digest: digest.into(),
            ..linked
        })
    }

    fn link(
        engine: &Engine,
        component: &Component,
        handler: &HandlerConfig,
    ) -> Result<Self, ComponentError> {
        let memory_bytes_max = handler.limits.memory_bytes_max;
        let required = component.resources_required().ok_or_else(|| {
            ComponentError::Invalid(
                "it imports core modules, so what it needs can't be known".into(),
            )
        })?;
        let contract = contract(engine, component, handler.contract)?;
        let exports = contract
            .exports(component)
            .ok_or_else(|| no_contract(engine, component))?;
        let ty = component.component_type();
        let way = match ty
            .imports(engine)
            .any(|(name, import)| waits(name, &import.ty, engine))
        {
            true => Way::Fiber,
            false => Way::Direct,
        };
        let wasi = ty.imports(engine).any(|(name, _)| wasi::provides(name));
        let linker = linker(engine, contract, wasi)
            .map_err(|error| ComponentError::Invalid(format!("{error:#}")))?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| missing_import(engine, component, &error))?;
        let largest = required.max_initial_memory_size.unwrap_or(0) * PAGE_BYTES;
        if largest > memory_bytes_max as u64 {
            return Err(ComponentError::Memory {
                bytes: largest,
                max: memory_bytes_max as u64,
            });
        }
        Ok(Self {
            pre,
            digest: Arc::default(),
            contract,
            exports,
            way,
            wasi,
            // At most: Wasmtime tells the largest memory and their number, and no more.
            image_bytes: largest * u64::from(required.num_memories),
            memories: required.num_memories,
        })
    }

    /// What it adds to the memory sum.
    pub(crate) fn footprint(&self, handler: &HandlerConfig) -> Footprint {
        Footprint {
            limits: handler.limits.clone(),
            image_bytes: self.image_bytes,
            memories: u64::from(self.memories),
            held_bytes: self.contract.held_bytes(),
            lays_out: self.contract == Contract::Batch010,
        }
    }
}

/// The linker of a contract, and of the log; with WASI only where the component imports it.
fn linker(engine: &Engine, contract: Contract, wasi: bool) -> wasmtime::Result<HostLinker> {
    let mut linker = HostLinker::new(engine);
    contract.link(&mut linker)?;
    log::link(&mut linker)?;
    if wasi {
        wasi::link(&mut linker).context("linking WASI")?;
    }
    Ok(linker)
}

fn read(source: &Source) -> Result<Cow<'_, [u8]>, ComponentError> {
    match source {
        Source::File(path) => fs::read(path).map(Cow::Owned).map_err(ComponentError::Read),
        Source::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
    }
}

/// SHA-256 in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes)
        .into_iter()
        .map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Compiles a component, or takes its compiled code from where it is kept.
fn compiled(
    engine: &Engine,
    cache: Option<&Cache>,
    bytes: &[u8],
    digest: &str,
) -> Result<Component, ComponentError> {
    let Some(cache) = cache else {
        return compile(engine, bytes);
    };
    if let Some(component) = cache.get(engine, digest) {
        return Ok(component);
    }
    let component = compile(engine, bytes)?;
    if let Err(error) = cache.put(&component, digest) {
        tracing::warn!("the next start compiles again: {error}");
    }
    Ok(component)
}

fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, ComponentError> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(ComponentError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => {
            Component::new(engine, bytes).map_err(|error| refused(&error))
        }
        _ => Err(ComponentError::Invalid(
            "it does not begin as WebAssembly does".into(),
        )),
    }
}

/// What the runtime said, told apart by its words: it has no type for a component that its pool has no room for.
fn refused(error: &wasmtime::Error) -> ComponentError {
    let detail = format!("{error:#}");
    match detail.contains("pooling allocator") {
        true => ComponentError::Slots(detail),
        false => ComponentError::Invalid(detail),
    }
}

/// The contract that a component is called by: the one that is wanted, or else the first that it has.
fn contract(
    engine: &Engine,
    component: &Component,
    wanted: Option<Contract>,
) -> Result<Contract, ComponentError> {
    match wanted {
        None => Contract::detect(component).ok_or_else(|| no_contract(engine, component)),
        Some(wanted) if wanted.is_in(component) => Ok(wanted),
        Some(wanted) => Err(ComponentError::OtherContract {
            wanted: wanted.interface(),
            exports: exported(engine, component),
        }),
    }
}

fn exported(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn no_contract(engine: &Engine, component: &Component) -> ComponentError {
    ComponentError::NoContract {
        exports: exported(engine, component),
        known: Contract::ALL.map(Contract::interface).join(", "),
    }
}

/// Names the import that a linker has not: the linker's own words begin with it.
fn missing_import(
    engine: &Engine,
    component: &Component,
    error: &wasmtime::Error,
) -> ComponentError {
    let detail = format!("{error:#}");
    let ty = component.component_type();
    let named = ty
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| detail.contains(&format!("`{name}`")));
    ComponentError::Import {
        import: named.unwrap_or_else(|| "something".into()),
        detail,
    }
}

/// What a component is, for a person: see [`inspect`].
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The contract that it is called by.
    pub contract: Contract,
    /// All that it exports.
    pub contracts: Vec<Contract>,
    /// Its imports.
    pub imports: Vec<Import>,
    /// How it is called as long as its calls end within their slice: on a fiber if it imports something that waits.
    pub way: Way,
    /// Memories of an instance.
    pub memories: u32,
    /// Bytes of memory that a new instance has, at most.
    pub memory_bytes: u64,
    /// Bytes of the component.
    pub component_bytes: u64,
    /// Bytes of its compiled code.
    pub compiled_bytes: u64,
}

/// Says what a component is and how it would be run, without running any of it.
///
/// # Errors
/// What makes it unusable.
pub fn inspect(handler: &HandlerConfig) -> Result<Inspection, StartError> {
    let config = crate::EngineConfig::new().shards(1);
    let engine = super::runtime::engine(&config, super::runtime::choose_reset(config.reset)?)?;
    let at = |cause| StartError::Component {
        path: handler.path(),
        cause,
    };
    let bytes = read(&handler.source).map_err(at)?;
    let component = compile(&engine, &bytes).map_err(at)?;
    let loaded = Loaded::link(&engine, &component, handler).map_err(at)?;
    let imports = component
        .component_type()
        .imports(&engine)
        .map(|(name, _)| import(name))
        .collect();
    let invalid = |error: wasmtime::Error| at(ComponentError::Invalid(format!("{error:#}")));
    Ok(Inspection {
        contract: loaded.contract,
        contracts: Contract::all_in(&component),
        imports,
        way: loaded.way,
        memories: loaded.memories,
        memory_bytes: loaded.image_bytes,
        component_bytes: bytes.len() as u64,
        compiled_bytes: component.serialize().map_err(invalid)?.len() as u64,
    })
}

/// Compiles the components of these handlers and keeps their code in the configuration's `cache`, as a start would, without running
/// any of it: of each handler, whether its code had been kept before.
///
/// # Errors
/// There is no `cache`, or its folder can't be used, optional or not; a component that can't be compiled; compiled code that is not kept, as where its
/// folder is full or may not have as many bytes.
pub fn compile_ahead(config: &crate::EngineConfig) -> Result<Vec<bool>, StartError> {
    let Some(folder) = &config.cache else {
        return Err(StartError::Config(
            "there is no cache to keep compiled code in; name its folder".into(),
        ));
    };
    // How memory is reset changes no code.
    let engine = super::runtime::engine(config, crate::ResetMode::Copy)?;
    let cache = Cache::open(folder, &engine)?;
    let ahead = |handler: &HandlerConfig| {
        let at = |cause| StartError::Component {
            path: handler.path(),
            cause,
        };
        let bytes = read(&handler.source).map_err(at)?;
        let digest = digest(&bytes);
        let was_kept = cache.get(&engine, &digest).is_some();
        if !was_kept {
            cache.put(&compile(&engine, &bytes).map_err(at)?, &digest)?;
        }
        Ok::<_, StartError>((was_kept, digest))
    };
    let done: Vec<(bool, String)> = config
        .handlers
        .iter()
        .map(ahead)
        .collect::<Result<_, _>>()?;
    let removed = done.iter().filter(|(_, digest)| !cache.has(digest)).count();
    match removed {
        0 => Ok(done.into_iter().map(|(was_kept, _)| was_kept).collect()),
        _ => Err(cache.not_kept(&format!(
            "the folder may have {} bytes, which is too few for all components: that of {removed} of {} made room for others",
            folder.bytes_max,
            done.len(),
        ))),
    }
}

/// Whether an import does anything without a grant.
fn import(name: &str) -> Import {
    let needs_grant = [
        "wasi:filesystem/",
        "wasi:sockets/",
        "wasi:messaging/producer",
        "wasi:messaging/consumer",
        "wasi:messaging/request-reply",
        "wasmcloud:messaging/consumer",
    ];
    Import {
        name: name.to_owned(),
        granted: !needs_grant.iter().any(|prefix| name.starts_with(prefix)),
    }
}
