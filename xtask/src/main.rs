//! `cargo xtask test`: sets up the peers that tests talk to, runs every test of the workspace with none
//! left out, and stops what is left.
//!
//! Peers are real programs: OpenBao and ministack in Python environments of their own below the target
//! folder, and what Debian's packages give. What is there already is used as it is.

mod leftovers;
mod peers;
mod python;
mod system;
mod tests;

use clap::{Parser, Subcommand};

/// What is done with this workspace, other than building it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Sets up the peers and runs every test.
    Test {
        /// Given to `cargo test` instead of `--workspace`, such as `-p kms-service`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        cargo: Vec<String>,
    },
    /// Sets up the peers, and prints the environment that their tests need.
    Peers,
}

fn main() -> anyhow::Result<()> {
    let Arguments { task } = Arguments::parse();
    let peers = peers::set_up()?;
    match task {
        Task::Peers => {
            for (name, value) in peers.environment() {
                println!("export {name}='{}'", value.display());
            }
            Ok(())
        }
        Task::Test { cargo } => {
            let outcome = tests::run(&peers, &cargo);
            leftovers::stop(peers.folder());
            outcome
        }
    }
}
