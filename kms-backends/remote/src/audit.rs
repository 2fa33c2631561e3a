//! Records of what was asked of somebody else and what came of it: two for each request, with the same
//! id. What was signed, what it was signed with and what came out are placeholders there.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use kms_backend::{BackendError, Failure};
use rustix::fs::OFlags;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::Call;

/// What stands where something must not be shown.
const PLACEHOLDER: &str = "[redacted]";

/// Where records go.
pub(crate) struct Audit {
    backend: String,
    logging: bool,
    file: Option<Writer>,
}

/// One request that has been recorded. Its outcome is recorded too, whatever happens.
pub(crate) struct Recorded<'a> {
    audit: &'a Audit,
    call: &'a Call<'a>,
    id: String,
    attempt: usize,
    begun: tokio::time::Instant,
    finished: bool,
}

/// A thread that appends lines: nobody on the runtime's threads waits for the disk.
struct Writer {
    path: PathBuf,
    lines: mpsc::Sender<Line>,
}

struct Line {
    bytes: Vec<u8>,
    written: Option<oneshot::Sender<io::Result<()>>>,
}

#[derive(Serialize)]
struct Record<'a> {
    time: String,
    id: &'a str,
    event: &'static str,
    backend: &'a str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    attempt: usize,
    /// What was asked with, or what was answered.
    payload: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

impl Audit {
    pub(crate) fn open(
        backend: &str,
        logging: bool,
        file: Option<&Path>,
    ) -> Result<Self, BackendError> {
        let file = file.map(|path| {
            Writer::open(path).map_err(|cause| {
                let what = format!("the audit file {} can't be opened for writing", path.display());
                BackendError::Misconfigured(Failure::because(what, cause))
            })
        });
        Ok(Self { backend: backend.to_owned(), logging, file: file.transpose()? })
    }

    /// Records that `call` is about to be made. What can't be recorded must not be done.
    pub(crate) async fn begin<'a>(
        &'a self,
        call: &'a Call<'a>,
        attempt: usize,
    ) -> Result<Recorded<'a>, BackendError> {
        let id = getrandom::u64().map_err(|cause| {
            let what = "there is no randomness for the id of an audit record";
            BackendError::Unavailable(Failure::because(what, cause))
        })?;
        let mut recorded = Recorded {
            audit: self,
            call,
            id: format!("{id:016x}"),
            attempt,
            begun: tokio::time::Instant::now(),
            // Until it has begun there is no outcome to record.
            finished: true,
        };
        self.write(&recorded.record("request", None)).await?;
        recorded.finished = false;
        Ok(recorded)
    }

    /// Records and waits until it is written.
    async fn write(&self, record: &Record<'_>) -> Result<(), BackendError> {
        self.tell(record);
        let Some(file) = &self.file else { return Ok(()) };
        file.append(record).await.map_err(|cause| {
            let what = format!("the audit file {} can't be written", file.path.display());
            BackendError::Unavailable(Failure::because(what, cause))
        })
    }

    fn tell(&self, record: &Record<'_>) {
        if self.logging {
            tracing::info!(
                target: "kms::audit",
                id = record.id,
                event = record.event,
                backend = record.backend,
                operation = record.operation,
                key = record.key,
                algorithm = record.algorithm,
                attempt = record.attempt,
                payload = record.payload,
                micros = record.micros,
                outcome = record.outcome,
            );
        }
    }
}

impl Recorded<'_> {
    /// Records what came of it. An outcome that can't be recorded is not given out.
    pub(crate) async fn end<T>(
        mut self,
        outcome: Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let name = outcome.as_ref().map_or_else(crate::class, |_| "ok");
        let written = self.audit.write(&self.record("response", Some(name))).await;
        self.finished = true;
        written.and(outcome)
    }

    fn record(&self, event: &'static str, outcome: Option<&'static str>) -> Record<'_> {
        let micros = self.begun.elapsed().as_micros();
        Record {
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            id: &self.id,
            event,
            backend: &self.audit.backend,
            operation: self.call.operation,
            key: self.call.key,
            algorithm: self.call.algorithm,
            attempt: self.attempt,
            payload: PLACEHOLDER,
            micros: outcome.map(|_| u64::try_from(micros).unwrap_or(u64::MAX)),
            outcome,
        }
    }
}

