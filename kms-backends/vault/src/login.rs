//! Getting a token, in each of the ways there are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use kms_backend::{BackendError, Failure};
use kms_backend_remote::wiped;
use kms_secrets::{PassphraseError, PassphraseSource, SecretBytes, Shielded, SourceError};
use serde::Deserialize;

use crate::answer::{read, refusal};
use crate::http::{Http, Reply};
use crate::{AuthSettings, MountPath};

/// The most bytes of a service account's token.
const MAX_JWT_BYTES: usize = 16 * 1024;

/// A token, and what the server said of it.
pub(crate) struct Granted {
    pub(crate) token: Shielded,
    pub(crate) terms: Terms,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// From now on; `None` for ever.
    pub(crate) ttl: Option<Duration>,
    /// Whether it can be renewed.
    pub(crate) renewable: bool,
}

#[derive(Deserialize)]
struct LoginAnswer<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: &'a str,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct RenewAnswer {
    auth: Renewed,
}

#[derive(Deserialize)]
struct Renewed {
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupAnswer {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    ttl: u64,
    /// Left out of what is said of a root token.
    #[serde(default)]
    renewable: bool,
    /// `null` for a token that never ends; `ttl` is 0 also in the last second of another.
    expire_time: Option<String>,
}

impl Terms {
    fn new(seconds: u64, renewable: bool) -> Self {
        Self { ttl: (seconds > 0).then(|| Duration::from_secs(seconds)), renewable }
    }
}

/// Gets a token. Whatever is a secret is read anew.
pub(crate) async fn login(
    http: &Http,
    auth: &AuthSettings,
    base_dir: &Path,
) -> Result<Granted, BackendError> {
    let (mount, proof, body) = match auth {
        AuthSettings::Token(source) => {
            let token = sealed(&secret("the token", source, base_dir).await?)?;
            let terms = look_up(http, &token).await?;
            return Ok(Granted { token, terms });
        }
        AuthSettings::Approle(approle) => {
            let proof = secret("the secret id", &approle.secret_id, base_dir).await?;
            let body = body("role_id", &approle.role_id, "secret_id", &proof)?;
            (&approle.mount, proof, body)
        }
        AuthSettings::Kubernetes(pod) => {
            let proof = service_account_token(base_dir.join(&pod.token_file)).await?;
            let body = body("role", &pod.role, "jwt", &proof)?;
            (&pod.mount, proof, body)
        }
    };
    let path = format!("auth/{mount}/login");
    let reply = http.send(Method::POST, &path, None, body).await?;
    if !reply.status.is_success() {
        return Err(no_entry(mount, &reply.without(proof.expose())));
    }
    let LoginAnswer { auth } = read("logging in", &reply)?;
    let token = sealed(&SecretBytes::from_slice(auth.client_token.as_bytes()))?;
    Ok(Granted { token, terms: Terms::new(auth.lease_duration, auth.renewable) })
}

/// Renews a token.
pub(crate) async fn renew(http: &Http, token: &Shielded) -> Result<Terms, BackendError> {
    let path = "auth/token/renew-self";
    let reply = http.send(Method::POST, path, Some(token), Bytes::from_static(b"{}")).await?;
    if !reply.status.is_success() {
        return Err(refusal("the token can't be renewed", &reply));
    }
    let RenewAnswer { auth } = read("renewing the token", &reply)?;
    // What had an end has one still: 0 is less than a second.
    Ok(Terms::new(auth.lease_duration.max(1), auth.renewable))
}

/// Gives a token back.
pub(crate) async fn revoke(http: &Http, token: &Shielded) -> Result<(), BackendError> {
    let path = "auth/token/revoke-self";
    let reply = http.send(Method::POST, path, Some(token), Bytes::new()).await?;
    if reply.status.is_success() {
        Ok(())
    } else {
        Err(refusal("the token can't be revoked", &reply))
    }
}

/// Whether a token can look itself up. One that is gone can't; one that may not can't either.
pub(crate) async fn is_good(http: &Http, token: &Shielded) -> Result<bool, BackendError> {
    let reply = ask_for_itself(http, token).await?;
    match reply.status {
        status if status.is_success() => Ok(true),
        StatusCode::FORBIDDEN => Ok(false),
        _ => Err(refusal("the token can't be looked up", &reply)),
    }
}

async fn look_up(http: &Http, token: &Shielded) -> Result<Terms, BackendError> {
    let reply = ask_for_itself(http, token).await?;
    if !reply.status.is_success() {
        let what = "the token isn't good, or may not look itself up (policy `default` lets it)";
        return Err(refusal(what, &reply));
    }
    let LookupAnswer { data } = read("looking the token up", &reply)?;
    let least = u64::from(data.expire_time.is_some());
    Ok(Terms::new(data.ttl.max(least), data.renewable))
}

async fn ask_for_itself(http: &Http, token: &Shielded) -> Result<Reply, BackendError> {
    http.send(Method::GET, "auth/token/lookup-self", Some(token), Bytes::new()).await
}

/// Why nobody was let in: the method isn't there, or what was shown is wrong.
fn no_entry(mount: &MountPath, reply: &Reply) -> BackendError {
    let what = format!("no entry by auth/{mount}");
    match refusal(&what, reply) {
        BackendError::Misconfigured(failure) if reply.status.as_u16() == 400 => {
            BackendError::WrongSecret(failure)
        }
        other => other,
    }
}

/// `{"NAME":"VALUE","SECRET_NAME":"SECRET"}` in a buffer that is wiped.
fn body(
    name: &str,
    value: &str,
    secret_name: &str,
    secret: &SecretBytes,
) -> Result<Bytes, BackendError> {
    let value = serde_json::Value::from(value).to_string();
    // What it would have to be escaped for is in no such secret.
    if secret.expose().iter().any(|letter| !letter.is_ascii_graphic() || b"\"\\".contains(letter)) {
        let what = format!("what was read as {secret_name} has letters that none has");
        return Err(BackendError::WrongSecret(Failure::new(what)));
    }
    let before = format!("{{\"{name}\":{value},\"{secret_name}\":\"");
    Ok(wiped(SecretBytes::concat(&[before.as_bytes(), secret.expose(), b"\"}"])))
}

fn sealed(token: &SecretBytes) -> Result<Shielded, BackendError> {
    if token.is_empty() || !token.expose().iter().all(u8::is_ascii_graphic) {
        let what = "the token is empty or has letters that no token has";
        return Err(BackendError::WrongSecret(Failure::new(what)));
    }
    Shielded::seal(token.expose()).map_err(|cause| {
        BackendError::Unavailable(Failure::because("the token could not be shielded", cause))
    })
}

async fn secret(
    what: &'static str,
    source: &PassphraseSource,
    base_dir: &Path,
) -> Result<SecretBytes, BackendError> {
    let source = source.clone().relative_to(base_dir);
    let read = tokio::task::spawn_blocking(move || source.read()).await;
    let read = read.map_err(|cause| {
        BackendError::Unavailable(Failure::because("reading was cut off", cause))
    })?;
    read.map_err(|cause| {
        let class = match &cause {
            PassphraseError::Source(SourceError::Missing { .. } | SourceError::Unset { .. }) => {
                BackendError::NotFound
            }
            PassphraseError::Source(SourceError::Unreadable { .. })
            | PassphraseError::Command { .. } => BackendError::Unavailable,
            _ => BackendError::Misconfigured,
        };
        class(Failure::because(format!("{what} can't be read"), cause))
    })
}

/// The token of the pod's service account, without what surrounds it. Others may read the file, by
/// Kubernetes' design.
async fn service_account_token(path: PathBuf) -> Result<SecretBytes, BackendError> {
    let what = format!("the service account's token: {}", path.display());
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = SecretBytes::with_capacity(MAX_JWT_BYTES + 1);
        let mut file = File::open(path)?;
        let mut len = 0;
        loop {
            match file.read(&mut bytes.buffer_mut()[len..])? {
                0 => break,
                more => len += more,
            }
        }
        bytes.set_len(len);
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(cause)) => return Err(BackendError::NotFound(Failure::because(what, cause))),
        Err(cause) => return Err(BackendError::Unavailable(Failure::because(what, cause))),
    };
    let token = bytes.expose().trim_ascii();
    if token.is_empty() || bytes.len() > MAX_JWT_BYTES {
        let what = format!("{what} has not 1 to {MAX_JWT_BYTES} bytes");
        return Err(BackendError::Misconfigured(Failure::new(what)));
    }
    Ok(SecretBytes::from_slice(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_well_formed_whatever_the_role_is_called() {
        let secret = SecretBytes::from_slice(b"s.abc-123");
        let bytes = body("role_id", "a\"b\\c\n", "secret_id", &secret).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value, serde_json::json!({"role_id": "a\"b\\c\n", "secret_id": "s.abc-123"}));
    }

    #[test]
    fn a_secret_that_would_end_its_quotes_is_refused_and_not_shown() {
        for secret in [&b"hunter2\",\"x"[..], b"hunter2\\", b"hunter2\n", "hunter2ä".as_bytes()] {
            let error = body("role", "r", "jwt", &SecretBytes::from_slice(secret)).unwrap_err();
            assert!(matches!(error, BackendError::WrongSecret(_)), "{error:?}");
            assert!(!format!("{error:?}").contains("hunter2"));
            if !secret.is_ascii() || secret.contains(&b'\n') {
                assert!(sealed(&SecretBytes::from_slice(secret)).is_err());
            }
        }
        assert!(sealed(&SecretBytes::from_slice(b"")).is_err());
    }
}
