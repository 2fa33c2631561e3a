//! Asking somebody else: bounded in number and time, tried again where that can help, and recorded.

use std::path::Path;

use kms_backend::{BackendError, Failure};
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::{Pauses, RemoteSettings};

/// The way to whoever is asked. Everything that a backend asks goes through it.
pub struct Remote {
    backend: String,
    settings: RemoteSettings,
    free: Semaphore,
    audit: Audit,
}

/// What is asked, as records name it. Nothing in it is secret.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is to be done, for example `sign`.
    pub operation: &'static str,
    /// The key that it is done with or to.
    pub key: Option<&'a str>,
    /// The scheme or key type.
    pub algorithm: Option<&'static str>,
}

impl Remote {
    /// The way to the backend called `backend`. Opens the audit file, if there is to be one; a relative
    /// path is taken from `base_dir`. Blocks on that file for a moment.
    ///
    /// # Errors
    /// [`BackendError::Misconfigured`], if the audit file can't be opened.
    pub fn open(
        backend: impl Into<String>,
        settings: &RemoteSettings,
        base_dir: &Path,
    ) -> Result<Self, BackendError> {
        let backend = backend.into();
        let file = settings.audit.as_ref().map(|audit| base_dir.join(&audit.file));
        let audit = Audit::open(&backend, settings.audit_logging, file.as_deref())?;
        let free = Semaphore::new(settings.concurrency);
        Ok(Self { backend, settings: settings.clone(), free, audit })
    }

