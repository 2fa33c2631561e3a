//! Where the server is.

use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use serde::Deserialize;

/// A server's address: `https://HOST` or `https://HOST:PORT`, or the same with `http`. No path, no user,
/// no query.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    text: String,
    uri: Uri,
    host: HeaderValue,
    is_plain: bool,
}

impl Address {
    /// Whether what is sent there can be read on the way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What a request's `Host` is: the port is left out if it is the usual one.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "the address (not shown) is not https://HOST or https://HOST:PORT, without path or user";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let is_plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(EXPECTED),
        };
        let authority = uri.authority().ok_or(EXPECTED)?.as_str();
        if authority.contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(EXPECTED);
        }
        let (scheme, usual) = if is_plain { ("http", 80) } else { ("https", 443) };
        let host = uri.host().ok_or(EXPECTED)?;
        // What follows the host and is no port isn't passed over.
        if authority.len() > host.len() && uri.port_u16().is_none() {
            return Err(EXPECTED);
        }
        let host = match uri.port_u16() {
            Some(port) if port != usual => HeaderValue::try_from(format!("{host}:{port}")),
            _ => HeaderValue::try_from(host),
        };
        let (text, host) = (format!("{scheme}://{authority}"), host.map_err(|_| EXPECTED)?);
        Ok(Self { text, uri, host, is_plain })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, plain, host) in [
            ("https://vault.example:8200", false, "vault.example:8200"),
            ("https://vault.example/", false, "vault.example"),
            ("https://vault.example:443", false, "vault.example"),
            ("https://vault.example:80", false, "vault.example:80"),
            ("https://[::1]:8200", false, "[::1]:8200"),
            ("http://[::1]:80", true, "[::1]"),
            ("http://127.0.0.1:8200", true, "127.0.0.1:8200"),
        ] {
            let address = Address::try_from(text.to_owned()).unwrap();
            assert_eq!(address.host(), host);
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
            assert_eq!(address.is_plain(), plain);
        }
    }

    #[test]
    fn what_has_more_or_less_is_refused_and_not_shown() {
        for text in [
            "",
            "vault.example:8200",
            "ftp://vault.example",
            "https://",
            "https://user:hunter2@vault.example",
            "https://vault.example/v1",
            "https://vault.example?x=y",
            "https://vault example",
            "https://vault.example:",
            "https://vault.example:82000",
        ] {
            let error = Address::try_from(text.to_owned()).unwrap_err();
            assert!(!error.contains("hunter2"));
        }
    }
}
