//! Logs, to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Where the key management service reports a start that failed.
const FAILED_START: &str = "kms_service::startup::failed";

/// What the names of all key management crates begin with. How the key is protected that secrets are shielded
/// with is to be known of every node, and under load they log nothing at `info`.
const KMS: &str = "kms_";

/// What the key management service has reported of a start that failed. A framework that hands the
/// report on makes it superfluous; another leaves it in the log alone.
#[derive(Clone, Default)]
pub(crate) struct StartupLog(Arc<Mutex<Vec<u8>>>);

impl StartupLog {
    pub(crate) fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Write for StartupLog {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs warnings and errors, and what the key management crates have to say of themselves, unless `RUST_LOG`
/// says otherwise – but not the report of a start that failed, which is kept to be printed with the refusal.
pub(crate) fn start() -> StartupLog {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,{KMS}=info,{FAILED_START}=off")));
    let log = StartupLog::default();
    let kept = {
        let log = log.clone();
        let text = fmt::layer().with_writer(move || log.clone()).with_ansi(false).without_time();
        text.with_level(false).with_target(false)
    };
    let to_stderr = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(to_stderr.with_filter(filter))
        .with(kept.with_filter(Targets::new().with_target(FAILED_START, Level::ERROR)))
        .init();
    log
}
