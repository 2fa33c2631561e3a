//! Being logged in: which token is in use, until when, and what is done about it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use kms_backend::{BackendError, ErrorChain, Failure, OpenContext};
use kms_backend_remote::{Call, NewLogin, Remote};
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::Instant;

use crate::http::{Http, Reply};
use crate::lease::{self, Lease, Useless};
use crate::{AuthSettings, VaultSettings, login, mount};

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
    /// Since a new token was refused just as the one before.
    useless: Option<Useless>,
    /// What went wrong with the token last, until it goes well again.
    trouble: Option<String>,
    closed: bool,
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
        let (auth, base_dir) = (settings.auth.clone(), context.base_dir.clone());
        let session = Self::open(http, remote, auth, base_dir).await?;
        if let Err(error) = mount::check(&session, &settings.mount).await {
            session.close().await;
            return Err(error);
        }
        Ok(session)
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
        let lease = Arc::new(Lease::new(granted, 0));
        let state = Mutex::new(State { lease, useless: None, trouble: None, closed: false });
        let (turn, changed) = (Turn::new(()), Notify::new());
        Ok(Arc::new(Self { http, remote, auth, base_dir, state, turn, changed }))
    }

    /// Asks with the token. If it isn't good any more, which a 403 may mean, there is a [`NewLogin`]; a good one
    /// that lacks a right is replaced once in a while.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, BackendError> {
        let lease = self.lease();
        let reply = self.http.send(method, path, Some(&lease.token), body).await?;
        if reply.status != StatusCode::FORBIDDEN {
            return Ok(reply);
        }
        let refused = Instant::now();
        // Boxed, so that a request that isn't refused doesn't have the size of all this.
        if NewLogin::is_used() {
            Box::pin(self.found_useless(&lease, refused)).await;
            return Ok(reply);
        }
        match Box::pin(self.newer_than(&lease, refused)).await {
            Ok(Some(_)) => {
                let what = "the server doesn't accept the token";
                Err(BackendError::Denied(Failure::because(what, NewLogin)))
            }
            Err(error) if error.is_retryable() => Err(error),
            // The token may be a good one that lacks a right, whatever is wrong with logging in.
            Ok(None) | Err(_) => Ok(reply),
        }
    }

    /// Asks with the token, and takes a 403 for what it says.
    pub(crate) async fn request_as_is(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Reply, BackendError> {
        self.http.send(method, path, Some(&self.lease().token), Bytes::new()).await
    }

    /// Another token than this one, which was refused at that time; `None` if it is no use to get one.
    async fn newer_than(
        &self,
        old: &Lease,
        refused: Instant,
    ) -> Result<Option<Arc<Lease>>, BackendError> {
        let _turn = self.turn.lock().await;
        let lease = self.lease();
        if lease.generation != old.generation {
            return Ok(Some(lease));
        }
        let (closed, useless) = self.with(|state| (state.closed, state.useless));
        if closed {
            return Ok(None);
        }
        if let Some(useless) = useless.filter(Useless::holds) {
            if useless.covers(refused) {
                return Ok(None);
            }
            let asked = Instant::now();
            if self.is_good(&lease).await? {
                let still = Useless { seen_good: Some(asked), ..useless };
                self.with(|state| state.useless = Some(still));
                return Ok(None);
            }
        }
        self.login_again(&lease).await
    }

    /// Remembers that a new token was refused at that time, just as the one before.
    async fn found_useless(&self, new: &Lease, refused: Instant) {
        let _turn = self.turn.lock().await;
        let useless = self.with(|state| state.useless);
        if self.lease().generation != new.generation
            || useless.is_some_and(|useless| useless.holds() && useless.covers(refused))
        {
            return;
        }
        let asked = Instant::now();
        let seen_good = match self.is_good(new).await {
            Ok(true) => Some(asked),
            Ok(false) => None,
            // Whoever is refused next asks again.
            Err(_) => Some(refused),
        };
        self.with(|state| state.useless = Some(Useless { since: asked, seen_good }));
    }

    /// Whether the server knows the token, as far as the token may know.
    async fn is_good(&self, lease: &Lease) -> Result<bool, BackendError> {
        let asked = || login::is_good(&self.http, &lease.token);
        self.remote.once(&call("look_up"), asked).await
    }

    /// Logs in. `None` if that gave the same token. The caller has the turn.
    async fn login_again(&self, old: &Lease) -> Result<Option<Arc<Lease>>, BackendError> {
        let asked = Instant::now();
        let work = || login::login(&self.http, &self.auth, &self.base_dir);
        let granted = self.remote.once(&call("login"), work).await;
        let granted = granted.inspect_err(|error| self.trouble("can't log in", error))?;
        let is_same = lease::same(&granted.token, &old.token)?;
        let lease = Arc::new(Lease::new(granted, old.generation + 1));
        self.take(Arc::clone(&lease));
        if is_same {
            let useless = Useless { since: asked, seen_good: Some(asked) };
            self.with(|state| state.useless = Some(useless));
        } else if !matches!(self.auth, AuthSettings::Token(_)) {
            // It may be good still, and lack a right alone. Where it isn't, the server says so.
            let revoked = || login::revoke(&self.http, &old.token);
            drop(self.remote.once(&call("revoke"), revoked).await);
        }
        Ok((!is_same).then_some(lease))
    }

    /// Renews the token, or gets another, whenever it is time. Never ends.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let lease = self.lease();
            let due = lease.due().map(|due| due + lease.pause(failures));
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
            let renewed = || login::renew(&self.http, &lease.token);
            match self.remote.once(&call("renew"), renewed).await {
                // It is near the end that no renewal moves if it gets much less time than at first.
                Ok(terms) if terms.ttl >= lease.first_ttl.map(|ttl| ttl / 2) => {
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

    /// Gives the token back, if it was got by logging in, and gets no other. Its records are
    /// written then.
    pub(crate) async fn close(&self) {
        self.log_out().await;
        self.remote.close().await;
    }

    async fn log_out(&self) {
        let _turn = self.turn.lock().await;
        let was_closed = self.with(|state| std::mem::replace(&mut state.closed, true));
        if was_closed || matches!(self.auth, AuthSettings::Token(_)) {
            return;
        }
        let lease = self.lease();
        let revoked = || login::revoke(&self.http, &lease.token);
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

fn call(operation: &'static str) -> Call<'static> {
    Call { operation, key: None, algorithm: None }
}
