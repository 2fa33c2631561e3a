//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser};
use kms_secrets::looks_like_secret;

use crate::commands::Command;
use crate::failure::{Code, Failure};
use crate::open::UnlockOptions;
use crate::output::Output;

/// Works on the keys in one keystore file: makes, imports, lists, changes, exports and backs up.
///
/// Secrets are never arguments: they are asked for, or read from the files, variables and programs
/// that options name.
#[derive(Debug, Parser)]
#[command(
    name = "kms",
    version,
    after_help = "Examples:
  kms init --generate-passphrase store.pass
  kms --passphrase-file store.pass generate node/identity --type ed25519
  kms --passphrase-file store.pass list

Exit codes: 0 done, 64 wrong usage, 69 something failed, 70 a bug."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The keystore file
    #[arg(
        long,
        global = true,
        env = "KMS_STORE",
        default_value = "kms.keystore",
        value_name = "PATH",
        help_heading = "Store"
    )]
    pub(crate) store: PathBuf,

    #[command(flatten)]
    pub(crate) unlock: UnlockOptions,

    /// Answer with one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Go on without asking
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

impl Arguments {
    /// The arguments of this process – or, where they ask for help or are wrong, how to exit after
    /// that has been printed.
    pub(crate) fn from_command_line() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let arguments: Vec<_> = std::env::args_os().collect();
            match error.kind() {
                // Nothing is to be done about a standard output that can't be written.
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    drop(error.print());
                    ExitCode::SUCCESS
                }
                _ => {
                    refuse(&error, &arguments);
                    ExitCode::from(Code::Usage as u8)
                }
            }
        })
    }

    /// The environment variables that hold secrets.
    pub(crate) fn env_names(&self) -> Vec<String> {
        let own = self.global.unlock.env_names();
        own.into_iter().chain(self.command.env_names()).collect()
    }
}

/// Says what is wrong, but repeats nothing that may be a secret.
fn refuse(error: &clap::Error, arguments: &[OsString]) {
    let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
    let value = |text: &str| text.split_once('=').map_or(text, |(_, value)| value).to_owned();
    let is_json = texts.clone().any(|text| text == "--json");
    if texts.any(|text| looks_like_secret(&value(text))) {
        Output::new(is_json).failed(&Failure::usage(
            "the arguments are wrong, and one of them looks like a secret, so they are not \
             repeated here; other users can see the command line, so take that secret for known",
        ));
    } else if is_json {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ").trim();
        Output::new(true).failed(&Failure::usage(text));
    } else {
        drop(error.print());
    }
}
