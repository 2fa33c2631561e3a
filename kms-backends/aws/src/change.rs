//! What is done to keys besides signing: disabled, enabled, scheduled for deletion, and not.

use std::time::Duration;

use kms_backend::{BackendError, Failure, KeyState};
use kms_keys::KeyId;

use crate::backend::Shared;
use crate::keys::Versions;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is to become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Disable,
    Enable,
    ScheduleDelete { days: i32 },
    CancelDelete,
}

impl Change {
    /// Scheduling a deletion for when `wait` is over; part of a day counts as one.
    ///
    /// # Errors
    /// [`BackendError::Misconfigured`] for less than 7 days or more than 30.
    pub(crate) fn deletion(wait: Duration) -> Result<Self, BackendError> {
        let days = wait.as_secs_f64() / DAY.as_secs_f64();
        if (7.0..=30.0).contains(&days) {
            // At most 30.
            return Ok(Self::ScheduleDelete { days: days.ceil() as i32 });
        }
        Err(BackendError::Misconfigured(Failure::new(format!(
            "AWS deletes keys after 7 to 30 days, and not after {days:.1}"
        ))))
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::ScheduleDelete { .. } => "schedule_delete",
            Self::CancelDelete => "cancel_delete",
        }
    }

    /// Whether a key in this state is as it is to be.
    fn is_done(self, state: KeyState) -> bool {
        match self {
            Self::Disable => state == KeyState::Disabled,
            Self::Enable => state == KeyState::Active,
            Self::ScheduleDelete { .. } => matches!(state, KeyState::PendingDeletion { .. }),
            Self::CancelDelete => !matches!(state, KeyState::PendingDeletion { .. }),
        }
    }
}

impl Shared {
    /// Changes all versions of a key, the current one last. Each try looks first: what was done and not
    /// answered isn't done again.
    pub(crate) async fn change(
        &self,
        id: &KeyId,
        change: Change,
        versions: &mut Versions,
    ) -> Result<(), BackendError> {
        let newest = versions.last_key_value().map(|(version, _)| *version);
        for (version, found) in versions {
            let aws_id = found.described.aws_id.clone();
            let changed = self.retried(change.operation(), Some(id), || async {
                let state = self.state(id, &aws_id).await?;
                if change.is_done(state) {
                    return Ok(state);
                }
                if matches!(change, Change::Disable | Change::Enable)
                    && let KeyState::PendingDeletion { .. } = state
                {
                    if Some(*version) != newest {
                        // It is on its way, and doesn't sign.
                        return Ok(state);
                    }
                    return Err(BackendError::Denied(Failure::new(format!(
                        "key {id} ({aws_id}) is pending deletion: cancel that first"
                    ))));
                }
                self.act(id, change, &aws_id).await?;
                let state = self.state(id, &aws_id).await?;
                if change.is_done(state) { Ok(state) } else { Err(late(id)) }
            });
            found.described.state = changed.await?;
        }
        Ok(())
    }

    async fn state(&self, id: &KeyId, aws_id: &str) -> Result<KeyState, BackendError> {
        let described = self.once("describe", id, || self.describe_once(id, aws_id)).await?;
        described.map(|described| described.state).ok_or_else(|| late(id))
    }

    async fn act(&self, id: &KeyId, change: Change, aws_id: &str) -> Result<(), BackendError> {
        let what = format!("can't {} key {id} ({aws_id})", change.operation());
        let (client, what) = (&self.client, what.as_str());
        let done = match change {
            Change::Disable => {
                client.ask(what, |aws| aws.disable_key().key_id(aws_id).send()).await.map(drop)
            }
            Change::Enable => {
                client.ask(what, |aws| aws.enable_key().key_id(aws_id).send()).await.map(drop)
            }
            Change::ScheduleDelete { days } => client
                .ask(what, |aws| {
                    let request = aws.schedule_key_deletion().key_id(aws_id);
                    request.pending_window_in_days(days).send()
                })
                .await
                .map(drop),
            Change::CancelDelete => client
                .ask(what, |aws| aws.cancel_key_deletion().key_id(aws_id).send())
                .await
                .map(drop),
        };
        done.map_err(|refused| refused.error)
    }
}

fn late(id: &KeyId) -> BackendError {
    BackendError::Unavailable(Failure::new(format!("AWS doesn't show the change of key {id} yet")))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn deletions_wait_for_7_to_30_days() {
        for (hours, days) in [(7 * 24, 7), (7 * 24 + 1, 8), (30 * 24, 30)] {
            let change = Change::deletion(Duration::from_secs(hours * 3600)).unwrap();
            assert_eq!(change, Change::ScheduleDelete { days });
        }
        for wait in [Duration::ZERO, DAY * 7 - Duration::from_secs(1), DAY * 31, Duration::MAX] {
            let refused = Change::deletion(wait).unwrap_err();
            assert!(matches!(refused, BackendError::Misconfigured(_)));
            assert!(refused.to_string().contains("7 to 30 days"), "{refused}");
        }
    }

    #[test]
    fn what_is_done_is_not_done_again() {
        let pending = KeyState::PendingDeletion { not_before: SystemTime::now() };
        let deletion = Change::ScheduleDelete { days: 7 };
        for (change, active, disabled, is_pending) in [
            (Change::Disable, false, true, false),
            (Change::Enable, true, false, false),
            (deletion, false, false, true),
            (Change::CancelDelete, true, true, false),
        ] {
            assert_eq!(change.is_done(KeyState::Active), active);
            assert_eq!(change.is_done(KeyState::Disabled), disabled);
            assert_eq!(change.is_done(pending), is_pending);
        }
    }
}
