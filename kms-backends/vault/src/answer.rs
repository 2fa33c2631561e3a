//! What an answer of the server means.

use hyper::StatusCode;
use kms_backend::{BackendError, Failure};
use serde::Deserialize;

use crate::http::Reply;

/// The most letters of the server's own words that are passed on.
const MAX_WORDS: usize = 200;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// Reads the body of a good answer.
pub(crate) fn read<'a, T: Deserialize<'a>>(
    what: &str,
    reply: &'a Reply,
) -> Result<T, BackendError> {
    serde_json::from_slice(reply.body.expose()).map_err(|cause| {
        // The place alone: an error's text could quote the answer, which may be a token.
        BackendError::Unavailable(Failure::new(format!(
            "{what}: the answer of {} bytes makes no sense at line {}, column {}",
            reply.body.len(),
            cause.line(),
            cause.column()
        )))
    })
}

/// Whether the answer says no more than that what was looked for isn't there.
pub(crate) fn is_absent(reply: &Reply) -> bool {
    reply.status == StatusCode::NOT_FOUND && words(reply).is_some_and(|words| words.is_empty())
}

/// What it means that the server didn't do it.
pub(crate) fn refusal(what: &str, reply: &Reply) -> BackendError {
    let status = reply.status;
    let said = words(reply).unwrap_or_default();
    let has = |part: &str| said.contains(part);
    let colon = if said.is_empty() { "" } else { ": " };
    let failure =
        Failure::new(format!("{what}: the server answers {}{colon}{said}", status.as_u16()));
    match status.as_u16() {
        429 => BackendError::Throttled { failure, retry_after: reply.retry_after },
        401 | 403 => BackendError::Denied(failure),
        _ if has("no handler for route") || has("unsupported path") => {
            BackendError::Misconfigured(failure)
        }
        // The same as a disabled key, and an old version that may no longer sign.
        _ if has("soft-deleted") || has("requested version for signing is less") => {
            BackendError::Denied(failure)
        }
        _ if has("requested version for signing is higher") => BackendError::NotFound(failure),
        400 | 404 if has("not found") || has("could be found") => BackendError::NotFound(failure),
        404 if said.is_empty() => BackendError::NotFound(failure),
        // 412, 472 and 473 are a standby's that isn't ready, and 307 is one's that sends elsewhere: to another
        // server, or to itself while it takes over.
        307 | 408 | 412 | 472 | 473 | 500.. => BackendError::Unavailable(failure),
        _ => BackendError::Misconfigured(failure),
    }
}

/// The server's own words: one line, short, printable. Empty if it says that there is nothing to say, and
/// `None` if it speaks otherwise than the server does.
fn words(reply: &Reply) -> Option<String> {
    let Errors { errors } = serde_json::from_slice(reply.body.expose()).ok()?;
    let words = errors.iter().flat_map(|error| error.split_whitespace());
    let words: Vec<_> = words.collect();
    let printable = words.join(" ");
    Some(printable.chars().filter(|it| !it.is_control()).take(MAX_WORDS).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use kms_secrets::SecretBytes;

    use super::*;

    pub(crate) fn reply(status: u16, body: &str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        let body = SecretBytes::from_slice(body.as_bytes());
        Reply { status, retry_after: Some(Duration::from_secs(7)), body }
    }

    #[test]
    fn what_the_server_says_has_its_class() {
        for (status, body, class) in [
            (403, r#"{"errors":["permission denied"]}"#, "denied"),
            (403, "<html>", "denied"),
            (503, r#"{"errors":["Vault is sealed"]}"#, "unavailable"),
            (500, r#"{"errors":["internal error"]}"#, "unavailable"),
            (473, "", "unavailable"),
            (429, "", "throttled"),
            (400, r#"{"errors":["signing key not found"]}"#, "not_found"),
            (404, r#"{"errors":[]}"#, "not_found"),
            (
                404,
                r#"{"errors":["no handler for route \"x/sign/k\". route entry not found."]}"#,
                "misconfigured",
            ),
            (404, r#"{"errors":["1 error occurred:\n\t* unsupported path\n\n"]}"#, "misconfigured"),
            (
                500,
                r#"{"errors":["1 error occurred:\n\t* refusing to use soft-deleted key\n\n"]}"#,
                "denied",
            ),
            (
                500,
                r#"{"errors":["requested version for signing is higher than the latest key version"]}"#,
                "not_found",
            ),
            (
                500,
                r#"{"errors":["requested version for signing is less than the minimum"]}"#,
                "denied",
            ),
            (400, r#"{"errors":["missing input"]}"#, "misconfigured"),
            (302, "", "misconfigured"),
            (307, "", "unavailable"),
        ] {
            let error = refusal("key a", &reply(status, body));
            assert_eq!(kms_backend_remote::class(&error), class, "{status} {body}");
            assert!(error.to_string().starts_with("key a: "), "{error}");
        }
        let BackendError::Throttled { retry_after, .. } = refusal("x", &reply(429, "")) else {
            panic!("not throttled");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_server_s_words_are_short_and_in_one_line() {
        let hostile = format!(r#"{{"errors":["a\n\tb\u001b[31m{}"]}}"#, "x".repeat(5000));
        let text = refusal("key a", &reply(400, &hostile)).to_string();
        assert!(text.contains("a b[31mx") && text.len() < 300, "{text}");
    }

    #[test]
    fn words_that_repeat_a_secret_are_not_passed_on() {
        let said = r#"{"errors":["no such token s.hunter2"]}"#;
        let text = refusal("key a", &reply(403, said).without(b"s.hunter2")).to_string();
        assert!(!text.contains("no such token"), "{text}");
        let text = refusal("key a", &reply(403, said).without(b"s.other")).to_string();
        assert!(text.contains("no such token"), "{text}");
    }

    #[test]
    fn only_a_plain_404_says_that_a_key_is_absent() {
        assert!(is_absent(&reply(404, r#"{"errors":[]}"#)));
        for (status, body) in [
            (404, r#"{"errors":["no handler for route"]}"#),
            (404, "<html>not found</html>"),
            (403, r#"{"errors":[]}"#),
        ] {
            assert!(!is_absent(&reply(status, body)), "{body}");
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_not_quoted() {
        let error = read::<Errors>("logging in", &reply(200, r#"{"errors":"s.hunter2"}"#));
        let error = error.err().unwrap();
        assert!(error.is_retryable() && !error.to_string().contains("hunter2"), "{error}");
    }
}
