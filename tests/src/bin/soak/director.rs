//! Who says what happens when: moods, restarts, and times of quiet in which every count is compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kms_service::HealthReport;

use crate::callers::rest;
use crate::node::{First, Node};
use crate::random::Random;
use crate::remote::Mood;
use crate::tally::Count;
use crate::world::{KEPT, World};

/// How long it may take until nobody asks for anything any more.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// Puts the backend elsewhere into one mood after another until it is over.
pub(crate) async fn moods(world: Arc<World>, number: u64) {
    let mut random = Random::new(world.seed, number);
    while !world.is_over() {
        use Mood::{Fails, Hangs, Panics, Slow, Throttles, Well};
        let mood = *random.pick(&[Well, Well, Well, Slow, Fails, Throttles, Hangs, Panics]);
        world.nodes().iter().for_each(|node| node.remote.set(mood));
        rest(&world, random.millis(300, 3000)).await;
    }
    world.nodes().iter().for_each(|node| node.remote.set(Mood::Well));
}

/// Parts without restarts, after which what the service counted is what callers counted, and parts with
/// many, in turns, each of them as long as `part`.
pub(crate) async fn direct(world: Arc<World>, part: Duration, number: u64) {
    let mut random = Random::new(world.seed, number);
    let mut base = Base::default();
    while !world.is_over() {
        rest(&world, part).await;
        audit(&world, Some(base)).await;
        let until = Instant::now() + part;
        while !world.is_over() && Instant::now() < until {
            let node = if random.below(2) == 0 { &world.mixed } else { &world.store };
            if let Err(error) = node.restart(|| ()).await {
                world.wrong(error);
            }
            rest(&world, random.millis(100, 2000)).await;
        }
        base = audit(&world, None).await;
    }
}

/// What was counted when the services that are started again were started last.
#[derive(Default)]
pub(crate) struct Base {
    mixed: Counted,
    store: Counted,
}

/// The requests to one node, and the panics of its backend elsewhere.
#[derive(Default)]
struct Counted {
    requests: Count,
    panics: u64,
}

impl Counted {
    fn of(node: &Node) -> Self {
        Self { requests: node.tally.count(), panics: node.remote.panics() }
    }
}

impl Base {
    pub(crate) fn of(world: &World) -> Self {
        Self { mixed: Counted::of(&world.mixed), store: Counted::of(&world.store) }
    }
}

/// Waits until nobody asks for anything, compares all counts – with those of the services, if they were
/// not started again since `base` –, and starts them again, one with a new store; but not the one that is
/// never started again, whose counts are compared from its beginning.
pub(crate) async fn audit(world: &World, base: Option<Base>) -> Base {
    let Ok(_quiet) = tokio::time::timeout(QUIET_WITHIN, world.floor.write()).await else {
        world.wrong(format!("callers hang: no quiet within {QUIET_WITHIN:?}"));
        return Base::of(world);
    };
    for node in world.nodes() {
        let under_way = node.tally.count().under_way();
        if under_way != 0 {
            world.wrong(format!("{}: {under_way} requests have no end", node.name));
        }
    }
    if let Some(base) = base {
        let lasting = world.mixed.local.len() + world.mixed.far.len();
        compare(world, &world.mixed, &base.mixed, |keys| keys == lasting).await;
        compare(world, &world.store, &base.store, |keys| keys >= KEPT).await;
        same_keys(world, &world.mixed).await;
    }
    let lasting = world.steady.local.len() + world.steady.far.len();
    compare(world, &world.steady, &Counted::default(), |keys| keys == lasting + KEPT).await;
    same_keys(world, &world.steady).await;
    world.seen.audits.fetch_add(1, Ordering::Relaxed);
    for (node, meanwhile) in [(&world.mixed, false), (&world.store, true)] {
        let forget = || {
            if meanwhile {
                world.forget_store();
            }
        };
        if let Err(error) = node.restart(forget).await {
            world.wrong(error);
        }
    }
    Base::of(world)
}

async fn compare(world: &World, node: &Node, base: &Counted, keys: impl Fn(usize) -> bool) {
    let asked = node.tally.count().since(&base.requests);
    let panics = node.remote.panics() - base.panics;
    let health: HealthReport = match node.api::<First>().await.health().await {
        Ok(health) => health,
        Err(error) => return world.wrong(format!("{}: no health: {error}", node.name)),
    };
    let counted = health.counters;
    // What was refused may have been answered to nobody, or with the state of a key that was taken out of
    // use meanwhile.
    let hidden = asked.vanished + asked.kind("disabled") + asked.kind("to be deleted");
    let overloaded = asked.kind("overloaded");
    let late = asked.kind("deadline") + asked.kind("answer lost");
    for (what, found, from, to) in [
        ("overloaded", counted.overloaded, overloaded, overloaded + hidden),
        ("panics", counted.panics, panics, panics),
        ("abandoned", counted.abandoned, 0, hidden + late),
        ("expired", counted.expired, 0, hidden + late),
    ] {
        if !(from..=to).contains(&found) {
            world.wrong(format!(
                "{}: {found} {what} by the service, {from} to {to} by its callers",
                node.name
            ));
        }
    }
    if !keys(health.keys) {
        world.wrong(format!("{}: {} keys", node.name, health.keys));
    }
}

/// The lasting keys are those of the beginning.
async fn same_keys(world: &World, node: &Node) {
    let api = node.api::<First>().await;
    for (id, key) in node.local.iter().chain(&node.far) {
        match api.public_key(id).await {
            Ok(found) if found == *key => {}
            other => world.wrong(format!("{id} has another public key: {other:?}")),
        }
    }
}