/// A request that was given up half-way has an outcome too: nobody knows it.
impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let record = self.record("response", Some("given_up"));
            self.audit.tell(&record);
            if let Some(file) = &self.audit.file {
                drop(file.send(&record, None));
            }
        }
    }
}

impl Writer {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let options = &mut OpenOptions::new();
        let mut file =
            options.append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let (lines, waiting) = mpsc::channel::<Line>();
        let thread = thread::Builder::new().name("kms-audit".into());
        // Ends when nobody can send any more.
        thread.spawn(move || {
            for Line { bytes, written } in waiting {
                let result = file.write_all(&bytes);
                if let Some(written) = written {
                    drop(written.send(result));
                } else if let Err(error) = result {
                    tracing::error!(%error, "an audit record was lost");
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), lines })
    }

    async fn append(&self, record: &Record<'_>) -> io::Result<()> {
        let (written, answer) = oneshot::channel();
        self.send(record, Some(written))?;
        answer.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn send(
        &self,
        record: &Record<'_>,
        written: Option<oneshot::Sender<io::Result<()>>>,
    ) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(record)?;
        bytes.push(b'\n');
        let sent = self.lines.send(Line { bytes, written });
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::os::unix::fs::{MetadataExt, symlink};

    use kms_backend::ErrorChain;
    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;

    const CALL: Call<'_> =
        Call { operation: "sign", key: Some("node/identity"), algorithm: Some("ed25519") };

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_request_and_its_outcome_are_a_pair() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        for round in 0..2 {
            // Appended to when it is opened again.
            let audit = Audit::open("hsm", true, Some(&path)).unwrap();
            let recorded = audit.begin(&CALL, 1).await.unwrap();
            assert_eq!(lines(&path).len(), 2 * round + 1, "written before anything is asked");
            recorded.end(Ok(7)).await.unwrap();
        }
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let lines = lines(&path);
        for pair in lines.chunks(2) {
            assert_eq!(
                (&pair[0]["event"], &pair[1]["event"]),
                (&"request".into(), &"response".into())
            );
            assert_eq!(pair[0]["id"], pair[1]["id"]);
            for field in ["backend", "operation", "key", "algorithm", "attempt", "payload"] {
                assert_eq!(pair[0][field], pair[1][field], "{field}");
            }
            assert_eq!(pair[1]["payload"], "[redacted]");
            assert_eq!(pair[1]["outcome"], "ok");
            assert!(pair[1]["micros"].is_u64() && pair[0].get("micros").is_none());
        }
        assert_ne!(lines[0]["id"], lines[2]["id"]);
    }

    #[tokio::test]
    async fn what_fails_or_is_given_up_is_recorded_as_such() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::open("hsm", false, Some(&path)).unwrap();
        let failure = Err::<(), _>(BackendError::Denied(Failure::new("no")));
        audit.begin(&CALL, 1).await.unwrap().end(failure).await.unwrap_err();
        drop(audit.begin(&CALL, 2).await.unwrap());
        // The thread writes in order, so that this waits for what nobody waits for.
        audit.begin(&CALL, 3).await.unwrap().end(Ok(())).await.unwrap();
        let outcomes: Vec<_> = lines(&path)
            .iter()
            .filter_map(|line| line["outcome"].as_str().map(String::from))
            .collect();
        assert_eq!(outcomes, ["denied", "given_up", "ok"]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_refuses() {
        let folder = TempDir::new().unwrap();
        let link = folder.path().join("link");
        symlink("/dev/full", &link).unwrap();
        for path in [folder.path().join("no/such/folder"), link, folder.path().into()] {
            let error = Audit::open("hsm", true, Some(&path)).err().unwrap();
            assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        let audit = full();
        let error = audit.begin(&CALL, 1).await.err().unwrap();
        assert!(matches!(error, BackendError::Unavailable(_)), "{error:?}");
        assert!(ErrorChain(&error).to_string().contains("space"), "{}", ErrorChain(&error));
    }

    /// A file on a disk that is full.
    pub(crate) fn full() -> Audit {
        let (lines, waiting) = mpsc::channel::<Line>();
        thread::spawn(move || {
            for line in waiting {
                let result = OpenOptions::new().append(true).open("/dev/full");
                let result = result.and_then(|mut file: File| file.write_all(&line.bytes));
                line.written.unwrap().send(result).unwrap();
            }
        });
        let file = Some(Writer { path: "/dev/full".into(), lines });
        Audit { backend: "hsm".into(), logging: true, file }
    }
}
