//! Loaded modules. Each is loaded once in a process and stays to its end: a thread that hangs in it still
//! runs its code.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

/// How long it is left alone after it was initialised.
const SETTLED: Duration = Duration::from_secs(1);

/// A module that all tokens and threads of the process share.
#[derive(Default)]
pub(crate) struct Module(RwLock<State>);

#[derive(Default)]
struct State {
    loaded: Option<Pkcs11>,
    /// How often it was initialised. A session is of no use after the next time.
    epoch: u64,
    since: Option<Instant>,
}

/// Keeps the module from being initialised while it is called.
pub(crate) struct Calling<'a>(RwLockReadGuard<'a, State>);

/// The module at `path`. Not loaded yet, unless somebody has.
pub(crate) fn at(path: &Path) -> Arc<Module> {
    static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(modules.entry(path.to_owned()).or_default())
}

impl Module {
    /// To be held while the module is called. Loads and initialises it first, if nobody has.
    pub(crate) fn call(&self, path: &Path) -> Result<Calling<'_>, Error> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.loaded.is_some() {
            return Ok(Calling(state));
        }
        drop(state);
        {
            let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if state.loaded.is_none() {
                let module = Pkcs11::new(path)?;
                state.initialise(&module)?;
                state.loaded = Some(module);
            }
        }
        Ok(Calling(self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Ends the module and initialises it again, if nobody calls it right now: some see only the tokens
    /// that were there then. All its sessions end. Whether it was done is told.
    pub(crate) fn refresh(&self) -> Result<bool, Error> {
        let Ok(mut state) = self.0.try_write() else { return Ok(false) };
        let settled = state.since.is_none_or(|since| since.elapsed() >= SETTLED);
        match state.loaded.clone() {
            Some(module) if settled => {
                module.clone().finalize()?;
                state.initialise(&module)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl State {
    fn initialise(&mut self, module: &Pkcs11) -> Result<(), Error> {
        self.epoch += 1;
        self.since = Some(Instant::now());
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Calling<'_> {
    pub(crate) fn module(&self) -> Result<&Pkcs11, Error> {
        self.0.loaded.as_ref().ok_or(Error::NotSupported)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }
}
