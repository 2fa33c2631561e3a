//! How the server is, and the login.

use hyper::Method;
use hyper::body::Bytes;
use kms_backend::{BackendError, ErrorChain, Failure, Health, HealthLevel};
use kms_backend_remote::Call;

use crate::session::Session;

/// Asks the server, without a token, and looks at the login.
pub(crate) async fn probe(session: &Session) -> Health {
    const PATH: &str = "sys/health?standbyok=true&perfstandbyok=true";
    let asked = || async {
        let reply = session.http.send(Method::GET, PATH, None, Bytes::new()).await?;
        let failed = |what: String| Err(BackendError::Unavailable(Failure::new(what)));
        match reply.status.as_u16() {
            200 => Ok(Health::ok()),
            501 => Ok(Health::new(HealthLevel::Fatal, "the server was never initialised")),
            503 => failed("the server is sealed".into()),
            status => failed(format!("the server answers {status}")),
        }
    };
    let mut health = match session.remote.once(&Call::HEALTH, asked).await {
        Ok(health) => health,
        Err(error) => Health::new(HealthLevel::Failed, ErrorChain(&error).to_string()),
    };
    if let Some((trouble, ended)) = session.trouble_now() {
        let level = if ended { HealthLevel::Failed } else { HealthLevel::Degraded };
        health.level = health.level.max(level);
        health.reasons.push(trouble);
    }
    health
}
