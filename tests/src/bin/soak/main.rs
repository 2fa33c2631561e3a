//! The soak: nodes under a mixed load, with restarts, a failing backend, callers that vanish and keys that
//! come and go, for as long as it is told. Every answer is checked; memory, open files and threads must
//! stay flat.
//!
//! `cargo run --release -p kms-tests --bin soak -- --minutes 20`
//!
//! Ends with 0 if all was good, with 1 and the reasons if not. Ctrl-C ends it early, with the same report.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails the soak"
)]

mod callers;
mod director;
mod keepers;
mod node;
mod random;
mod registrar;
mod remote;
mod report;
mod resources;
mod tally;
mod troublemakers;
mod world;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::future::join_all;
use tokio::task::JoinSet;

use crate::resources::Used;
use crate::world::{KEPT, Whose, World};

/// Puts key management services under load and checks everything that they answer.
#[derive(Parser)]
struct Arguments {
    /// How long; fractions are minutes too.
    #[arg(long, default_value_t = 20.0, value_parser = minutes)]
    minutes: f64,
    /// What chance follows from; printed, so that it can be given again. Who comes first is up to the
    /// scheduler all the same.
    #[arg(long)]
    seed: Option<u64>,
    /// How many sign with the keys of this process all the time, at each of two nodes.
    #[arg(long, default_value_t = 6)]
    callers: u64,
}

/// How often what is used is looked at, and how often a line is printed, at most.
const SAMPLE: Duration = Duration::from_secs(1);
const LINE: Duration = Duration::from_secs(10);

/// How long the load may take to end.
const END_WITHIN: Duration = Duration::from_secs(60);

/// Threads for blocking work, all of them made before anything is measured: how many there happen to be
/// otherwise depends on how much once came together.
const BLOCKING: usize = 16;

/// With an arena for each thread, as glibc has it unless it is told otherwise, memory goes on growing for
/// minutes that nobody holds, and what is lost can't be seen in it.
const ARENAS: &str = "MALLOC_ARENA_MAX";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if std::env::var_os(ARENAS).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let error = again.args(std::env::args_os().skip(1)).env(ARENAS, "1").exec();
        println!("can't start again with {ARENAS}=1: {error}");
        return ExitCode::FAILURE;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().max_blocking_threads(BLOCKING).thread_keep_alive(Duration::MAX);
    runtime.build().unwrap().block_on(async {
        let together = Arc::new(Barrier::new(BLOCKING));
        let threads = (0..BLOCKING).map(|_| {
            let together = Arc::clone(&together);
            tokio::task::spawn_blocking(move || {
                together.wait();
            })
        });
        join_all(threads).await;
        soak(arguments).await
    })
}

async fn soak(arguments: Arguments) -> ExitCode {
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    let seed = arguments.seed.unwrap_or_else(some_seed);
    println!("{time:.1?} with --seed {seed}");
    let world = Arc::new(World::new(seed).await);
    let mut load = JoinSet::new();
    begin(&mut load, &world, arguments.callers, time);
    let samples = watch(&world, time).await;
    world.end();
    let ended = tokio::time::timeout(END_WITHIN, async {
        while let Some(task) = load.join_next().await {
            if let Err(error) = task {
                world.wrong(format!("a task of the soak failed: {error}"));
            }
        }
    });
    if ended.await.is_err() {
        world.wrong(format!("{} tasks hang", load.len()));
        load.shutdown().await;
    }
    director::audit(&world, None).await;
    let good = report::verdict(&world, &samples);
    if let Ok(World { mixed, store, steady, .. }) = Arc::try_unwrap(world) {
        for node in [mixed, store, steady] {
            if let Err(error) = node.end().await {
                println!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts everybody.
fn begin(load: &mut JoinSet<()>, world: &Arc<World>, callers: u64, time: Duration) {
    let mut numbers = 1..;
    let mut number = || numbers.next().unwrap();
    let mixed: [Whose; 2] = [|world| &world.mixed, |world| &world.steady];
    for whose in mixed {
        for _ in 0..callers {
            load.spawn(callers::local(Arc::clone(world), whose, number()));
        }
        for _ in 0..3 {
            load.spawn(callers::far(Arc::clone(world), whose, number()));
            load.spawn(troublemakers::vanish(Arc::clone(world), whose, number()));
        }
        load.spawn(troublemakers::flood(Arc::clone(world), whose, number()));
    }
    let with_kept: [Whose; 2] = [|world| &world.store, |world| &world.steady];
    for whose in with_kept {
        for kept in 0..KEPT {
            load.spawn(keepers::keep(Arc::clone(world), whose, kept, number()));
        }
    }
    for which in 0..2 {
        load.spawn(registrar::register(Arc::clone(world), which, number()));
    }
    load.spawn(director::moods(Arc::clone(world), number()));
    let part = (time / 6).clamp(Duration::from_secs(1), Duration::from_secs(15));
    load.spawn(director::direct(Arc::clone(world), part, number()));
}

/// Looks at what is used, and prints, until the time is over or Ctrl-C is pressed.
async fn watch(world: &World, time: Duration) -> Vec<Used> {
    let begun = Instant::now();
    let (mut samples, mut next_line) = (Vec::new(), LINE.min(time / 3));
    let mut ticks = tokio::time::interval(SAMPLE.min(time / 10));
    let mut ctrl_c = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut ctrl_c => {
                println!("ended early");
                return samples;
            }
        }
        let used = Used::now(begun.elapsed());
        samples.push(used);
        if used.at >= next_line {
            report::line(world, used);
            next_line += LINE.min(time / 3);
        }
        if used.at >= time {
            return samples;
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "expected a number of minutes".to_owned())?;
    // A week.
    if minutes > 0.0 && minutes <= 10_080.0 {
        Ok(minutes)
    } else {
        Err("expected more than 0 and at most 10080 minutes".to_owned())
    }
}

fn some_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
