//! Loaded modules. Each is loaded once in a process and stays to its end: a thread that hangs in it still
//! runs its code.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use crate::refused::Refused;
use crate::visits::{Visit, Visits};

/// How long it is left alone after it was initialised, when a token isn't there.
const SETTLED: Duration = Duration::from_secs(1);

/// A module that all tokens and threads of the process share.
#[derive(Default)]
pub(crate) struct Module {
    state: RwLock<State>,
    /// Held by who is about to initialise it: who waits to write the state keeps others from reading it.
    initialising: Mutex<()>,
    /// Who calls it.
    visits: Visits,
    /// What its tokens have refused.
    pub(crate) refused: Refused,
}

#[derive(Default)]
struct State {
    loaded: Option<Pkcs11>,
    /// Not so once it couldn't be initialised again.
    initialised: bool,
    /// How often it was initialised. A session is of no use after the next time.
    epoch: u64,
    since: Option<Instant>,
}

/// Keeps the module from being initialised while it is called.
pub(crate) struct Calling<'a> {
    state: RwLockReadGuard<'a, State>,
    _visit: Visit<'a>,
}

/// The module at `path`, whatever links lead there: what is loaded is the same. Not loaded yet, unless
/// somebody has. Blocks for a moment.
pub(crate) fn at(path: &Path) -> Arc<Module> {
    static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);
    // One that isn't there can't be loaded either.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(modules.entry(path).or_default())
}

/// Whether it is SoftHSM2, which has ways of its own.
pub(crate) fn is_softhsm(module: &Pkcs11) -> Result<bool, Error> {
    Ok(module.get_library_info()?.manufacturer_id().starts_with("SoftHSM"))
}

impl Module {
    /// To be held while the module is called. Loads and initialises it first, if it isn't. Blocks while that is done,
    /// and while somebody is alone inside who has come lately.
    pub(crate) fn call(&self, path: &Path) -> Result<Calling<'_>, Error> {
        self.initialised(self.visits.enter(), path)
    }

    /// The same for who makes, renames or destroys objects. A module that caches them is called by nobody else
    /// meanwhile: SoftHSM2 mixes up what one thread changes while another looks, and leaves half an object behind.
    pub(crate) fn change(&self, path: &Path) -> Result<Calling<'_>, Error> {
        let calling = self.call(path)?;
        if !calling.caches_objects()? {
            return Ok(calling);
        }
        drop(calling);
        self.initialised(self.visits.enter_alone(), path)
    }

    /// Ends the module and initialises it again, once nobody calls it: some see only what was there then. All its
    /// sessions end. Whether it was done is told; it isn't while a thread stays inside. Blocks until then.
    pub(crate) fn read_anew(&self) -> Result<bool, Error> {
        let _alone = self.visits.enter_alone();
        self.initialise_again(Duration::ZERO)
    }

    /// The same at once, unless somebody calls it right now or it was initialised a moment ago.
    pub(crate) fn refresh(&self) -> Result<bool, Error> {
        self.initialise_again(SETTLED)
    }

    fn initialised<'a>(&'a self, visit: Visit<'a>, path: &Path) -> Result<Calling<'a>, Error> {
        loop {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.initialised {
                return Ok(Calling { state, _visit: visit });
            }
            drop(state);
            let _initialising = self.initialising.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_initialised() {
                continue;
            }
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if !state.initialised {
                let loaded = state.loaded.clone();
                let module = loaded.map_or_else(|| Pkcs11::new(path), Ok)?;
                state.loaded = Some(module.clone());
                state.initialise(&module)?;
            }
        }
    }

    fn is_initialised(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).initialised
    }

    fn initialise_again(&self, after: Duration) -> Result<bool, Error> {
        let Ok(mut state) = self.state.try_write() else { return Ok(false) };
        let settled = state.since.is_none_or(|since| since.elapsed() >= after);
        match state.loaded.clone() {
            Some(module) if settled => {
                match module.clone().finalize() {
                    Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
                    Err(error) => return Err(error),
                }
                state.initialise(&module)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl State {
    fn initialise(&mut self, module: &Pkcs11) -> Result<(), Error> {
        self.initialised = false;
        self.epoch += 1;
        self.since = Some(Instant::now());
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error),
        }
        self.initialised = true;
        Ok(())
    }
}

impl Calling<'_> {
    /// Whether it keeps objects in memory that another process may have changed, and more so while it is busy.
    /// Others ask the token.
    pub(crate) fn caches_objects(&self) -> Result<bool, Error> {
        is_softhsm(self.module()?)
    }

    pub(crate) fn module(&self) -> Result<&Pkcs11, Error> {
        self.state.loaded.as_ref().ok_or(Error::NotSupported)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.epoch
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_library_is_one_module_whatever_its_path() {
        let folder = tempfile::TempDir::new().unwrap();
        let (library, link) = (folder.path().join("module.so"), folder.path().join("link.so"));
        std::fs::write(&library, "").unwrap();
        symlink(&library, &link).unwrap();
        let other = folder.path().join("none.so");
        assert!(Arc::ptr_eq(&at(&library), &at(&link)));
        assert!(Arc::ptr_eq(&at(&other), &at(&other)));
        assert!(!Arc::ptr_eq(&at(&library), &at(&other)));
    }
}
