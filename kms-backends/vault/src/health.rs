//! How the server is, and the login.

use hyper::Method;
use hyper::body::Bytes;
use kms_backend::{ErrorChain, Health, HealthLevel};

use crate::session::Session;

/// Asks the server, without a token, and looks at the login.
pub(crate) async fn probe(session: &Session) -> Health {
    const PATH: &str = "sys/health?standbyok=true&perfstandbyok=true";
    let mut health = match session.http.send(Method::GET, PATH, None, Bytes::new()).await {
        Ok(reply) => match reply.status.as_u16() {
            200 => Health::ok(),
            501 => Health::new(HealthLevel::Fatal, "the server was never initialised"),
            503 => Health::new(HealthLevel::Failed, "the server is sealed"),
            status => Health::new(HealthLevel::Failed, format!("the server answers {status}")),
        },
        Err(error) => Health::new(HealthLevel::Failed, ErrorChain(&error).to_string()),
    };
    if let Some((trouble, ended)) = session.trouble_now() {
        let level = if ended { HealthLevel::Failed } else { HealthLevel::Degraded };
        health.level = health.level.max(level);
        health.reasons.push(trouble);
    }
    health
}
