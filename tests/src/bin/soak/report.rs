//! What is printed: a line now and then, a table, and the verdict.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::resources::{Flat, Used, flat};
use crate::tally::{Count, KINDS};
use crate::world::World;

/// From this time on, everything that the soak is for must have happened.
const ALL_SEEN: Duration = Duration::from_secs(60);

/// One line on how it stands.
pub(crate) fn line(world: &World, used: Used) {
    let counts = world.nodes().map(|node| node.tally.count());
    let count = counts.iter().fold(Count::default(), |sum, count| sum.plus(count));
    let refused: Vec<String> = KINDS
        .iter()
        .zip(count.kinds)
        .skip(1)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    println!(
        "{:>5.0} s  {} signatures  refused: {}  vanished {}  restarts {}  RSS {} MiB  {} files  \
         {} threads",
        used.at.as_secs_f64(),
        count.signatures,
        refused.join(", "),
        count.vanished,
        world.nodes().map(|node| node.tally.restarts()).iter().sum::<u64>(),
        used.rss_kib / 1024,
        used.files,
        used.threads
    );
}

/// The table and the verdict; whether it is a good one.
pub(crate) fn verdict(world: &World, samples: &[Used]) -> bool {
    let counts = world.nodes().map(|node| node.tally.count());
    let [mixed, store, steady] = world.nodes().map(|node| node.name);
    println!("\n{:<22}{mixed:>12}{store:>12}{steady:>12}", "");
    let row = |what: &str, of: &dyn Fn(&Count) -> u64| {
        let [mixed, store, steady] = counts.map(|count| of(&count));
        println!("{what:<22}{mixed:>12}{store:>12}{steady:>12}");
    };
    row("sent", &|count| count.sent);
    for (kind, name) in KINDS.iter().enumerate() {
        row(name, &|count| count.kinds[kind]);
    }
    row("vanished", &|count| count.vanished);
    row("without an answer", &|count| count.lost);
    row("verified signatures", &|count| count.signatures);
    let [mixed, store, steady] = world.nodes().map(|node| node.tally.restarts());
    println!("{:<22}{mixed:>12}{store:>12}{steady:>12}", "restarts");

    let mut reasons = Vec::new();
    for (node, count) in world.nodes().iter().zip(&counts) {
        if count.lost > 0 || count.under_way() != 0 {
            let lost = i128::from(count.lost) + count.under_way();
            reasons.push(format!("{}: {lost} requests have no answer", node.name));
        }
    }
    let took = samples.last().map_or(Duration::ZERO, |used| used.at);
    reasons.extend(unseen(world, &counts).into_iter().filter(|_| took >= ALL_SEEN));
    match flat(samples) {
        Some(all) => {
            println!("\n{:<22}{:>12}{:>12}{:>12}", "median", "first", "last", "allowed");
            for Flat { what, first, last, allowed } in &all {
                println!("{what:<22}{first:>12}{last:>12}{allowed:>12}");
            }
            reasons.extend(
                all.iter().filter(|flat| !flat.holds()).map(|flat| format!("{} grow", flat.what)),
            );
        }
        None => println!("\ntoo short to tell whether memory, files and threads are flat"),
    }
    let (wrong, told) = world.all_wrong();
    reasons.extend(told);
    if wrong > reasons.len() {
        reasons.push(format!("{wrong} things were wrong in all"));
    }
    if reasons.is_empty() {
        println!("\nGOOD: every request was answered, and every invariant held");
        return true;
    }
    println!("\nBAD:");
    reasons.iter().for_each(|reason| println!("  {reason}"));
    false
}

/// What was to happen, prints how often it did, and gives what never did.
fn unseen(world: &World, counts: &[Count]) -> Vec<String> {
    let seen = &world.seen;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!();
    let mut unseen = Vec::new();
    for (what, count) in [
        ("audits", number(&seen.audits)),
        ("refused by a breaker", number(&seen.breaker_open)),
        ("signed elsewhere after", number(&seen.breaker_closed)),
        ("panics elsewhere", world.nodes().map(|node| node.remote.panics()).iter().sum()),
        ("served in floods", number(&seen.served_in_floods)),
        ("refused in floods", counts.iter().map(|count| count.kind("overloaded")).sum()),
        ("taken out of use", number(&seen.disabled)),
        ("registered", number(&seen.registered)),
    ] {
        println!("{what:<22}{count:>12}");
        if count == 0 {
            unseen.push(format!("never seen: {what}"));
        }
    }
    unseen
}
