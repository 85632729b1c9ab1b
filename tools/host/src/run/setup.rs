//! What was typed → the engine's configuration.

use std::collections::HashMap;
use std::path::Path;

use millpond::{EngineConfig, Grants, HandlerConfig, HandlerLimits, Spread};

use crate::args::RunArguments;
use crate::exit::{Exit, Failed};

/// The configuration that these arguments make.
///
/// # Errors
/// A file that gives no name, or two that give the same.
pub(super) fn configuration(arguments: &RunArguments) -> anyhow::Result<EngineConfig> {
    let mut config = EngineConfig::new();
    if let Some(shards) = arguments.shards {
        config.shards = shards;
    }
    if arguments.ordered {
        config.spread = Spread::Subject;
    }
    config.limits.memory_total_bytes_max = arguments.memory_total;
    let (limits, grants) = (limits(arguments)?, grants(&arguments.brokers));
    let mut files: HashMap<&str, &Path> = HashMap::new();
    for path in &arguments.components {
        let name = name(path)?;
        if let Some(other) = files.insert(name, path) {
            return Err(Failed::error(
                Exit::Usage,
                format!(
                    "two handlers would be named {name:?}: {} and {}; rename one of the files",
                    other.display(),
                    path.display()
                ),
            ));
        }
        let handler = HandlerConfig::file(name, path)
            .limits(limits.clone())
            .grants(grants.clone());
        config = config.handler(handler);
    }
    Ok(config)
}

/// A handler's name: that of its file, without the extension.
fn name(path: &Path) -> anyhow::Result<&str> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .ok_or_else(|| {
            let why = format!(
                "{}: a handler is called as its file, and this path names none that is text",
                path.display()
            );
            Failed::error(Exit::Usage, why)
        })
}

fn limits(arguments: &RunArguments) -> anyhow::Result<HandlerLimits> {
    let mut limits = HandlerLimits::default();
    if let Some(messages) = arguments.batch_max {
        limits.batch_messages_max = messages;
    }
    if let Some(deadline) = arguments.deadline {
        limits.deadline = deadline;
        limits.wall_deadline = deadline;
        // Under the wall deadline, so that a guest that waits in vain gets an error and not a fault.
        limits.receive_wait_max = limits.receive_wait_max.min(deadline / 2);
    }
    if let Some(bytes) = arguments.memory_max {
        limits.memory_bytes_max = usize::try_from(bytes)?;
    }
    Ok(limits)
}

/// Everything, but for brokers if some are named.
fn grants(brokers: &[String]) -> Grants {
    if brokers.is_empty() {
        tracing::info!("guests may connect to a broker by any name: each is the in-process one");
        return Grants::all();
    }
    tracing::info!(
        ?brokers,
        "guests may connect to `default` and these: each is the in-process one"
    );
    Grants {
        brokers: brokers.to_vec(),
        any_broker: false,
        ..Grants::all()
    }
}
