//! Secrets in the wrong place.

/// Whether `text` looks like a secret that somebody wrote where its place or a name belongs: at least
/// 32 hexadecimal digits (with or without `0x`), or at least 40 letters of base64. Such a text should
/// be refused and not repeated.
#[must_use]
pub fn looks_like_secret(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_base64 = |letter: u8| letter.is_ascii_alphanumeric() || b"+-_".contains(&letter);
    // A slash is a letter of base64 too, and paths are full of them: what is padded is no path.
    let padded = digits.ends_with('=') && digits.len() >= 24;
    digits.len() >= 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        || digits.len() >= 40 && digits.bytes().all(is_base64)
        || padded && digits.bytes().all(|letter| is_base64(letter) || b"/=".contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_look_like_secrets() {
        for secret in [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "0x9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60",
            "9d61b19deffd5a60ba844af492ec2cc4",
            "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=",
            "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "nWGxne/9WmC6hEr0kuws/A==",
        ] {
            assert!(looks_like_secret(secret), "{secret}");
        }
    }

    #[test]
    fn names_and_paths_do_not() {
        for name in [
            "",
            "Attesters",
            "PROPOSER_KEY",
            "/run/secrets/node/identity.key",
            "/var/lib/containers/9d61b19deffd5a60ba844af492ec2cc4/identity.key",
            "data/validators/mainnet/Keys2026/identity/first",
            "deadbeef",
        ] {
            assert!(!looks_like_secret(name), "{name}");
        }
    }
}
