//! Takes on a role with a token (`AssumeRoleWithWebIdentity` of AWS' security token service): one request
//! without a signature, and an answer in XML.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use kms_backend::{BackendError, Failure};
use kms_secrets::SecretBytes;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use zeroize::Zeroizing;

use crate::credentials::Found;
use crate::error::{is_throttling, unanswered};

/// The largest token that is read, in bytes.
const MAX_TOKEN: usize = 64 * 1024;

/// The role that is taken on, and the token for it.
pub(crate) struct WebIdentity {
    pub(crate) token_file: PathBuf,
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    pub(crate) endpoint: String,
    pub(crate) connector: SharedHttpConnector,
}

/// Where a region's token service is.
pub(crate) fn endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://sts.{region}.{domain}")
}

/// Whether a token may be sent there: with TLS, or within this machine.
pub(crate) fn is_private(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else {
        return endpoint.starts_with("https://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let loopback = |host: &str| authority == host || authority.starts_with(&format!("{host}:"));
    !authority.contains('@') && ["127.0.0.1", "[::1]", "localhost"].into_iter().any(loopback)
}

impl WebIdentity {
    /// Asks for a session. The token's file is read each time: it is written anew before the token expires.
    pub(crate) async fn assume_role(&self) -> Result<Found, BackendError> {
        let path = self.token_file.clone();
        let token = tokio::task::spawn_blocking(move || read_token(&path)).await;
        let token =
            token.unwrap_or_else(|cause| Err(io::Error::other(cause))).map_err(|cause| {
                let what = format!("the web identity token {}", self.token_file.display());
                BackendError::Misconfigured(Failure::because(
                    format!("{what} can't be read"),
                    cause,
                ))
            })?;
        let (status, body) = self.ask(self.form(&token)).await?;
        if status == 200 {
            return session(&body).ok_or_else(|| {
                unavailable("it answered, and without credentials that have an end".into())
            });
        }
        let code = element(&body, "Code").unwrap_or("no error code");
        let what = format!("{code} ({status})");
        Err(match code {
            "IDPCommunicationError" => unavailable(what),
            _ if is_throttling(code) => {
                BackendError::Throttled { failure: failure(&what), retry_after: None }
            }
            _ if status >= 500 => unavailable(what),
            _ => BackendError::Denied(failure(&format!(
                "{what} for role {} and the token in {}",
                self.role_arn,
                self.token_file.display()
            ))),
        })
    }

    fn form(&self, token: &[u8]) -> Zeroizing<String> {
        // Three bytes for each of the token's at most: it doesn't grow.
        let mut form = Zeroizing::new(String::with_capacity(4096 + 3 * token.len()));
        form.push_str("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
        encode(self.role_arn.as_bytes(), &mut form);
        form.push_str("&RoleSessionName=");
        encode(self.session_name.as_bytes(), &mut form);
        form.push_str("&WebIdentityToken=");
        encode(token, &mut form);
        form
    }

    async fn ask(
        &self,
        form: Zeroizing<String>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), BackendError> {
        let mut request = HttpRequest::new(SdkBody::from(form.as_str()));
        let address = self.endpoint.trim_end_matches('/');
        let prepared = request.set_method("POST");
        prepared.and_then(|()| request.set_uri(format!("{address}/"))).map_err(|cause| {
            let what = format!("{address} is no address of AWS' token service");
            BackendError::Misconfigured(Failure::because(what, cause))
        })?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/x-www-form-urlencoded");
        headers.insert("content-length", form.len().to_string());
        // What the connection would tell of could be the token.
        let answer = self.connector.call(request).with_subscriber(Dispatch::none()).await;
        let answer =
            answer.map_err(|cause| unanswered(format!("no answer from {address}"), cause))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|cause| {
            let what = format!("the answer from {address} can't be read");
            BackendError::Unavailable(Failure::because(what, cause))
        })?;
        Ok((status, Zeroizing::new(body.to_bytes().to_vec())))
    }
}

/// Reads the token without the checks that other secrets' files must pass: Kubernetes mounts it with modes
/// of its own, and it expires soon.
fn read_token(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut token = Zeroizing::new(vec![0; MAX_TOKEN + 1]);
    let mut file = File::open(path)?;
    let mut len = 0;
    loop {
        match file.read(&mut token[len..])? {
            0 => break,
            read => len += read,
        }
    }
    if len > MAX_TOKEN {
        return Err(io::Error::other(format!("it is larger than {MAX_TOKEN} bytes")));
    }
    let text = token[..len].trim_ascii();
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Zeroizing::new(text.to_vec()))
}

fn encode(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// The credentials of an answer.
fn session(xml: &[u8]) -> Option<Found> {
    let text =
        |name| element(xml, name).filter(|text| text.bytes().all(|it| it.is_ascii_graphic()));
    let secret = |name| text(name).map(|text| SecretBytes::from_slice(text.as_bytes()));
    let expires: SystemTime = humantime::parse_rfc3339(text("Expiration")?).ok()?;
    Some(Found {
        access_key_id: text("AccessKeyId")?.to_owned(),
        secret_access_key: secret("SecretAccessKey")?,
        session_token: Some(secret("SessionToken")?),
        expires: Some(expires),
    })
}

/// What stands in the first element of this name, if that is text without markup.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a str> {
    let xml = str::from_utf8(xml).ok()?;
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty() && !text.contains(['<', '&'])).then_some(text)
}

fn failure(what: &str) -> Failure {
    Failure::new(format!("AWS' token service gives no session: {what}"))
}

fn unavailable(what: String) -> BackendError {
    BackendError::Unavailable(failure(&what))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ANSWER: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/\
        2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>t/+=\
        </SessionToken><SecretAccessKey>s</SecretAccessKey><Expiration>2014-10-24T23:00:23Z\
        </Expiration><AccessKeyId>ASIA</AccessKeyId></Credentials>\
        </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

    #[test]
    fn an_answer_is_read() {
        let found = session(ANSWER.as_bytes()).unwrap();
        assert_eq!(found.access_key_id, "ASIA");
        assert_eq!(found.secret_access_key.expose(), b"s");
        assert_eq!(found.session_token.unwrap().expose(), b"t/+=");
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_414_191_623);
        assert_eq!(found.expires, Some(expected));
    }

    #[test]
    fn an_answer_with_a_part_missing_is_none() {
        for (part, instead) in [
            ("<SecretAccessKey>s<", "<SecretAccessKey><"),
            ("ASIA", "A S"),
            ("<SessionToken>", "<Token>"),
            ("2014-10-24T23:00:23Z", "tomorrow"),
            ("t/+=", "<b/>"),
        ] {
            assert!(session(ANSWER.replace(part, instead).as_bytes()).is_none(), "{part}");
        }
        assert!(session(&[0xff; 64]).is_none() && session(b"").is_none());
    }

    #[test]
    fn tokens_are_sent_with_tls_or_within_the_machine() {
        for (endpoint, expected) in [
            ("https://sts.eu-north-1.amazonaws.com", true),
            ("http://127.0.0.1:4566/", true),
            ("http://[::1]:80", true),
            ("http://localhost", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example:80", false),
            ("http://user@127.0.0.1", false),
            ("http://localhost:x@sts.example", false),
            ("http://sts.example/127.0.0.1", false),
            ("sts.example", false),
        ] {
            assert_eq!(is_private(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        let mut out = String::new();
        encode(b"arn:aws:iam::1:role/a b+~", &mut out);
        assert_eq!(out, "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b%2B~");
    }
}
