//! What is logged by the task that runs on this thread.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        // Of a log that is alone, who comes to a line first decides whether anybody gets it: a thread of a test
        // beside this one, which has no log, would decide for all. Of two, both are asked.
        static OTHER: LazyLock<Dispatch> = LazyLock::new(|| {
            let silent = tracing_subscriber::fmt().with_max_level(LevelFilter::OFF);
            Dispatch::new(silent.with_writer(io::sink).finish())
        });
        LazyLock::force(&OTHER);
        let log = self.clone();
        let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(logging.finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
