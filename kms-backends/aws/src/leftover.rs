//! Making a key, and finding what was made without anybody knowing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kms_backend::{BackendError, ErrorChain, Failure};
use kms_backend_remote::Call;
use kms_keys::{KeyId, KeyType};
use tokio::runtime::Handle;

use crate::backend::Shared;
use crate::keys::{Found, TAG_CREATION};
use crate::orphan::{self, Standing, tag};

/// The days that a key nobody knows of is kept: as few as AWS allows.
const DAYS: i32 = 7;

/// When to look for a key that may have been made. AWS may show it late.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// One key being made. When it ends – by success, failure or being given up – what it left over is
/// scheduled for deletion.
struct Creation {
    shared: Arc<Shared>,
    id: KeyId,
    alias: String,
    /// The random value of the tag by which its keys are found.
    tag: String,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// The key that was made.
    made: Option<String>,
    /// How often nobody knows whether one was made.
    unknown: usize,
    naming: Naming,
}

/// Whether what was made has its alias.
#[derive(Clone, Copy, Default)]
enum Naming {
    /// AWS wasn't asked, or refused.
    #[default]
    No,
    /// AWS was asked, and didn't answer. That no alias is seen doesn't say that there is none.
    Unknown,
    Yes,
}

/// What there is to be cleaned up after a creation.
struct Leftovers {
    /// A key that no alias was given to.
    lost: Option<String>,
    /// A key with the creation's tag that is left alone.
    kept: Option<String>,
    /// How many others may have been made.
    unknown: usize,
}

/// Makes this version of a key and gives it `alias`, unless that is taken: whoever has it was first.
///
/// # Errors
/// [`BackendError`].
pub(crate) async fn make(
    shared: &Arc<Shared>,
    id: &KeyId,
    key_type: KeyType,
    version: u32,
    alias: String,
) -> Result<Found, BackendError> {
    let random = getrandom::u64()
        .map_err(|cause| BackendError::Unavailable(Failure::because("no randomness", cause)))?;
    let creation = Creation {
        shared: Arc::clone(shared),
        id: id.clone(),
        alias,
        tag: format!("{random:016x}"),
        state: Mutex::default(),
    };
    let algorithm = Some(key_type.as_str());
    let call = Call { operation: "generate", key: Some(id.as_str()), algorithm };
    let look = || shared.look_at(id, &creation.alias);
    let found = shared.remote.reconciled(&call, look, || creation.act(key_type, version)).await?;
    let mut state = creation.state();
    if state.made.as_ref() == Some(&found.described.aws_id) {
        state.naming = Naming::Yes;
    }
    drop(state);
    Ok(found)
}

impl Creation {
    async fn act(&self, key_type: KeyType, version: u32) -> Result<(), BackendError> {
        // What was made by a try before is used by the next.
        let made = self.state().made.clone();
        let made = match made {
            Some(made) => made,
            None => {
                self.state().unknown += 1;
                let created = self.shared.create(&self.id, key_type, version, &self.tag).await;
                if !matches!(created, Err(BackendError::Unavailable(_))) {
                    self.state().unknown -= 1;
                }
                let created = created?;
                self.state().made = Some(created.clone());
                created
            }
        };
        let before = std::mem::replace(&mut self.state().naming, Naming::Unknown);
        let name = || self.shared.name(&self.id, &self.alias, &made);
        let named = self.shared.once("create_alias", &self.id, name).await;
        match &named {
            Ok(()) => self.state().naming = Naming::Yes,
            Err(BackendError::Unavailable(_)) => {}
            // That this try did nothing says nothing of one before.
            Err(_) => self.state().naming = before,
        }
        named
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        let State { made, unknown, naming } = self.state().clone();
        let Ok(runtime) = Handle::try_current() else { return };
        if let (Naming::Unknown, Some(made)) = (naming, &made) {
            let candidates = vec![(self.id.clone(), made.clone())];
            let pause = self.shared.remote.settings().timeout;
            runtime.spawn(orphan::follow(Arc::downgrade(&self.shared), candidates, pause));
        }
        let (lost, kept) = if let Naming::No = naming { (made, None) } else { (None, made) };
        let mut leftovers = Leftovers { lost, kept, unknown };
        if leftovers.is_none() {
            return;
        }
        let (shared, id, tag) = (Arc::clone(&self.shared), self.id.clone(), self.tag.clone());
        runtime.spawn(async move {
            // Whatever is still under way has arrived, or never will.
            tokio::time::sleep(shared.remote.settings().timeout).await;
            if !clean_up(shared, &id, &tag, &mut leftovers).await {
                tracing::warn!(
                    key = %id, tag = TAG_CREATION, value = tag,
                    "a key that nobody uses may be left in AWS; it has this tag"
                );
            }
        });
    }
}

impl Leftovers {
    fn is_none(&self) -> bool {
        self.lost.is_none() && self.unknown == 0
    }
}

/// Whether there is nothing more to be looked for. The first look is made for a backend that is dropped meanwhile,
/// too; the others end with it.
async fn clean_up(shared: Arc<Shared>, id: &KeyId, tag: &str, leftovers: &mut Leftovers) -> bool {
    let (later, mut now) = (Arc::downgrade(&shared), Some(shared));
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let Some(shared) = now.take().or_else(|| later.upgrade()) else { return false };
        if let Err(error) = shared.look_for_leftovers(id, tag, leftovers).await {
            tracing::warn!(key = %id, error = %ErrorChain(&error), "keys are not cleaned up");
        } else if leftovers.is_none() {
            return true;
        }
    }
    false
}

impl Shared {
    /// Nobody else gives an alias to a key of this creation, so that one look is enough.
    async fn look_for_leftovers(
        &self,
        id: &KeyId,
        creation: &str,
        leftovers: &mut Leftovers,
    ) -> Result<(), BackendError> {
        if let Some(lost) = &leftovers.lost
            && self.give_up(id, lost, DAYS).await? != Standing::Unseen
        {
            leftovers.lost = None;
        }
        if leftovers.unknown == 0 {
            return Ok(());
        }
        let is_ours = |tags: &[_]| (tag(tags, TAG_CREATION)? == creation).then_some(());
        for (aws_id, ()) in self.tagged(is_ours).await? {
            if leftovers.kept.as_ref() != Some(&aws_id)
                && self.give_up(id, &aws_id, DAYS).await? == Standing::Unnamed
            {
                leftovers.unknown = leftovers.unknown.saturating_sub(1);
            }
        }
        Ok(())
    }
}
