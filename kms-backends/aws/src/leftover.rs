//! Making a key, and finding what was made without anybody knowing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kms_backend::{BackendError, ErrorChain, Failure, KeyState};
use kms_backend_remote::Call;
use kms_keys::{KeyId, KeyType};
use tokio::runtime::Handle;

use crate::backend::Shared;
use crate::keys::{Found, TAG_CREATION};

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
    /// Whether what was made got its alias.
    named: bool,
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
    state.named = state.made.as_ref() == Some(&found.described.aws_id);
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
        self.shared.name(&self.id, &self.alias, &made).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        let mut state = self.state().clone();
        if state.named {
            state.made = None;
        }
        if state.made.is_none() && state.unknown == 0 {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        let (alias, tag) = (self.alias.clone(), self.tag.clone());
        runtime.spawn(async move {
            // Whatever is still under way has arrived, or never will.
            tokio::time::sleep(shared.remote.settings().timeout).await;
            if !shared.clean_up(&id, &alias, &tag, state).await {
                tracing::warn!(
                    key = %id, tag = TAG_CREATION, value = tag,
                    "a key that nobody uses may be left in AWS; it has this tag"
                );
            }
        });
    }
}

impl Shared {
    /// Whether there is nothing more to be looked for.
    async fn clean_up(&self, id: &KeyId, alias: &str, tag: &str, mut state: State) -> bool {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.look_for_leftovers(id, alias, tag, &mut state).await {
                tracing::warn!(key = %id, error = %ErrorChain(&error), "keys are not cleaned up");
            } else if state.made.is_none() && state.unknown == 0 {
                return true;
            }
        }
        false
    }

    async fn look_for_leftovers(
        &self,
        id: &KeyId,
        alias: &str,
        tag: &str,
        state: &mut State,
    ) -> Result<(), BackendError> {
        let kept = self.describe(id, alias).await?.map(|described| described.aws_id);
        if let Some(made) = &state.made {
            if kept.as_ref() != Some(made) {
                self.give_up(id, made).await?;
            }
            state.made = None;
        }
        if state.unknown == 0 {
            return Ok(());
        }
        for aws_id in self.tagged(tag).await? {
            if kept.as_ref() != Some(&aws_id) && self.give_up(id, &aws_id).await? {
                state.unknown = state.unknown.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Schedules the deletion of a key that nobody knows of. Whether that hadn't been done.
    async fn give_up(&self, id: &KeyId, aws_id: &str) -> Result<bool, BackendError> {
        let described = self.describe(id, aws_id).await?;
        if described.is_none_or(|it| matches!(it.state, KeyState::PendingDeletion { .. })) {
            return Ok(false);
        }
        let what = format!("can't schedule the deletion of {aws_id}");
        let scheduled = self.retried("schedule_delete", Some(id), || async {
            let asked = |aws: &aws_sdk_kms::Client| {
                aws.schedule_key_deletion().key_id(aws_id).pending_window_in_days(DAYS).send()
            };
            self.client.ask(&what, asked).await.map_err(|refused| refused.error)
        });
        scheduled.await?;
        tracing::warn!(
            key = %id, aws_id, days = DAYS,
            "a key that was made and that nobody knows of is scheduled for deletion"
        );
        Ok(true)
    }

    /// The keys with this creation's tag. One request for each key of the account: nothing else tells.
    async fn tagged(&self, tag: &str) -> Result<Vec<String>, BackendError> {
        let (mut tagged, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = self.retried("list_keys", None, || async {
                let asked = |aws: &aws_sdk_kms::Client| {
                    aws.list_keys().limit(1000).set_marker(marker.clone()).send()
                };
                self.client.ask("can't list the keys", asked).await.map_err(|it| it.error)
            });
            let page = page.await?;
            for aws_id in page.keys.unwrap_or_default().into_iter().filter_map(|it| it.key_arn) {
                if self.has_tag(&aws_id, tag).await? {
                    tagged.push(aws_id);
                }
            }
            marker = page.next_marker;
            if marker.is_none() {
                return Ok(tagged);
            }
        }
    }

    async fn has_tag(&self, aws_id: &str, tag: &str) -> Result<bool, BackendError> {
        let tags = self.retried("list_tags", None, || async {
            let asked = |aws: &aws_sdk_kms::Client| aws.list_resource_tags().key_id(aws_id).send();
            let what = format!("can't list the tags of {aws_id}");
            self.client.ask(&what, asked).await.map_err(|refused| refused.error)
        });
        match tags.await {
            Ok(tags) => Ok(tags
                .tags()
                .iter()
                .any(|it| it.tag_key() == TAG_CREATION && it.tag_value() == tag)),
            // Somebody else's, which isn't for us to read; or gone.
            Err(BackendError::Denied(_) | BackendError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
