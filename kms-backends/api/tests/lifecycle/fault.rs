//! What a backend can have wrong in the life of a key.

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// What it generated is gone when it is opened again.
    ForgetsGenerated,
    /// Rotating gives a new version of the same key.
    RotatesToTheSameKey,
    /// Rotating gives a new key of the same version.
    RepeatsVersions,
    /// The versions before are gone.
    ForgetsOlder,
    /// The versions before sign with the newest key.
    OlderSignWithTheNewest,
    /// Opened again, it is at the first version.
    ForgetsRotations,
    /// Says that a key it disabled is active.
    DoesNotDisable,
    /// Opened again, a disabled key is active.
    ForgetsStates,
    /// Enables a key whose deletion is scheduled.
    EnablesWhatIsScheduled,
    /// Schedules a deletion for now, whatever the waiting time.
    DoesNotWait,
    /// Says that a cancelled deletion is still to come.
    DoesNotCancel,
    /// Disables keys that aren't there.
    DisablesNothing,
    /// Destroys a key before its waiting time is over.
    DestroysEarly,
    /// Destroys a key whose deletion nobody scheduled.
    DestroysUnscheduled,
    /// Says that a key is destroyed, and keeps it.
    KeepsDestroyed,
    /// Lists keys that are destroyed.
    ListsDestroyed,
    /// Opened again, destroyed keys are back.
    RevivesDestroyed,
    /// Generates a key under the id of a destroyed one.
    GeneratesOverDestroyed,
    /// Derives a key under the id of a destroyed one.
    DerivesOverDestroyed,
    /// Opened again, it generates a key under the id of a destroyed one.
    ForgetsDestroyed,
    /// Takes the deletion of a destroyed key back.
    CancelsDestroyed,
    /// Enables a destroyed key.
    EnablesDestroyed,
    /// Makes a new version of a destroyed key.
    RotatesDestroyed,
    /// Derives another key each time.
    DerivesAnotherEachTime,
    /// Derives the same key by every path.
    IgnoresPath,
    /// Derives from the one master it has, whatever the name.
    IgnoresMaster,
    /// Takes a key derived by one path for one declared with another.
    TakesAnotherDerivation,
    /// Opened again, it doesn't know how keys were derived, and takes any.
    ForgetsDerivations,
    /// Opened again, derived keys are others.
    DerivesAnotherAfterReopen,
    /// Says that it can't derive, and generates where a derivation is declared.
    GeneratesInsteadOfDeriving,
}
