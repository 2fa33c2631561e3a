//! What opens a store: a secret, or somebody else who is asked.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use kms_backend::OpenContext;
use kms_backend_keystore::{UnlockSecret, UnlockSettings, UnlockSource};
use kms_backends::AnyUnlock;
use tokio::runtime::{Builder, Runtime};

use crate::failure::{Failure, Outcome};
use crate::{source, yaml};

/// How long saying good-bye to somebody may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What an `unlock` section says.
#[derive(Debug)]
pub(crate) struct Opener {
    secret: UnlockSecret,
    /// What others are asked on.
    runtime: Option<Runtime>,
}

impl Opener {
    /// Reads a place on this machine; relative paths are taken from `base_dir`.
    pub(crate) fn here(place: &UnlockSource, base_dir: &Path) -> Outcome<Self> {
        Ok(match place {
            UnlockSource::Passphrase(place) => {
                UnlockSecret::Passphrase(place.clone().relative_to(base_dir).read()?).into()
            }
            UnlockSource::KeyFile(_) => place.read(base_dir)?.into(),
        })
    }

    /// What the settings in `file` say: an `unlock` section as nodes' settings have it. Logs in where that is
    /// what it takes.
    pub(crate) fn of_settings(file: &Path) -> Outcome<Self> {
        let base_dir = file.parent().unwrap_or(Path::new(""));
        let unlock = match settings(file)? {
            AnyUnlock::Passphrase(place) => {
                return Self::here(&UnlockSource::Passphrase(place), base_dir);
            }
            AnyUnlock::KeyFile(path) => return Self::here(&UnlockSource::KeyFile(path), base_dir),
            unlock => unlock,
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        match runtime.block_on(unlock.secret(&OpenContext::new("kms", base_dir))) {
            Ok(secret) => Ok(Self { secret, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_timeout(FAREWELL);
                Err(Failure::from(error).of(format_args!("settings file {}", file.display())))
            }
        }
    }

    /// Who else opens the store, if it is somebody else.
    pub(crate) fn provider(&self) -> Option<&'static str> {
        match &self.secret {
            UnlockSecret::External(external) => Some(external.unlocker().provider()),
            _ => None,
        }
    }
}

impl From<UnlockSecret> for Opener {
    fn from(secret: UnlockSecret) -> Self {
        Self { secret, runtime: None }
    }
}

impl Deref for Opener {
    type Target = UnlockSecret;

    fn deref(&self) -> &UnlockSecret {
        &self.secret
    }
}

/// Logs out.
impl Drop for Opener {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What can't be done any more ends by itself.
            let farewell = async { tokio::time::timeout(FAREWELL, self.secret.close()).await };
            drop(runtime.block_on(farewell));
            runtime.shutdown_timeout(FAREWELL);
        }
    }
}

/// The environment variables with secrets that the settings in `file` name. Settings that can't be read
/// name none, and are refused later.
pub(crate) fn env_names(file: Option<&Path>) -> Vec<String> {
    let settings = file.map(settings);
    settings.and_then(Result::ok).map_or_else(Vec::new, |settings| settings.env_names())
}

fn settings(file: &Path) -> Outcome<AnyUnlock> {
    source::check_place(file)?;
    yaml::read(file, "an unlock section")
}
