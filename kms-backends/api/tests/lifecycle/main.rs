//! The suite's lifecycle checks under test: a backend that generates, derives, rotates, disables,
//! deletes and destroys passes, and each one that is broken there fails there, for what is broken.

#![allow(clippy::unwrap_used, reason = "a test backend that can't go on fails its test")]

mod fault;
mod memory;

use std::time::Duration;

use kms_backend::conformance::{self, CheckKind, Fixture, Provisioned, Report};
use kms_backend::{Derivation, IfMissing, KeySpec, OpenContext, async_trait};
use kms_keys::{DerivationPath, KeyId, KeyType};

use fault::Fault;
use memory::{MASTER, Settings};

struct InMemory(Settings);

#[async_trait]
impl Fixture for InMemory {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.0.clone()
    }

    fn context(&self) -> OpenContext {
        OpenContext::new("memory", ".")
    }

    async fn provision(&self, id: KeyId, key_type: KeyType) -> Provisioned {
        let mut spec = KeySpec::new(id, key_type);
        spec.if_missing = IfMissing::Generate;
        Provisioned { spec, public_key: None }
    }

    fn absent(&self, id: KeyId, key_type: KeyType) -> KeySpec {
        KeySpec::new(id, key_type)
    }

    async fn derivation(&self, key_type: KeyType) -> Option<Derivation> {
        Some(Derivation { master: MASTER.parse().unwrap(), path: path(key_type) })
    }

    async fn damage(&self, _spec: &KeySpec) -> bool {
        false
    }
}

/// A path that keys of this type have.
fn path(key_type: KeyType) -> DerivationPath {
    let text = if key_type == KeyType::Ed25519 { "m/44'/0'" } else { "m/12381/3600" };
    text.parse().unwrap()
}

async fn report_on(fault: Fault) -> Report {
    let settings = Settings { fault, ..Settings::default() };
    conformance::run(InMemory(settings), Duration::from_secs(60)).await
}

/// The checks that a backend with this fault fails – all of them about its lifecycle – without the
/// key type in front, and why.
async fn failing(fault: Fault) -> Vec<(String, String)> {
    let report = report_on(fault).await;
    let lifecycle = report.failures().iter().all(|failure| failure.kind == CheckKind::Lifecycle);
    assert!(lifecycle, "{report}");
    let failures = report.failures().iter().map(|failure| {
        let name = failure.name.split(": ").last().unwrap_or_default();
        (name.to_owned(), failure.reason.clone())
    });
    failures.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_backend_passes() {
    let report = report_on(Fault::None).await;
    report.assert_conformance();
    // It does everything to its keys.
    let lifecycle = |(kind, _): &(CheckKind, String)| *kind == CheckKind::Lifecycle;
    assert!(!report.not_applicable().iter().any(lifecycle), "{:?}", report.not_applicable());
}

macro_rules! fails {
    ($($name:ident: $fault:ident in [$($check:ident),+], $reason:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let failing = failing(Fault::$fault).await;
                let mut checks: Vec<_> = failing.iter().map(|(name, _)| name.as_str()).collect();
                checks.dedup();
                assert_eq!(checks, [$($check),+], "{failing:?}");
                let expected = failing.iter().all(|(_, reason)| reason.contains($reason));
                assert!(expected, "{failing:?}");
            }
        )+
    };
}

const GENERATED: &str = "generated where it is missing";
const ROTATED: &str = "rotated, with its older versions";
const DISABLED: &str = "disabled and enabled";
const ABSENT: &str = "nothing is done to a key that isn't there";
const SCHEDULED: &str = "scheduled for deletion, and not";
const DESTROYED: &str = "destroyed when its time has come, and for good";
const DERIVED: &str = "derived from a master";
const NOT_DERIVED: &str = "a derivation is refused";

fails! {
    forgetting_what_was_generated_fails: ForgetsGenerated in [GENERATED], "another key each time";
    rotating_to_the_same_key_fails: RotatesToTheSameKey in [ROTATED], "public key is the same";
    repeating_versions_fails: RepeatsVersions in [ROTATED], "version 1 again";
    forgetting_older_versions_fails: ForgetsOlder in [ROTATED], "version 1 is gone";
    older_versions_with_the_newest_key_fail: OlderSignWithTheNewest in [ROTATED],
        "version 1 signs with another key";
    forgetting_rotations_fails: ForgetsRotations in [ROTATED], "it is another version";
    not_disabling_fails: DoesNotDisable in [DISABLED], "told to disable it: active";
    forgetting_states_fails: ForgetsStates in [DISABLED, SCHEDULED], "opened again";
    disabling_nothing_fails: DisablesNothing in [ABSENT], "to disable it";
    enabling_what_is_scheduled_fails: EnablesWhatIsScheduled in [SCHEDULED], "it was enabled";
    not_waiting_fails: DoesNotWait in [SCHEDULED, DESTROYED], "before";
    not_cancelling_fails: DoesNotCancel in [SCHEDULED], "its deletion cancelled, it is pending";

    destroying_early_fails: DestroysEarly in [DESTROYED], "before its waiting time was over";
    destroying_unscheduled_fails: DestroysUnscheduled in [DESTROYED],
        "without having been scheduled";
    keeping_destroyed_keys_fails: KeepsDestroyed in [DESTROYED], "destroyed, it is still there";
    listing_destroyed_keys_fails: ListsDestroyed in [DESTROYED], "it is listed still";
    reviving_destroyed_keys_fails: RevivesDestroyed in [DESTROYED],
        "opened again, destroyed, it is still there";
    generating_over_destroyed_keys_fails: GeneratesOverDestroyed in [DESTROYED],
        "its id was given to a generated key";
    deriving_over_destroyed_keys_fails: DerivesOverDestroyed in [DESTROYED],
        "its id was given to a derived key";
    forgetting_destroyed_keys_fails: ForgetsDestroyed in [DESTROYED],
        "opened again, its id was given to";
    cancelling_the_past_fails: CancelsDestroyed in [DESTROYED], "its deletion was cancelled";
    enabling_destroyed_keys_fails: EnablesDestroyed in [DESTROYED], "it was enabled";
    rotating_destroyed_keys_fails: RotatesDestroyed in [DESTROYED], "it was rotated";

    deriving_another_key_each_time_fails: DerivesAnotherEachTime in [DERIVED],
        "the same master and path gave another key";
    ignoring_the_path_fails: IgnoresPath in [DERIVED], "another path gave the same key";
    ignoring_the_master_fails: IgnoresMaster in [DERIVED], "a master that isn't there gave a key";
    taking_another_derivation_fails: TakesAnotherDerivation in [DERIVED],
        "a key was taken for one derived by another path";
    forgetting_derivations_fails: ForgetsDerivations in [DERIVED],
        "opened again, a key was taken for one derived by another path";
    deriving_another_key_when_opened_again_fails: DerivesAnotherAfterReopen in [DERIVED],
        "opened again, it is another key";
    generating_instead_of_deriving_fails: GeneratesInsteadOfDeriving in [NOT_DERIVED],
        "expected Unsupported(Derive)";
}
