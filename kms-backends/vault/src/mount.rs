//! Whether the mount is one of Transit.

use hyper::Method;
use kms_backend::{BackendError, Failure};
use kms_backend_remote::Call;
use serde::Deserialize;

use crate::MountPath;
use crate::answer::{read, refusal};
use crate::session::Session;

#[derive(Deserialize)]
struct MountAnswer {
    data: MountData,
}

#[derive(Deserialize)]
struct MountData {
    #[serde(rename = "type")]
    engine: String,
}

/// Asks what is mounted there. An engine of another kind has its own ideas of the paths of keys: one that
/// stores values would take what makes a key for a value. Servers tell whoever may do anything there; where
/// this one doesn't, the requests that follow are told what is wrong.
///
/// # Errors
/// [`BackendError::Misconfigured`] for an engine of another kind; what can be helped by trying again.
pub(crate) async fn check(session: &Session, mount: &MountPath) -> Result<(), BackendError> {
    let path = format!("sys/internal/ui/mounts/{mount}");
    let call = Call { operation: "read_mount", key: None, algorithm: None };
    let asked = session.remote.retried(&call, || async {
        let what = format!("mount {mount} can't be looked at");
        let reply = session.request_as_is(Method::GET, &path).await?;
        if !reply.status.is_success() {
            let refused = refusal(&what, &reply);
            return if refused.is_retryable() { Err(refused) } else { Ok(None) };
        }
        let MountAnswer { data } = read(&what, &reply)?;
        Ok(Some(data.engine))
    });
    let Some(engine) = asked.await? else { return Ok(()) };
    if engine == "transit" {
        return Ok(());
    }
    let shown: String = engine.chars().filter(|it| it.is_ascii_graphic()).take(32).collect();
    let what = format!("mount {mount} is a secrets engine of type {shown}, expected transit");
    Err(BackendError::Misconfigured(Failure::new(what)))
}
