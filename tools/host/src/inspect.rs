//! `millpond inspect`: what a component is, what it needs, and why it can't be used if it can't.

use std::fmt::Write;
use std::path::Path;

use millpond::{HandlerConfig, Import, Inspection, Way};
use serde_json::{Value, json};

use crate::args::InspectArguments;
use crate::exit::{Exit, print};
use crate::units::size;

/// Prints what a component is.
pub(crate) fn inspect(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let path = &arguments.component;
    let mut handler = HandlerConfig::file("component", path);
    if let Some(contract) = arguments.contract {
        handler = handler.contract(contract.0);
    }
    if let Some(bytes) = arguments.memory_max {
        handler.limits.memory_bytes_max = usize::try_from(bytes)?;
    }
    let inspected = millpond::inspect(&handler);
    if arguments.json {
        let object = match &inspected {
            Ok(inspection) => object(path, inspection),
            Err(error) => json!({ "component": path, "usable": false, "error": error.to_string() }),
        };
        print(&(serde_json::to_string_pretty(&object)? + "\n"))?;
    }
    let inspection = inspected?;
    if !arguments.json {
        print(&table(path, &inspection))?;
    }
    Ok(Exit::Ok)
}

/// How often a message's effects may happen, by where a handler takes it from; the second and last by `--delivery`.
const DELIVERY: [(&str, &str, &str); 4] = [
    (
        "subjects",
        "at-most-once",
        "the server keeps nothing: what is lost or shed on the way is gone",
    ),
    (
        "stream",
        "at-most-once",
        "--delivery at-most-once: acked on arrival, lost with the engine",
    ),
    (
        "stream",
        "at-least-once",
        "the default: acked once its sends are stored; they may be repeated",
    ),
    (
        "stream",
        "effectively-once",
        "--delivery effectively-once: its sends are stored together, and once",
    ),
];

/// How a component is called, in one word.
fn way(way: Way) -> &'static str {
    match way {
        Way::Direct => "direct",
        Way::Fiber => "fiber",
    }
}

fn object(path: &Path, inspection: &Inspection) -> Value {
    let import = |i: &Import| json!({ "name": i.name, "granted_by_default": i.granted });
    json!({
        "component": path,
        "usable": true,
        "contract": inspection.contract.interface(),
        "contracts": inspection.contracts.iter().map(|c| c.interface()).collect::<Vec<_>>(),
        "imports": inspection.imports.iter().map(import).collect::<Vec<_>>(),
        "way": way(inspection.way),
        "delivery": DELIVERY.map(|(from, level, why)| json!({ "from": from, "level": level, "meaning": why })),
        "memories": inspection.memories,
        "memory_bytes": inspection.memory_bytes,
        "component_bytes": inspection.component_bytes,
        "compiled_bytes": inspection.compiled_bytes,
    })
}

fn table(path: &Path, inspection: &Inspection) -> String {
    let why = match inspection.way {
        Way::Direct => "nothing that it imports waits",
        Way::Fiber => "something that it imports may wait, and its shard goes on meanwhile",
    };
    let memories = match inspection.memories {
        1 => "1 memory".to_owned(),
        n => format!("{n} memories"),
    };
    let others = inspection
        .contracts
        .iter()
        .filter(|c| **c != inspection.contract);
    let others: String = others
        .map(|c| format!("\n           also {} (--contract)", c.interface()))
        .collect();
    let mut text = format!(
        "component  {}\ncontract   {}{others}\ncalled     {}: {why}\nmemory     {memories}, {} at most when new\nsize       {}, {} compiled\n",
        path.display(),
        inspection.contract.interface(),
        way(inspection.way),
        size(inspection.memory_bytes),
        size(inspection.component_bytes),
        size(inspection.compiled_bytes),
    );
    let names = inspection.imports.iter().map(|i| i.name.len());
    let width = names.max().unwrap_or(0);
    for (at, import) in inspection.imports.iter().enumerate() {
        let head = if at == 0 { "imports" } else { "" };
        let granted = match import.granted {
            true => "granted by default",
            false => "needs a grant",
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{head:<11}{:<width$}  {granted}", import.name);
    }
    for (at, (from, level, why)) in DELIVERY.iter().enumerate() {
        let head = if at == 0 { "delivery" } else { "" };
        let _ = writeln!(text, "{head:<11}{from:<8}  {level:<16}  {why}");
    }
    text
}
