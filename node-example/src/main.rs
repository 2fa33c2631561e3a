//! The example node's command.

mod cli;
mod output;

use std::path::Path;
use std::process::ExitCode as ProcessExit;

use kms_secrets::environment;
use node_example::demo;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::{NodeSettings, SHIPPED};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::Arguments;
use crate::output::Output;

/// Not async: what happens before the runtime is built happens before any thread is started, and
/// the environment can be emptied of secrets only then.
fn main() -> ProcessExit {
    let arguments = match Arguments::from_command_line() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let output = Output::new(arguments.json);
    match run(&arguments, &output) {
        Ok(()) => ProcessExit::SUCCESS,
        Err(refusal) => {
            output.refused(&refusal);
            ProcessExit::from(refusal.code as u8)
        }
    }
}

fn run(arguments: &Arguments, output: &Output) -> Result<(), Refusal> {
    let settings = match &arguments.settings {
        Some(path) => NodeSettings::from_file(path),
        None => NodeSettings::from_yaml(SHIPPED, "the shipped settings", Path::new("")),
    }?;
    if arguments.check {
        output.checked(&settings);
        return Ok(());
    }
    environment::take(settings.kms.env_names())
        .map_err(|error| Refusal::new(ExitCode::Bug, error.to_string()))?;
    log_to_standard_error();
    if arguments.settings.is_none() {
        let made = demo::make_missing_secrets(&settings).map_err(|error| {
            let chain = kms_backend::ErrorChain(&error).to_string();
            Refusal::new(ExitCode::Unavailable, chain)
        })?;
        output.made_demo_secrets(&made);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(ExitCode::Bug, format!("no runtime: {error}")))?;
    runtime.block_on(run_node(settings, arguments.slots, output))
}

/// Runs the node for so many slots, 0 for ever, or until it is told to stop.
async fn run_node(settings: NodeSettings, slots: u64, output: &Output) -> Result<(), Refusal> {
    let no_signals = |error| Refusal::new(ExitCode::Bug, format!("no signals: {error}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut node = tokio::select! {
        node = RunningNode::start(settings) => node?,
        _ = interrupted.recv() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    output.ready(node.keys());

    let mut done = 0;
    let mut outcome = Ok(());
    while slots == 0 || done < slots {
        let slot = tokio::select! {
            slot = node.next_slot() => slot,
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        };
        match slot {
            Ok(slot) => {
                output.slot(&slot);
                done += 1;
                if !slot.verified {
                    let text = format!("slot {} does not verify", slot.slot);
                    outcome = Err(Refusal::new(ExitCode::Bug, text));
                }
            }
            Err(refusal) => {
                outcome = Err(refusal);
                break;
            }
        }
    }
    node.stop().await;
    output.stopped(done);
    outcome
}

/// Warnings and errors unless `RUST_LOG` says otherwise – but not the report of a start that failed,
/// which this program prints itself.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,kms_service::startup=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
