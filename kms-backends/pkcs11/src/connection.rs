//! A worker's session, opened when it is needed and again when it was lost.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};
use kms_backend_remote::NewLogin;

use crate::error::{backend_error, is_session_lost};
use crate::leftovers::Leftovers;
use crate::module::Calling;
use crate::token::Token;

/// Private keys by label and version.
pub(crate) type Handles = HashMap<(String, u32), ObjectHandle>;

/// How the module is called.
type Call = fn(&Token) -> Result<Calling<'_>, BackendError>;

/// A session, and the objects that were found through it.
pub(crate) struct Connection {
    token: Arc<Token>,
    /// With the module's epoch that it was opened in.
    session: Option<(u64, Session)>,
    pub(crate) handles: Handles,
    /// Whether the job is what was tried before, in a session that was lost.
    anew: bool,
}

impl Connection {
    pub(crate) fn new(token: Arc<Token>) -> Self {
        Self { token, session: None, handles: HashMap::new(), anew: false }
    }

    /// Begins a job. One that was tried before, in a session that was lost, has a session of its own.
    pub(crate) fn begin(&mut self, anew: bool) {
        self.anew = anew;
        if anew {
            self.let_go();
        }
    }

    /// Does `work` in a session. If the session turns out to be lost, there is a [`NewLogin`] in another.
    /// `what` is to say what can't be done: `can't sign with key …`.
    pub(crate) fn with<T>(
        &mut self,
        what: &str,
        work: impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<T, BackendError> {
        self.once_or_again(what, Token::call, work)
    }

    /// The same where `work` makes, renames or destroys objects.
    pub(crate) fn change<T>(
        &mut self,
        what: &str,
        work: impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<T, BackendError> {
        self.once_or_again(what, Token::change, work)
    }

    fn once_or_again<T>(
        &mut self,
        what: &str,
        call: Call,
        mut work: impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<T, BackendError> {
        match self.attempt(call, &mut work) {
            Ok(Err(error)) if is_session_lost(&error) && !self.anew => {
                let what = format!("{what}: the session was lost ({error})");
                Err(BackendError::Unavailable(Failure::because(what, NewLogin)))
            }
            Ok(done) => done.map_err(|error| backend_error(what, error)),
            // Nothing was asked yet.
            Err(no_session) if !self.token.refresh() => Err(no_session),
            Err(_) => self.attempt(call, &mut work)?.map_err(|error| backend_error(what, error)),
        }
    }

    /// The same for a step of a change that is one operation and can't be begun again: if the session turns out
    /// to be lost, once more in another.
    pub(crate) fn step<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<T, BackendError> {
        let mut second = false;
        loop {
            match self.attempt(Token::change, &mut work) {
                Ok(Err(error)) if is_session_lost(&error) && !second => second = true,
                Ok(done) => return done.map_err(|error| backend_error(what, error)),
                Err(no_session) => {
                    if second || !self.token.refresh() {
                        return Err(no_session);
                    }
                    second = true;
                }
            }
        }
    }

    /// Whether the token is there and answers. An open session doesn't tell with all modules.
    pub(crate) fn ping(&mut self) -> Result<(), BackendError> {
        let present = |token: &Token| token.is_present(&token.call()?);
        if let Err(absent) = present(&self.token) {
            if !self.token.refresh() {
                return Err(absent);
            }
            present(&self.token)?;
        }
        self.with("the token doesn't answer", |session, _| session.get_session_info()).map(drop)
    }

    /// Whether the module may not show what another process has made.
    pub(crate) fn may_hide(&self) -> Result<bool, BackendError> {
        let caches = self.token.call()?.caches_objects();
        caches.map_err(|error| backend_error("the module doesn't say whose it is", error))
    }

    /// Has the module read the token anew, once nobody calls it: [`Module::read_anew`](crate::module::Module).
    pub(crate) fn read_anew(&self) -> bool {
        self.token.read_anew()
    }

    /// What is known of the token's candidates.
    pub(crate) fn leftovers(&self) -> Arc<Leftovers> {
        Arc::clone(&self.token.leftovers)
    }

    /// The outer error is that of opening a session.
    fn attempt<T>(
        &mut self,
        call: Call,
        work: &mut impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, BackendError> {
        let token = Arc::clone(&self.token);
        let calling = call(&token)?;
        let session = match self.session.take() {
            Some((epoch, session)) if epoch == calling.epoch() => session,
            stale => {
                // Its number may be that of a session of somebody else now: never closed.
                std::mem::forget(stale);
                self.handles.clear();
                self.token.session(&calling)?
            }
        };
        let done = work(&session, &mut self.handles);
        if !matches!(&done, Err(error) if is_session_lost(error)) {
            self.session = Some((calling.epoch(), session));
        }
        Ok(done)
    }

    /// Closes the session, if it is this one's still.
    fn let_go(&mut self) {
        self.handles.clear();
        let session = self.session.take();
        match (session, self.token.call()) {
            (Some((epoch, session)), Ok(calling)) if epoch == calling.epoch() => drop(session),
            (session, _) => std::mem::forget(session),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.let_go();
    }
}
