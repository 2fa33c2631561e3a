//! Records of what was asked of somebody else and what came of it: two for each request, with the same
//! id. What was signed, what it was signed with and what came out are placeholders there.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use kms_backend::{BackendError, ErrorChain, Failure};
use serde::Serialize;
use tokio::sync::watch;

use crate::Call;
use crate::audit_file::AuditFile;

/// What stands where something must not be shown.
const PLACEHOLDER: &str = "[redacted]";

/// Where records go.
pub(crate) struct Audit {
    backend: String,
    logging: bool,
    file: Option<AuditFile>,
    /// How many requests have no outcome yet.
    open: watch::Sender<usize>,
}

/// One request that has been recorded, or is being. Its outcome is recorded too, whatever happens, unless the
/// request could not be.
pub(crate) struct Recorded<'a> {
    audit: &'a Audit,
    call: &'a Call<'a>,
    id: String,
    attempt: usize,
    begun: tokio::time::Instant,
    finished: bool,
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
            AuditFile::open(path).map_err(|cause| {
                let what = format!("the audit file {} can't be opened for writing", path.display());
                BackendError::Misconfigured(Failure::because(what, cause))
            })
        });
        let (backend, open) = (backend.to_owned(), watch::Sender::new(0));
        Ok(Self { backend, logging, file: file.transpose()?, open })
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
        self.open.send_modify(|open| *open += 1);
        let mut recorded = Recorded {
            audit: self,
            call,
            id: format!("{id:016x}"),
            attempt,
            begun: tokio::time::Instant::now(),
            finished: false,
        };
        // Who gives up while it is being written leaves it behind: its outcome comes after it.
        let written = self.write(&recorded.record("request", None)).await;
        recorded.finished = written.is_err();
        written.map(|()| recorded)
    }

    /// Waits until every request has its outcome, and all of them are written.
    pub(crate) async fn settled(&self) -> io::Result<()> {
        // It can't fail: the sender is here.
        drop(self.open.subscribe().wait_for(|open| *open == 0).await);
        match &self.file {
            Some(file) => file.written().await,
            None => Ok(()),
        }
    }

    /// Records and waits until it is written.
    async fn write(&self, record: &Record<'_>) -> Result<(), BackendError> {
        self.tell(record);
        let Some(file) = &self.file else { return Ok(()) };
        let written = match line(record) {
            Ok(line) => file.append(line).await,
            Err(error) => Err(error),
        };
        written.map_err(|cause| {
            let what = format!("the audit file {} can't be written", file.path().display());
            BackendError::Unavailable(Failure::because(what, cause))
        })
    }

    /// Records and doesn't wait. A record that is lost is told of.
    fn leave(&self, record: &Record<'_>) {
        self.tell(record);
        let left = self.file.as_ref().map(|file| line(record).and_then(|line| file.leave(line)));
        if let Some(Err(error)) = left {
            tracing::error!(error = %ErrorChain(&error), "an audit record was lost");
        }
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
    /// Records what came of it. An outcome that can't be recorded is not given out, which is the outer
    /// error.
    pub(crate) async fn end<T>(
        mut self,
        outcome: Result<T, BackendError>,
    ) -> Result<Result<T, BackendError>, BackendError> {
        let name = outcome.as_ref().map_or_else(crate::class, |_| "ok");
        // Who gives up while it is being written leaves it behind, and no other outcome.
        self.finished = true;
        let written = self.audit.write(&self.record("response", Some(name))).await;
        written.map(|()| outcome)
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
            self.audit.leave(&self.record("response", Some("given_up")));
        }
        self.audit.open.send_modify(|open| *open -= 1);
    }
}

fn line(record: &Record<'_>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::time::Duration;

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
            recorded.end(Ok(7)).await.unwrap().unwrap();
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
        audit.begin(&CALL, 1).await.unwrap().end(failure).await.unwrap().unwrap_err();
        drop(audit.begin(&CALL, 2).await.unwrap());
        // The thread writes in order, so that this waits for what nobody waits for.
        audit.begin(&CALL, 3).await.unwrap().end(Ok(())).await.unwrap().unwrap();
        let outcomes: Vec<_> = lines(&path)
            .iter()
            .filter_map(|line| line["outcome"].as_str().map(String::from))
            .collect();
        assert_eq!(outcomes, ["denied", "given_up", "ok"]);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_while_it_is_recorded_has_an_outcome() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::open("hsm", false, Some(&path)).unwrap();
        // The thread waits for the lock, which another process may have.
        let other = std::fs::File::open(&path).unwrap();
        other.lock().unwrap();
        let begun = tokio::time::timeout(Duration::ZERO, audit.begin(&CALL, 1)).await;
        assert!(begun.is_err(), "it was written");
        other.unlock().unwrap();
        audit.begin(&CALL, 2).await.unwrap().end(Ok(())).await.unwrap().unwrap();
        let lines = lines(&path);
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["request", "response", "request", "response"]);
        assert_eq!((&lines[0]["id"], &lines[1]["outcome"]), (&lines[1]["id"], &"given_up".into()));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_while_its_outcome_is_recorded_has_no_other() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::open("hsm", false, Some(&path)).unwrap();
        let recorded = audit.begin(&CALL, 1).await.unwrap();
        let other = std::fs::File::open(&path).unwrap();
        other.lock().unwrap();
        let ended = tokio::time::timeout(Duration::ZERO, recorded.end(Ok(())));
        assert!(ended.await.is_err(), "it was written");
        other.unlock().unwrap();
        audit.settled().await.unwrap();
        let outcomes: Vec<_> = lines(&path).iter().map(|line| line["outcome"].clone()).collect();
        assert_eq!(outcomes, [Value::Null, "ok".into()]);
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
        let (file, open) = (Some(AuditFile::full()), watch::Sender::new(0));
        Audit { backend: "hsm".into(), logging: true, file, open }
    }
}
