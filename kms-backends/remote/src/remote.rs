//! Asking somebody else: bounded in number and time, tried again where that can help, and recorded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use kms_backend::{BackendError, ErrorChain, Failure, Request, waiting};
use tokio::sync::watch;

use crate::audit::Audit;
use crate::permits::Permits;
use crate::{NewLogin, Pauses, RemoteSettings};

/// How long the last records may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way to whoever is asked. Everything that a backend asks goes through it. A try that fails for [`NewLogin`]
/// is followed by one more, at once.
pub struct Remote {
    backend: String,
    settings: RemoteSettings,
    free: Arc<Permits>,
    audit: Audit,
    /// Told when what is under way is to be given up.
    closing: watch::Sender<()>,
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

impl Call<'static> {
    /// A look at how the other side is.
    pub const HEALTH: Self = Self { operation: "health", key: None, algorithm: None };
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
        let free = Permits::new(settings.concurrency);
        let closing = watch::Sender::new(());
        Ok(Self { backend, settings: settings.clone(), free, audit, closing })
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
    pub async fn once<T, F>(
        &self,
        call: &Call<'_>,
        work: impl FnMut() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        self.logged_in(call, &mut 0, work).await?
    }

    /// The same on a thread that may block, as it does on `work`, for however long that takes, and on the records:
    /// for what turns out to be needed in the middle of other work. It isn't given up when this is closed.
    ///
    /// # Errors
    /// As [`Remote::once`].
    ///
    /// # Panics
    /// On a thread that drives futures of the `futures` crate.
    pub fn once_here<T>(
        &self,
        call: &Call<'_>,
        work: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let recorded = block_on(self.audit.begin(call, 1))?;
        block_on(recorded.end(work()))?
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
        let (mut pauses, mut attempts) = (Pauses::new(&self.settings.retry), 0);
        loop {
            match self.attempt(call, &mut attempts, &mut work).await? {
                Ok(done) => return Ok(done),
                Err(error) => pauses.wait(error).await?,
            }
        }
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
        let (mut pauses, mut attempts) = (Pauses::new(&self.settings.retry), 0);
        loop {
            if let Some(done) = look().await? {
                return Ok(done);
            }
            match self.attempt(call, &mut attempts, &mut act).await? {
                Ok(()) | Err(BackendError::AlreadyExists(_)) => {
                    return self.until_usable(look).await;
                }
                Err(error) => pauses.wait(error).await?,
            }
        }
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
            if !pauses.pause(Duration::ZERO).await {
                return Err(self.unavailable("says that it made a key, and doesn't have it yet"));
            }
        }
    }

    /// Gives up what is under way, which is recorded as that, and waits until every record is written, at most
    /// a second. Signers may outlive a backend's good-bye: what they ask for later is asked.
    pub async fn close(&self) {
        self.closing.send_replace(());
        let lost = match tokio::time::timeout(FAREWELL, self.audit.settled()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => ErrorChain(&error).to_string(),
            Err(late) => late.to_string(),
        };
        tracing::error!(backend = self.backend, error = lost, "audit records may be lost");
    }

    /// The outer error is that it can't be recorded, which another try at once doesn't change.
    async fn attempt<T, F>(
        &self,
        call: &Call<'_>,
        attempts: &mut usize,
        work: impl FnMut() -> F,
    ) -> Result<Result<T, BackendError>, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let caller = Request::current().and_then(|request| request.caller().cloned());
        let _permit = waiting(self.free.acquire(caller)).await;
        self.logged_in(call, attempts, work).await
    }

    /// A try, and one more if the first found another login. `attempts` counts them.
    async fn logged_in<T, F>(
        &self,
        call: &Call<'_>,
        attempts: &mut usize,
        mut work: impl FnMut() -> F,
    ) -> Result<Result<T, BackendError>, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        *attempts += 1;
        match self.recorded(call, *attempts, NewLogin::used(false, work())).await? {
            Err(error) if NewLogin::is_cause_of(&error) => {
                *attempts += 1;
                // Boxed, so that the first try doesn't have its size as well.
                Box::pin(self.recorded(call, *attempts, NewLogin::used(true, work()))).await
            }
            done => Ok(done),
        }
    }

    /// The outer error is that it can't be recorded, or is given up.
    async fn recorded<T>(
        &self,
        call: &Call<'_>,
        attempt: usize,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<Result<T, BackendError>, BackendError> {
        let mut closing = self.closing.subscribe();
        let recorded = self.audit.begin(call, attempt).await?;
        let timeout = self.settings.timeout;
        let outcome = tokio::select! {
            biased;
            _ = closing.changed() => return Err(self.unavailable("is closed")),
            outcome = tokio::time::timeout(timeout, work) => outcome,
        };
        let outcome = outcome.unwrap_or_else(|_| {
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
    async fn a_login_that_was_not_accepted_is_replaced_once_and_each_try_has_its_records() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Some(crate::AuditSettings { file: path.clone() });
        let remote = remote(RemoteSettings { audit, ..RemoteSettings::default() });
        let (accepted, acted) = (Cell::new(false), Cell::new(false));
        let work = || async {
            match (NewLogin::is_used(), accepted.get()) {
                (true, true) => {
                    acted.set(true);
                    Ok(())
                }
                (true, false) => Err(BackendError::Denied(Failure::new("still not"))),
                (false, _) => Err(BackendError::Denied(Failure::because("no", NewLogin))),
            }
        };
        let begun = tokio::time::Instant::now();
        remote.retried(&CALL, work).await.unwrap_err();
        accepted.set(true);
        remote.retried(&CALL, work).await.unwrap();
        remote.once(&CALL, work).await.unwrap();
        acted.set(false);
        let looked = || async { Ok(acted.get().then_some(())) };
        remote.reconciled(&CALL, looked, work).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO, "it waited");

        let text = std::fs::read_to_string(&path).unwrap();
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut ids = std::collections::BTreeSet::new();
        for (pair, outcome) in records.chunks(2).zip(["denied", "ok"].iter().cycle()) {
            assert!(ids.insert(pair[0]["id"].to_string()) && pair[0]["id"] == pair[1]["id"]);
            let attempt = if ids.len() % 2 == 1 { 1 } else { 2 };
            assert_eq!(
                (&pair[0]["attempt"], &pair[1]["attempt"]),
                (&attempt.into(), &attempt.into())
            );
            let expected = if ids.len() == 2 { "denied" } else { outcome };
            assert_eq!(pair[1]["outcome"], expected);
        }
        assert_eq!(ids.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_takes_longer_than_the_timeout() {
        let remote = remote(RemoteSettings::default());
        let begun = tokio::time::Instant::now();
        let error = remote.once(&CALL, std::future::pending::<Result<(), _>>).await.unwrap_err();
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
    async fn who_closes_it_waits_for_the_records_of_what_is_given_up() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Some(crate::AuditSettings { file: path.clone() });
        let remote = remote(RemoteSettings { audit, ..RemoteSettings::default() });
        let log = std::fs::File::open(&path).unwrap();
        let asked = tokio::sync::Notify::new();
        let hangs = || async {
            asked.notify_one();
            std::future::pending::<Result<(), _>>().await
        };
        let closed = async {
            asked.notified().await;
            // What writes waits for the lock.
            log.lock().unwrap();
            let unlocked = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                log.unlock().unwrap();
            };
            tokio::join!(remote.close(), unlocked);
            std::fs::read_to_string(&path).unwrap()
        };
        let (given_up, text) = tokio::join!(remote.retried(&CALL, hangs), closed);
        assert!(given_up.unwrap_err().to_string().contains("is closed"));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains("given_up"), "{text}");
        remote.once(&CALL, || async { Ok(()) }).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_recorded_is_not_asked() {
        let mut remote = remote(RemoteSettings::default());
        remote.audit = crate::audit::tests::full();
        let asked = Cell::new(false);
        let work = || async {
            asked.set(true);
            Ok(())
        };
        let begun = tokio::time::Instant::now();
        let looked = || async { Ok(None::<()>) };
        for refused in [
            remote.once(&CALL, work).await,
            remote.retried(&CALL, work).await,
            remote.reconciled(&CALL, looked, work).await,
        ] {
            let error = refused.unwrap_err();
            assert!(error.is_retryable() && error.to_string().contains("/dev/full"), "{error}");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "it was tried again");
        let here = std::thread::spawn(move || (remote.once_here(&CALL, || Ok(())), remote));
        let (refused, _remote) = here.join().unwrap();
        assert!(refused.unwrap_err().to_string().contains("/dev/full"));
        assert!(!asked.get());
    }

    #[test]
    fn what_blocks_its_thread_is_recorded_too() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Some(crate::AuditSettings { file: path.clone() });
        let remote = remote(RemoteSettings { audit, ..RemoteSettings::default() });
        let records = || std::fs::read_to_string(&path).unwrap();
        let before = remote.once_here(&CALL, || Ok(records())).unwrap();
        assert_eq!((before.lines().count(), records().lines().count()), (1, 2));
        let denied =
            remote.once_here(&CALL, || Err::<(), _>(BackendError::Denied(Failure::new("no"))));
        assert!(matches!(denied, Err(BackendError::Denied(_))));
        assert!(records().lines().last().unwrap().contains(r#""outcome":"denied""#));
    }
}
