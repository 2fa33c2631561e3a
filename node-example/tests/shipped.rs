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

use kms_backend::IfMissing;
use kms_backends::AnyBackend;
use node_example::settings::{NodeSettings, SHIPPED};

fn parse(text: &str) -> NodeSettings {
    NodeSettings::from_yaml(text, "the shipped settings", Path::new("/base"))
        .unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
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

/// A first run makes the store and its keys.
#[test]
fn the_store_and_its_keys_are_made() {
    let settings = parse(SHIPPED);
    let [AnyBackend::Keystore(store)] = &settings.kms.backends().values().collect::<Vec<_>>()[..]
    else {
        panic!("the shipped settings have another backend");
    };
    assert!(store.create);
    assert!(settings.kms.keys().iter().all(|key| key.spec.if_missing == IfMissing::Generate));
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
    assert_eq!(fields, ["derive", "public_key", "observe"]);
}

#[test]
fn the_derivation_in_a_comment() {
    let (_, derive) = commented_settings()[0];
    let settings = parse(&SHIPPED.replacen(&format!("# {derive}"), derive, 1));
    let derived: Vec<_> =
        settings.kms.keys().iter().filter_map(|key| key.spec.derivation.as_ref()).collect();
    assert_eq!(derived.len(), 1);
    assert_eq!(derived[0].to_string(), "m/44'/60'/0'/0/0 of master words");
}

#[test]
fn the_observation_in_a_comment() {
    assert!(parse(SHIPPED).observe.is_none());
    let (_, observe) = commented_settings()[2];
    let settings = parse(&SHIPPED.replacen(&format!("# {observe}"), observe, 1));
    assert_eq!(settings.observe.unwrap().listen, "127.0.0.1:9464".parse().unwrap());
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
