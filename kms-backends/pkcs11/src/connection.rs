//! A worker's session, opened when it is needed and again when it was lost.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use kms_backend::BackendError;

use crate::error::{backend_error, is_session_lost};
use crate::token::Token;

/// Private keys by label and version.
pub(crate) type Handles = HashMap<(String, u32), ObjectHandle>;

/// A session, and the objects that were found through it.
pub(crate) struct Connection {
    token: Arc<Token>,
    /// With the module's epoch that it was opened in.
    session: Option<(u64, Session)>,
    pub(crate) handles: Handles,
}

impl Connection {
    pub(crate) fn new(token: Arc<Token>) -> Self {
        Self { token, session: None, handles: HashMap::new() }
    }

    /// Does `work` in a session. If the session turns out to be lost, once more in another. `what` is to
    /// say what can't be done: `can't sign with key …`.
    pub(crate) fn with<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<T, BackendError> {
        let mut second = false;
        loop {
            match self.attempt(&mut work) {
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

    /// The outer error is that of opening a session.
    fn attempt<T>(
        &mut self,
        work: &mut impl FnMut(&Session, &mut Handles) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, BackendError> {
        let calling = self.token.call()?;
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
}

impl Drop for Connection {
    fn drop(&mut self) {
        let session = self.session.take();
        match (session, self.token.call()) {
            (Some((epoch, session)), Ok(calling)) if epoch == calling.epoch() => drop(session),
            (session, _) => std::mem::forget(session),
        }
    }
}
