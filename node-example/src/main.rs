//! The example node's command.

mod cli;
mod logging;
mod output;

use std::path::Path;
use std::process::ExitCode as ProcessExit;
use std::time::Duration;

use kms_backends::InjectedBackend;
use kms_secrets::{environment, harden_process};
use node_example::demo;
use node_example::refusal::{ExitCode, Refusal};
use node_example::running::RunningNode;
use node_example::settings::{NodeSettings, SHIPPED};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Arguments;
use crate::output::Output;

/// How long what still runs may take when all is done.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Not async: what happens before the runtime is built happens before any thread is started, and
/// the environment can be emptied of secrets only then.
fn main() -> ProcessExit {
    let hardened = harden_process();
    let arguments = match Arguments::from_command_line() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let output = Output::new(arguments.json);
    if !hardened.is_complete() {
        output.warned(&hardened.to_string());
    }
    match run(&arguments, &output) {
        Ok(()) => ProcessExit::SUCCESS,
        Err(refusal) => {
            output.refused(&refusal);
            ProcessExit::from(refusal.code as u8)
        }
    }
}

fn run(arguments: &Arguments, output: &Output) -> Result<(), Refusal> {
    let injected = InjectedBackend::from_environment(|name| std::env::var_os(name))
        .map_err(|error| Refusal::new(ExitCode::Settings, error.to_string()))?;
    let injected = injected.as_ref();
    let settings = match &arguments.settings {
        Some(path) => NodeSettings::from_file_with(path, injected),
        None => {
            let base_dir = Path::new("");
            NodeSettings::from_yaml_with(SHIPPED, "the shipped settings", base_dir, injected)
        }
    }?;
    if arguments.check {
        output.checked(&settings);
        return Ok(());
    }
    injected.map_or(Ok(()), InjectedBackend::check_account).map_err(|error| {
        Refusal::new(ExitCode::Unavailable, kms_backend::ErrorChain(&error).to_string())
    })?;
    environment::take(settings.kms.env_names())
        .map_err(|error| Refusal::new(ExitCode::Bug, error.to_string()))?;
    let startup_log = logging::start();
    if let Some(injected) = injected {
        tracing::warn!(
            service_account = injected.service_account,
            "KMS_ENABLED is true: the backend is that of KMS_VALUE, and `kms.backends` is passed over"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(ExitCode::Bug, format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(run_node(settings, arguments, output));
    // A thread that still waits for a disk or a server must not keep the outcome from being told.
    runtime.shutdown_timeout(SHUTDOWN);
    outcome.map_err(|refusal| refusal.or_logged(&startup_log.text()))
}

/// Runs the node for so many slots, 0 for ever, or until it is told to stop.
async fn run_node(
    settings: NodeSettings,
    arguments: &Arguments,
    output: &Output,
) -> Result<(), Refusal> {
    let mut told_to_stop = Signals::listen()?;
    if arguments.settings.is_none() {
        let made = demo::make_missing_passphrases(&settings).map_err(|error| {
            let chain = kms_backend::ErrorChain(&error).to_string();
            Refusal::new(ExitCode::Unavailable, chain)
        })?;
        output.made_demo_passphrases(&made);
    }
    let mut node = RunningNode::new(settings)?;
    let mut done = 0;
    let started = tokio::select! {
        started = node.start_services() => Some(started),
        () = told_to_stop.come() => None,
    };
    let outcome = match started {
        Some(Ok(())) => {
            output.ready(node.keys());
            run_slots(&mut node, arguments.slots, &mut done, &mut told_to_stop, output).await
        }
        Some(Err(refusal)) => {
            node.stop().await;
            return Err(refusal);
        }
        None => Ok(()),
    };
    node.stop().await;
    output.stopped(done);
    outcome
}

async fn run_slots(
    node: &mut RunningNode,
    slots: u64,
    done: &mut u64,
    told_to_stop: &mut Signals,
    output: &Output,
) -> Result<(), Refusal> {
    let mut outcome = Ok(());
    while slots == 0 || *done < slots {
        let slot = tokio::select! {
            slot = node.next_slot() => slot?,
            () = told_to_stop.come() => break,
        };
        output.slot(&slot);
        *done += 1;
        if !slot.verified {
            let text = format!("slot {} does not verify", slot.slot);
            outcome = Err(Refusal::new(ExitCode::Bug, text));
        }
    }
    outcome
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Refusal> {
        let no_signals = |error| Refusal::new(ExitCode::Bug, format!("no signals: {error}"));
        let interrupted = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let terminated = signal(SignalKind::terminate()).map_err(no_signals)?;
        Ok(Self { interrupted, terminated })
    }

    /// Waits for one of them. Cancel-safe.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}
