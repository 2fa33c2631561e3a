//! Where secrets come from: never the command line itself, which every user of the machine can read,
//! but the places that it names.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kms_secrets::prompt::{self, PromptError};
use kms_secrets::{
    DecodedSecret, Encoding, MAX_SOURCE_BYTES, PassphraseSource, SecretBytes, SecretSource,
    SourceError, looks_like_secret, stdin,
};

use crate::failure::{Failure, Outcome};

/// How long a program that prints a passphrase may take: somebody may have to touch a token.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Three options that name the place of one passphrase.
macro_rules! passphrase_options {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        #[group(multiple = false)]
        pub(crate) struct $name {
            #[arg(
                long = concat!($prefix, "-file"), id = concat!($prefix, "-file"),
                value_name = "PATH", help = concat!("A file (0600) with ", $what)
            )]
            file: Option<PathBuf>,
            #[arg(
                long = concat!($prefix, "-env"), id = concat!($prefix, "-env"),
                value_name = "NAME", help = concat!("An environment variable with ", $what)
            )]
            env: Option<String>,
            #[arg(
                long = concat!($prefix, "-command"), id = concat!($prefix, "-command"),
                value_name = "PROGRAM ARGS", help = concat!("A program that prints ", $what)
            )]
            command: Option<String>,
        }

        impl $name {
            /// The variable that is named, if one is.
            pub(crate) fn env_name(&self) -> Option<&str> {
                self.env.as_deref()
            }

            /// The place that is named, if one is.
            pub(crate) fn place(&self) -> Outcome<Option<PassphraseSource>> {
                place(self.file.as_deref(), self.env.as_deref(), self.command.as_deref())
            }
        }
    };
}

passphrase_options! {
    /// The passphrase of something new.
    NewPassphrase, "new-passphrase", "the new passphrase"
}
passphrase_options! {
    /// The passphrase of what is read.
    FromPassphrase, "from-passphrase", "the passphrase of what is read"
}
passphrase_options! {
    /// The passphrase that goes with a mnemonic.
    MnemonicPassphrase, "mnemonic-passphrase", "the BIP-39 passphrase that goes with the words"
}

impl NewPassphrase {
    /// The passphrase, asked for twice if no place is named.
    pub(crate) fn read(&self, whose: &str) -> Outcome<SecretBytes> {
        match self.place()? {
            Some(place) => Ok(place.read()?),
            None => {
                let asked = prompt::new_passphrase(&format!("New passphrase of {whose}: "));
                asked.map_err(|error| unasked(error, whose, "--new-passphrase-file"))
            }
        }
    }
}

impl FromPassphrase {
    /// The passphrase, asked for if no place is named.
    pub(crate) fn read(&self, whose: &str) -> Outcome<SecretBytes> {
        match self.place()? {
            Some(place) => Ok(place.read()?),
            None => {
                let asked = prompt::passphrase(&format!("Passphrase of {whose}: "));
                asked.map_err(|error| unasked(error, whose, "--from-passphrase-file"))
            }
        }
    }
}

impl MnemonicPassphrase {
    /// The passphrase, empty if no place is named.
    pub(crate) fn read(&self) -> Outcome<SecretBytes> {
        match self.place()? {
            Some(place) => Ok(place.read()?),
            None => Ok(SecretBytes::with_capacity(0)),
        }
    }
}

/// The place of a passphrase that at most one of three options names.
pub(crate) fn place(
    file: Option<&Path>,
    env: Option<&str>,
    command: Option<&str>,
) -> Outcome<Option<PassphraseSource>> {
    if let Some(path) = file {
        check_place(path)?;
        return Ok(Some(PassphraseSource::File { path: path.into(), group_readable: false }));
    }
    if let Some(name) = env {
        check_place(name)?;
        return Ok(Some(PassphraseSource::Env { name: name.into() }));
    }
    let Some(command) = command else { return Ok(None) };
    let mut words = command.split_whitespace().map(str::to_owned);
    let program = words.next().ok_or_else(|| Failure::usage("the command names no program"))?;
    let (program, args) = (program.into(), words.collect());
    Ok(Some(PassphraseSource::Command { program, args, timeout: COMMAND_TIMEOUT }))
}

/// Refuses a secret that was given where its place belongs.
pub(crate) fn check_place(place: impl AsRef<Path>) -> Outcome {
    if place.as_ref().to_str().is_some_and(looks_like_secret) {
        return Err(Failure::usage(
            "found what looks like a secret (not shown) where a file or variable is to be named; \
             other users can see the command line, so take that secret for known",
        ));
    }
    Ok(())
}

/// Why nobody was asked. Without a terminal, the options are what is missing.
pub(crate) fn unasked(error: PromptError, whose: &str, option: &str) -> Failure {
    match error {
        PromptError::NoTerminal(_) => Failure::usage(format_args!(
            "there is no terminal to ask for the passphrase of {whose} on: name its place, for \
             example with {option}"
        )),
        error => error.into(),
    }
}

/// What a file holds, or standard input if `from` is `-`. A file is checked as every secret file is;
/// one that others of its group may read is good enough for a document that is encrypted.
pub(crate) fn document(from: &Path) -> Outcome<SecretBytes> {
    if from == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "secrets are not typed where they are shown: name a file, or pipe it in",
            ));
        }
        return Ok(stdin::read(MAX_SOURCE_BYTES)?);
    }
    check_place(from)?;
    match file(from, false) {
        Err(refused @ SourceError::OpenToGroup { .. }) => match file(from, true) {
            Ok(document) if is_keystore(document.expose()) => Ok(document),
            _ => Err(refused.into()),
        },
        document => Ok(document?),
    }
}

/// Whether it looks like an EIP-2335 keystore, which is encrypted.
pub(crate) fn is_keystore(document: &[u8]) -> bool {
    document.trim_ascii_start().starts_with(b"{")
}

fn file(path: &Path, group_readable: bool) -> Result<SecretBytes, SourceError> {
    let encoding = Some(Encoding::Raw);
    match (SecretSource::File { path: path.into(), encoding, group_readable }).read()? {
        DecodedSecret::Bytes(bytes) | DecodedSecret::Pem { der: bytes, .. } => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_white_space() {
        let place = place(None, None, Some(" pass  show kms ")).unwrap();
        let Some(PassphraseSource::Command { program, args, .. }) = place else {
            panic!("no command")
        };
        assert_eq!((program, args), ("pass".into(), vec!["show".into(), "kms".into()]));
    }

    #[test]
    fn an_empty_command_and_a_pasted_secret_are_refused() {
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        for refused in [
            place(None, None, Some(" ")),
            place(Some(Path::new(secret)), None, None),
            place(None, Some(secret), None),
        ] {
            let text = refused.unwrap_err().to_string();
            assert!(!text.contains(secret), "{text}");
        }
    }
}