    /// The name of the backend.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// Tries `work` once, for no longer than [`RemoteSettings::timeout`] and recorded before and after. It
    /// doesn't count as one of [`RemoteSettings::concurrency`]: for what keeps the way open, logging in for
    /// example, which others wait for.
    ///
    /// # Errors
    /// What `work` says; [`BackendError::Unavailable`] if it took too long or can't be recorded.
    pub async fn once<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        self.recorded(call, 1, work).await
    }

    /// Tries `work` when fewer than [`RemoteSettings::concurrency`] others are under way, and again while
    /// that can help, with the pauses of [`RemoteSettings::retry`] and within the request's deadline. For
    /// what may be done twice.
    ///
    /// # Errors
    /// As [`Remote::once`]; of the last try.
    pub async fn retried<T, F>(
        &self,
        call: &Call<'_>,
        mut work: impl FnMut() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let mut pauses = Pauses::new(&self.settings.retry);
        for attempt in 1.. {
            match self.attempt(call, attempt, work()).await {
                Ok(done) => return Ok(done),
                Err(error) => pauses.wait(error).await?,
            }
        }
        Err(self.unavailable("was asked too often"))
    }

    /// Does something that must not be done twice. `look` says what came of it, if it has been done –
    /// asked before each try, because the outcome of a try that failed is unknown – and `act` does it.
    /// What `act` answers is found out by looking as well.
    ///
    /// # Errors
    /// What `look` says; what `act` says if that can't be helped by trying again.
    /// [`BackendError::AlreadyExists`] of `act` means that somebody else was faster, and is looked at.
    pub async fn reconciled<T, L, A>(
        &self,
        call: &Call<'_>,
        mut look: impl FnMut() -> L,
        mut act: impl FnMut() -> A,
    ) -> Result<T, BackendError>
    where
        L: Future<Output = Result<Option<T>, BackendError>>,
        A: Future<Output = Result<(), BackendError>>,
    {
        let mut pauses = Pauses::new(&self.settings.retry);
        for attempt in 1.. {
            if let Some(done) = look().await? {
                return Ok(done);
            }
            match self.attempt(call, attempt, act()).await {
                Ok(()) | Err(BackendError::AlreadyExists(_)) => {
                    return self.until_usable(look).await;
                }
                Err(error) => pauses.wait(error).await?,
            }
        }
        Err(self.unavailable("was asked too often"))
    }

    /// Looks for something new until it is there: 20 times, with pauses from 100 ms on that double to
    /// 10 s.
    ///
    /// # Errors
    /// What `look` says; [`BackendError::Unavailable`] if it doesn't come.
    pub async fn until_usable<T, L>(&self, mut look: impl FnMut() -> L) -> Result<T, BackendError>
    where
        L: Future<Output = Result<Option<T>, BackendError>>,
    {
        let mut pauses = Pauses::for_a_new_key();
        loop {
            if let Some(there) = look().await? {
                return Ok(there);
            }
            if !pauses.pause(std::time::Duration::ZERO).await {
                return Err(self.unavailable("says that it made a key, and doesn't have it yet"));
            }
        }
    }

    async fn attempt<T>(
        &self,
        call: &Call<'_>,
        attempt: usize,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let _permit = self.free.acquire().await.map_err(|_| self.unavailable("is closed"))?;
        self.recorded(call, attempt, work).await
    }

    async fn recorded<T>(
        &self,
        call: &Call<'_>,
        attempt: usize,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let recorded = self.audit.begin(call, attempt).await?;
        let timeout = self.settings.timeout;
        let outcome = tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let what = format!("gave no answer within {timeout:?} (`remote.timeout`)");
            Err(self.unavailable(&what))
        });
        recorded.end(outcome).await
    }

    fn unavailable(&self, what: &str) -> BackendError {
        BackendError::Unavailable(Failure::new(format!("backend {} {what}", self.backend)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    const CALL: Call<'_> = Call { operation: "sign", key: None, algorithm: None };

    fn remote(settings: RemoteSettings) -> Remote {
        Remote::open("hsm", &settings, Path::new(".")).unwrap()
    }

    fn unavailable() -> BackendError {
        BackendError::Unavailable(Failure::new("away"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_help_is_tried_again_and_what_cannot_is_not() {
        let remote = remote(RemoteSettings::default());
        let tries = Cell::new(0);
        let third = remote.retried(&CALL, || async {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(unavailable()) } else { Ok(tries.get()) }
        });
        assert_eq!(third.await.unwrap(), 3);

        tries.set(0);
        let never = remote.retried(&CALL, || async {
            tries.set(tries.get() + 1);
            Err::<(), _>(unavailable())
        });
        assert!(matches!(never.await, Err(BackendError::Unavailable(_))));
        assert_eq!(tries.get(), 8);

        for refusal in [BackendError::Denied, BackendError::NotFound, BackendError::Corrupt] {
            tries.set(0);
            let once = remote.retried(&CALL, || async {
                tries.set(tries.get() + 1);
                Err::<(), _>(refusal(Failure::new("no")))
            });
            assert!(!once.await.unwrap_err().is_retryable());
            assert_eq!(tries.get(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_takes_longer_than_the_timeout() {
        let remote = remote(RemoteSettings::default());
        let begun = tokio::time::Instant::now();
        let error = remote.once(&CALL, std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("2s"), "{error}");
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_allowed() {
        let remote = remote(RemoteSettings { concurrency: 3, ..RemoteSettings::default() });
        let (now, most) = (Cell::new(0), Cell::new(0));
        let work = || async {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.set(now.get() - 1);
            Ok(())
        };
        let call = || remote.retried(&CALL, work);
        let (a, b, c, d, e) = tokio::join!(call(), call(), call(), call(), call());
        for outcome in [a, b, c, d, e] {
            outcome.unwrap();
        }
        assert_eq!(most.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_though_it_failed_is_found_and_not_done_again() {
        let remote = remote(RemoteSettings::default());
        let there = RefCell::new(Vec::new());
        let made = remote.reconciled(
            &CALL,
            || async { Ok(there.borrow().first().copied()) },
            || async {
                let next = there.borrow().len();
                there.borrow_mut().push(next);
                Err(unavailable())
            },
        );
        assert_eq!(made.await.unwrap(), 0);
        assert_eq!(there.borrow().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_visible_at_once_is_waited_for() {
        let remote = remote(RemoteSettings::default());
        let (looks, acts) = (Cell::new(0), Cell::new(0));
        let made = remote.reconciled(
            &CALL,
            || async {
                looks.set(looks.get() + 1);
                Ok((looks.get() == 5).then_some(()))
            },
            || async {
                acts.set(acts.get() + 1);
                Ok(())
            },
        );
        made.await.unwrap();
        assert_eq!((looks.get(), acts.get()), (5, 1));
        let never = remote.until_usable(|| async { Ok(None::<()>) }).await.unwrap_err();
        assert!(never.is_retryable(), "{never:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_asked() {
        let mut remote = remote(RemoteSettings::default());
        remote.audit = crate::audit::tests::full();
        let asked = Cell::new(false);
        let refused = remote.once(&CALL, async {
            asked.set(true);
            Ok(())
        });
        assert!(matches!(refused.await, Err(BackendError::Unavailable(_))));
        assert!(!asked.get());
    }
}
