//! `kms`: the operator's command for a keystore file.

mod arguments;
mod commands;
mod confirm;
mod failure;
mod open;
mod opener;
mod output;
mod progress;
mod source;
mod view;
mod yaml;

use std::process::ExitCode;

use kms_secrets::{WipingAllocator, environment, harden_process};

use crate::arguments::Arguments;
use crate::confirm::Confirm;
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::output::Output;

/// Wipes also what scrypt, with which documents are decrypted, leaves in its working memory.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    let hardened = harden_process();
    let arguments = match Arguments::from_command_line() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let output = Output::new(arguments.global.json);
    if !hardened.is_complete() {
        output.warn(&hardened);
    }
    match run(arguments, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failed(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(arguments: Arguments, output: Output) -> Outcome {
    // Before any thread is started: the environment can be emptied of secrets only then.
    environment::take(arguments.env_names()).map_err(Failure::bug)?;
    let Arguments { global, command } = arguments;
    let confirm = Confirm::new(global.yes);
    command.run(&Context { path: global.store, unlock: global.unlock, output, confirm })
}
