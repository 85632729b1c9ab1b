//! Where reports go: standard output, and files that are checked before the load.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use super::{Report, csv, hgrm, html, table};
use crate::args::ReportArguments;
use crate::exit::{Exit, Failed, print};

/// Whether the files can be written: known before the load, not after.
///
/// # Errors
/// One can't be.
pub(crate) fn check(arguments: &ReportArguments) -> anyhow::Result<()> {
    for file in arguments.hgrm.iter().chain(&arguments.html) {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| unwritable(file, &error))?;
    }
    Ok(())
}

/// Writes all that was asked for.
///
/// # Errors
/// One can't be written.
pub(crate) fn write(report: &Report, arguments: &ReportArguments) -> anyhow::Result<()> {
    let files = [
        (&arguments.hgrm, hgrm::text as fn(&Report, &str) -> String),
        (&arguments.html, html::page),
    ];
    let title = arguments.title.as_deref().unwrap_or_default();
    for (file, text) in files {
        if let Some(file) = file {
            fs::write(file, text(report, title)).map_err(|error| unwritable(file, &error))?;
        }
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(report).map_err(anyhow::Error::from)?;
        return print(&(json + "\n"));
    }
    print(&if arguments.csv {
        csv::text(report)
    } else {
        table::text(report)
    })
}

fn unwritable(file: &Path, error: &io::Error) -> anyhow::Error {
    Failed::error(
        Exit::Output,
        format!("{} can't be written: {error}", file.display()),
    )
}
