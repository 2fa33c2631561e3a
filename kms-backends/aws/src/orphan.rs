//! Keys that were made and have no alias. A process that ends between the two leaves one, and only its tags
//! tell whose it is.
//!
//! AWS shows an alias late, another node may be about to give one, and one may be moved to another name. So
//! a key counts as left over when it had none at two looks that are further apart than any of that takes.
//! Nobody is kept waiting for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use aws_sdk_kms::types::Tag;
use kms_backend::{BackendError, ErrorChain, KeyState};
use kms_keys::KeyId;

use crate::backend::Shared;
use crate::keys::{TAG_ALIAS, TAG_CREATION, TAG_ID};

/// How long a key must have been without an alias: much more than a creation takes, and than AWS takes to
/// show one; it says that changes may be seen some minutes late.
const SETTLED: Duration = Duration::from_secs(3600);

/// How long ago a key was made whose making may have left others over: a node that ended before those were
/// settled is started again within that time.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// How long to wait for more keys to look for at once.
const GATHERING: Duration = Duration::from_secs(5);

/// The days that a key is kept which somebody may miss: as many as AWS allows.
const DAYS: i32 = 30;

/// The keys whose leftovers are to be looked for next.
#[derive(Default)]
pub(crate) struct Wanted(Mutex<BTreeSet<KeyId>>);

impl Wanted {
    /// Whether it is the first.
    fn add(&self, id: &KeyId) -> bool {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = wanted.is_empty();
        wanted.insert(id.clone());
        is_first
    }

    fn take(&self) -> BTreeSet<KeyId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What AWS knows of a key that may be left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It isn't there, or not yet.
    Unseen,
    /// It has an alias, or somebody has disabled it or scheduled its deletion.
    Used,
    /// It is active and no alias is seen.
    Unnamed,
}

/// Whether the making of a key that was made at that time may have left something over.
pub(crate) fn is_recent(created: Option<SystemTime>) -> bool {
    created.is_some_and(|created| created.elapsed().map_or(true, |age| age < RECENT))
}

/// The value of a tag.
pub(crate) fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.tag_key() == key).map(Tag::tag_value)
}

/// After a pause, looks at these keys, and schedules the deletion of those that are left over: that have no
/// alias then, nor [`SETTLED`] later. Ends with the backend.
pub(crate) async fn follow(
    shared: Weak<Shared>,
    candidates: Vec<(KeyId, String)>,
    pause: Duration,
) {
    tokio::time::sleep(pause).await;
    let mut unnamed = Vec::new();
    for (id, aws_id) in candidates {
        let Some(shared) = shared.upgrade() else { return };
        match shared.standing(&id, &aws_id).await {
            Ok(Standing::Used) => {}
            Ok(Standing::Unseen | Standing::Unnamed) => {
                let seconds = SETTLED.as_secs();
                tracing::info!(key = %id, aws_id, seconds, "a key has no alias; it is left for now");
                unnamed.push((id, aws_id));
            }
            Err(error) => not_told(&id, &aws_id, &error),
        }
    }
    if unnamed.is_empty() {
        return;
    }
    tokio::time::sleep(SETTLED).await;
    for (id, aws_id) in unnamed {
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.give_up(&id, &aws_id, DAYS).await {
            not_told(&id, &aws_id, &error);
        }
    }
}

fn not_told(id: &KeyId, aws_id: &str, error: &BackendError) {
    let error = ErrorChain(error);
    tracing::warn!(key = %id, aws_id, %error, "a key may be left over in AWS");
}

