//! Being logged in: which token is in use, until when, and what is done about it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use kms_backend::{BackendError, ErrorChain, Failure, OpenContext};
use kms_backend_remote::{Call, Remote};
use kms_secrets::Shielded;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::Instant;

use crate::http::{Http, Reply};
use crate::login::{self, Granted, Terms};
use crate::{AuthSettings, VaultSettings};

/// How long a new token is not asked for again after one that helped nobody.
const USELESS: Duration = Duration::from_secs(30);

/// The longest pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// One login and all that follow it.
pub(crate) struct Session {
    pub(crate) http: Http,
    pub(crate) remote: Remote,
    auth: AuthSettings,
    base_dir: PathBuf,
    state: Mutex<State>,
    /// Whoever changes the token has this.
    turn: Turn<()>,
    changed: Notify,
}

struct State {
    lease: Arc<Lease>,
    /// When a new token was refused just as the one before.
    useless: Option<Instant>,
    /// What went wrong with the token last, until it goes well again.
    trouble: Option<String>,
    closed: bool,
}

/// A token in use.
struct Lease {
    token: Arc<Shielded>,
    generation: u64,
    terms: Terms,
    since: Instant,
    /// How long it could live when it was new.
    first_ttl: Option<Duration>,
}

impl Lease {
    fn until(&self) -> Option<Instant> {
        self.terms.ttl.and_then(|ttl| self.since.checked_add(ttl))
    }

    /// When to do something about its end: after two thirds of its time.
    fn due(&self) -> Option<Instant> {
        self.terms.ttl.and_then(|ttl| self.since.checked_add(ttl * 2 / 3))
    }
}

impl Session {
    /// Logs in to the server that these settings name.
    pub(crate) async fn of(
        settings: &VaultSettings,
        context: &OpenContext,
    ) -> Result<Arc<Self>, BackendError> {
        let (remote, http) = {
            let (settings, context) = (settings.clone(), context.clone());
            let opening = tokio::task::spawn_blocking(move || {
                let remote = Remote::open(context.name, &settings.remote, &context.base_dir)?;
                Ok::<_, BackendError>((remote, Http::new(&settings, &context.base_dir)?))
            });
            opening.await.map_err(|cause| {
                BackendError::Unavailable(Failure::because("opening was cut off", cause))
            })??
        };
        Self::open(http, remote, settings.auth.clone(), context.base_dir.clone()).await
    }

    /// Logs in.
    async fn open(
        http: Http,
        remote: Remote,
        auth: AuthSettings,
        base_dir: PathBuf,
    ) -> Result<Arc<Self>, BackendError> {
        let granted =
            remote.retried(&call("login"), || login::login(&http, &auth, &base_dir)).await?;
        let lease = Arc::new(lease(granted, 0));
        let state = Mutex::new(State { lease, useless: None, trouble: None, closed: false });
        let (turn, changed) = (Turn::new(()), Notify::new());
        Ok(Arc::new(Self { http, remote, auth, base_dir, state, turn, changed }))
    }

