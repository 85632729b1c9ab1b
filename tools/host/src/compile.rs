//! `millpond compile`: compiles components ahead, so that a later start has nothing to compile.

use std::fmt::Write;

use crate::args::CompileArguments;
use crate::config::{self, file::Flags};
use crate::exit::{Exit, print};

/// Compiles what is not compiled yet, and says what it did.
pub(crate) fn compile(arguments: &CompileArguments) -> anyhow::Result<Exit> {
    let flags = Flags {
        engine: arguments.engine.clone(),
        ..Flags::default()
    };
    let plan = match &arguments.config {
        Some(file) => config::of_file(file, &flags)?,
        None => config::of_components(&arguments.components, &flags)?,
    };
    let were_kept = millpond::compile_ahead(&plan.engine)?;
    let mut text = String::new();
    for (handler, was_kept) in plan.handlers.iter().zip(were_kept) {
        let done = if was_kept { "was there" } else { "compiled" };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{done:<9}  {}", handler.component.display());
    }
    if let Some(cache) = &plan.engine.cache {
        let _ = writeln!(text, "{:<9}  {}", "kept in", cache.folder.display());
    }
    print(&text)?;
    Ok(Exit::Ok)
}