impl Shared {
    /// Has keys looked for, in the background, that were made for this one and that nobody uses.
    pub(crate) fn look_for_orphans(self: &Arc<Self>, id: &KeyId) {
        if !self.wanted.add(id) {
            return;
        }
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(GATHERING).await;
            let Some(backend) = shared.upgrade() else { return };
            let candidates = backend.made_for_wanted().await;
            drop(backend);
            match candidates {
                Ok(candidates) => follow(shared, candidates, Duration::ZERO).await,
                Err(error) => {
                    let error = ErrorChain(&error);
                    tracing::warn!(%error, "keys that may be left over in AWS are not looked for");
                }
            }
        });
    }

    async fn made_for_wanted(&self) -> Result<Vec<(KeyId, String)>, BackendError> {
        let ids = self.wanted.take();
        let whose = |tags: &[Tag]| {
            tag(tags, TAG_CREATION)?;
            let id = tag(tags, TAG_ID)?;
            let id = ids.iter().find(|wanted| wanted.as_str() == id)?;
            // Another node may name its keys otherwise.
            let is_ours = tag(tags, TAG_ALIAS)? == self.alias(id, None).ok()?;
            is_ours.then(|| id.clone())
        };
        let tagged = self.tagged(whose).await?.into_iter();
        Ok(tagged.map(|(aws_id, id)| (id, aws_id)).collect())
    }

    /// Schedules the deletion of a key, unless somebody knows of it, and says what was found.
    pub(crate) async fn give_up(
        &self,
        id: &KeyId,
        aws_id: &str,
        days: i32,
    ) -> Result<Standing, BackendError> {
        let standing = self.standing(id, aws_id).await?;
        if standing != Standing::Unnamed {
            return Ok(standing);
        }
        let what = format!("can't schedule the deletion of {aws_id}");
        let scheduled = self.retried("schedule_delete", Some(id), || async {
            let asked = |aws: &aws_sdk_kms::Client| {
                aws.schedule_key_deletion().key_id(aws_id).pending_window_in_days(days).send()
            };
            self.client.ask(&what, asked).await.map_err(|refused| refused.error)
        });
        scheduled.await?;
        tracing::warn!(
            key = %id, aws_id, days,
            "a key that was made and that nobody knows of is scheduled for deletion"
        );
        Ok(standing)
    }

    /// What AWS knows of this key now.
    async fn standing(&self, id: &KeyId, aws_id: &str) -> Result<Standing, BackendError> {
        let Some(described) = self.describe(id, aws_id).await? else {
            return Ok(Standing::Unseen);
        };
        let is_used = described.state != KeyState::Active
            || !self.aliases(Some((id, aws_id))).await?.is_empty();
        Ok(if is_used { Standing::Used } else { Standing::Unnamed })
    }

    /// The keys whose tags `wanted` makes something of. One request for each key of the account: nothing
    /// else tells. Warns of tags that aren't for us to read: other people's keys, or a right that is missing.
    pub(crate) async fn tagged<T>(
        &self,
        wanted: impl Fn(&[Tag]) -> Option<T>,
    ) -> Result<Vec<(String, T)>, BackendError> {
        let (mut tagged, mut marker, mut denied) = (Vec::new(), None::<String>, 0_usize);
        loop {
            let page = self.retried("list_keys", None, || async {
                let asked = |aws: &aws_sdk_kms::Client| {
                    aws.list_keys().limit(1000).set_marker(marker.clone()).send()
                };
                self.client.ask("can't list the keys", asked).await.map_err(|it| it.error)
            });
            let page = page.await?;
            for aws_id in page.keys.unwrap_or_default().into_iter().filter_map(|it| it.key_arn) {
                match self.tags(&aws_id).await {
                    Ok(tags) => tagged.extend(wanted(&tags).map(|found| (aws_id, found))),
                    Err(BackendError::NotFound(_)) => {}
                    Err(BackendError::Denied(_)) => denied += 1,
                    Err(error) => return Err(error),
                }
            }
            marker = page.next_marker;
            if marker.is_none() {
                if denied > 0 {
                    tracing::warn!(
                        backend = self.remote.backend(),
                        keys = denied,
                        "the tags of some keys can't be read (`kms:ListResourceTags`): what is left over among \
                         them is not found"
                    );
                }
                return Ok(tagged);
            }
        }
    }

    /// The tags of a key.
    async fn tags(&self, aws_id: &str) -> Result<Vec<Tag>, BackendError> {
        let tags = self.retried("list_tags", None, || async {
            let asked = |aws: &aws_sdk_kms::Client| aws.list_resource_tags().key_id(aws_id).send();
            let what = format!("can't list the tags of {aws_id}");
            self.client.ask(&what, asked).await.map_err(|refused| refused.error)
        });
        Ok(tags.await?.tags.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_a_day_ago_is_recent_and_what_has_no_date_is_not() {
        let ago = |age| SystemTime::now().checked_sub(age);
        let hour = Duration::from_secs(3600);
        assert!(is_recent(ago(hour * 23)) && !is_recent(ago(hour * 25)) && !is_recent(None));
        assert!(is_recent(SystemTime::now().checked_add(hour)), "a clock that is behind AWS'");
    }
}
