//! The settings that the program ships with are true: they parse, and so does what stands in their
//! comments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::path::Path;
use std::time::Duration;

use kms_secrets::SecretSource;
use node_example::settings::{NodeSettings, SHIPPED};

fn parse(text: &str) -> NodeSettings {
    NodeSettings::from_yaml(text, "the shipped settings", Path::new("/base"))
        .unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

fn proposer_source(settings: &NodeSettings) -> SecretSource {
    let mut keys = settings.kms.keys().iter();
    let proposer = keys.find(|key| key.spec.id == settings.proposer.key).unwrap();
    proposer.spec.source.clone().unwrap()
}

#[test]
fn parse_as_they_are() {
    let settings = parse(SHIPPED);
    assert_eq!(settings.kms.keys().len(), 7);
    assert_eq!(settings.attesters.keys.len(), 4);
    assert_eq!(settings.proposer.slot, Duration::from_millis(200));
}

/// What the copy in the program says is what the file says.
#[test]
fn the_file_is_what_is_shipped() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings.yaml");
    let settings = NodeSettings::from_file(&path).unwrap();
    assert_eq!(settings.kms.base_dir(), path.parent().unwrap());
    assert_eq!(std::fs::read_to_string(path).unwrap(), SHIPPED);
}

#[test]
fn paths_are_relative_to_the_file() {
    for key in parse(SHIPPED).kms.keys() {
        let Some(SecretSource::File { path, .. }) = &key.spec.source else {
            panic!("{} has no file", key.spec.id);
        };
        assert!(path.starts_with("/base/node-example-data"), "{}", path.display());
    }
}

/// They show the defaults, so leaving them out changes nothing.
#[test]
fn limits_are_the_defaults() {
    let (before, rest) = SHIPPED.split_once("  limits:\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let without = parse(&format!("{before}\n{after}"));
    assert_eq!(without.kms.limits(), parse(SHIPPED).kms.limits());
}

/// The lines of settings in comments, each with the number of the line it stands in.
fn commented_settings() -> Vec<(usize, &'static str)> {
    let lines = SHIPPED.lines().enumerate();
    let comments =
        lines.filter_map(|(number, line)| Some((number, line.trim_start().strip_prefix("# ")?)));
    comments
        .filter(|(_, text)| text.split_once(": ").is_some_and(|(name, _)| is_name(name)))
        .collect()
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn commented_fields_are_those_that_are_tried() {
    let fields: Vec<_> =
        commented_settings().iter().map(|(_, text)| text.split_once(':').unwrap().0).collect();
    assert_eq!(fields, ["source", "public_key"]);
}

#[test]
fn the_source_in_a_comment() {
    let source = commented_settings()[0];
    let lines = SHIPPED.lines().enumerate().map(|(number, line)| {
        // It takes the place of the one before it.
        if number + 1 == source.0 {
            String::new()
        } else if number == source.0 {
            line.replacen("# ", "", 1)
        } else {
            line.to_owned()
        }
    });
    let settings = parse(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(proposer_source(&settings).env_name(), Some("PROPOSER_KEY"));
}

/// The pin is cut short for people; a whole one has its place there.
#[test]
fn the_pin_in_a_comment() {
    const PIN: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    let text = SHIPPED.replace("# public_key: 02c6…", &format!("public_key: {PIN}"));
    assert_ne!(text, SHIPPED);
    let settings = parse(&text);
    let pins: Vec<_> =
        settings.kms.keys().iter().filter_map(|key| key.spec.public_key.as_ref()).collect();
    assert_eq!(pins.len(), 1);
    assert_eq!(pins[0].to_hex(), PIN);
}
