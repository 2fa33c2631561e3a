//! The command line.

use std::path::PathBuf;
use std::process::ExitCode as ProcessExit;

use clap::Parser;
use clap::error::ErrorKind;
use node_example::refusal::ExitCode;

/// Runs a node whose services sign through the key management service.
///
/// Without any option it runs the shipped settings for five slots; their keys are generated in an
/// encrypted store in the folder node-example-data below the current one.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 64 wrong usage, 69 a key or its source \
    failed, 70 a bug, 78 the settings are wrong.\nRUST_LOG chooses what is logged, for example \
    RUST_LOG=kms_service=debug."
)]
pub(crate) struct Arguments {
    /// The settings file, YAML.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,

    /// How many slots to run; 0 until stopped.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) slots: u64,

    /// Check the settings, say what would be loaded, and touch nothing.
    #[arg(long)]
    pub(crate) check: bool,

    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Arguments {
    /// The arguments of this process – or, where they ask for help or are wrong, how to exit after
    /// that has been printed.
    pub(crate) fn from_command_line() -> Result<Self, ProcessExit> {
        Self::try_parse().map_err(|error| {
            // Nothing is to be done about a standard output that can't be written.
            drop(error.print());
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ProcessExit::SUCCESS,
                _ => ProcessExit::from(ExitCode::Usage as u8),
            }
        })
    }
}