    /// Asks with the token. If it isn't good any more, which a 403 may mean, once again with a new one.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, BackendError> {
        let lease = self.lease();
        let ask = |lease: Arc<Lease>| {
            let (method, body) = (method.clone(), body.clone());
            async move { self.http.send(method, path, Some(&lease.token), body).await }
        };
        let reply = ask(Arc::clone(&lease)).await?;
        if reply.status != StatusCode::FORBIDDEN {
            return Ok(reply);
        }
        let Some(newer) = self.newer_than(&lease).await? else { return Ok(reply) };
        let reply = ask(newer).await?;
        if reply.status == StatusCode::FORBIDDEN {
            self.with(|state| state.useless = Some(Instant::now()));
        }
        Ok(reply)
    }

    /// Another token than this one; `None` if it is no use to get one.
    async fn newer_than(&self, old: &Lease) -> Result<Option<Arc<Lease>>, BackendError> {
        let _turn = self.turn.lock().await;
        let lease = self.lease();
        if lease.generation != old.generation {
            return Ok(Some(lease));
        }
        let useless = self.with(|state| {
            state.closed || state.useless.is_some_and(|since| since.elapsed() < USELESS)
        });
        if useless {
            return Ok(None);
        }
        self.login_again(&lease).await
    }

    /// Logs in. `None` if that gave the same token. The caller has the turn.
    async fn login_again(&self, old: &Lease) -> Result<Option<Arc<Lease>>, BackendError> {
        let work = login::login(&self.http, &self.auth, &self.base_dir);
        let granted = self.remote.once(&call("login"), work).await;
        let granted = granted.inspect_err(|error| self.trouble("can't log in", error))?;
        let is_same = same(&granted.token, &old.token)?;
        let lease = Arc::new(lease(granted, old.generation + 1));
        self.take(Arc::clone(&lease));
        if is_same {
            self.with(|state| state.useless = Some(Instant::now()));
        }
        Ok((!is_same).then_some(lease))
    }

    /// Renews the token, or gets another, whenever it is time. Never ends.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let lease = self.lease();
            let due = lease.due().map(|due| due + pause(failures, &lease));
            let changed = self.changed.notified();
            match due {
                None => changed.await,
                Some(due) => {
                    if tokio::time::timeout_at(due, changed).await.is_err() {
                        match self.extend(&lease).await {
                            Ok(()) => failures = 0,
                            Err(_) => failures = failures.saturating_add(1),
                        }
                    } else {
                        failures = 0;
                    }
                }
            }
        }
    }

    async fn extend(&self, due: &Lease) -> Result<(), BackendError> {
        let _turn = self.turn.lock().await;
        let lease = self.lease();
        if lease.generation != due.generation {
            return Ok(());
        }
        if lease.terms.renewable {
            let renewed = login::renew(&self.http, &lease.token);
            match self.remote.once(&call("renew"), renewed).await {
                // It is near the end that no renewal moves if it gets much less time than at first.
                Ok(terms)
                    if terms.ttl >= lease.first_ttl.map(|ttl| ttl / 2) || terms.ttl.is_none() =>
                {
                    self.take(Arc::new(Lease {
                        token: Arc::clone(&lease.token),
                        generation: lease.generation,
                        terms,
                        since: Instant::now(),
                        first_ttl: lease.first_ttl,
                    }));
                    return Ok(());
                }
                Err(error) if error.is_retryable() => {
                    self.trouble("can't renew the token", &error);
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.login_again(&lease).await.map(drop)
    }

    /// Gives the token back, if it was got by logging in, and gets no other.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.lock().await;
        let was_closed = self.with(|state| std::mem::replace(&mut state.closed, true));
        if was_closed || matches!(self.auth, AuthSettings::Token(_)) {
            return;
        }
        let lease = self.lease();
        let revoked = login::revoke(&self.http, &lease.token);
        if let Err(error) = self.remote.once(&call("revoke"), revoked).await {
            tracing::warn!(
                backend = self.remote.backend(),
                error = %ErrorChain(&error),
                "the token was not revoked; it ends by itself"
            );
        }
    }

    /// What is wrong with the token, and whether it has ended.
    pub(crate) fn trouble_now(&self) -> Option<(String, bool)> {
        let ended = self.lease().until().is_some_and(|until| until <= Instant::now());
        let trouble = self.with(|state| state.trouble.clone());
        match (trouble, ended) {
            (Some(trouble), ended) => Some((trouble, ended)),
            (None, true) => Some(("the token's time is over".into(), true)),
            (None, false) => None,
        }
    }

    fn lease(&self) -> Arc<Lease> {
        self.with(|state| Arc::clone(&state.lease))
    }

    fn take(&self, lease: Arc<Lease>) {
        self.with(|state| {
            state.lease = lease;
            state.trouble = None;
        });
        self.changed.notify_one();
    }

    fn trouble(&self, what: &str, error: &BackendError) {
        let trouble = format!("{what}: {}", ErrorChain(error));
        tracing::warn!(backend = self.remote.backend(), "{trouble}");
        self.with(|state| state.trouble = Some(trouble));
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How much later than due, after so many failures: from a thirtieth of the token's time on, doubling.
fn pause(failures: u32, lease: &Lease) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let since_due = lease.due().map_or(Duration::ZERO, |due| due.elapsed());
    let first = lease.terms.ttl.map_or(RETRY, |ttl| (ttl / 30).max(Duration::from_millis(100)));
    since_due + first.saturating_mul(1 << doublings.min(16)).min(RETRY)
}

fn lease(granted: Granted, generation: u64) -> Lease {
    let Granted { token, terms } = granted;
    let first_ttl = terms.ttl;
    Lease { token: Arc::new(token), generation, terms, since: Instant::now(), first_ttl }
}

fn same(a: &Shielded, b: &Shielded) -> Result<bool, BackendError> {
    let compared = a.open(|a| b.open(|b| bool::from(a.ct_eq(b))));
    compared.and_then(|compared| compared).map_err(|cause| {
        BackendError::Corrupt(Failure::because("the token can't be opened again", cause))
    })
}

fn call(operation: &'static str) -> Call<'static> {
    Call { operation, key: None, algorithm: None }
}
