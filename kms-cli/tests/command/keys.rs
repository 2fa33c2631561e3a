//! Keys that are made in the store, and how they are shown.

use crate::support::Folder;

#[test]
fn keys_of_every_type_are_generated_and_shown() {
    let folder = Folder::new();
    for (key_type, digits) in [("ed25519", 64), ("secp256k1", 66), ("bls12-381", 96)] {
        let id = format!("node/{key_type}");
        let made = folder.json(&["generate", &id, "--type", key_type, "--label", "team=a=b"]);
        let key = &made["keys"][0];
        assert_eq!(key["public_key"].as_str().unwrap().len(), digits);
        assert_eq!((&key["labels"]["team"], &key["version"]), (&"a=b".into(), &1.into()));
        assert_eq!(key["protected"], true);
        assert_eq!(key["exportable"], false);
        let shown = folder.json(&["show", &id]);
        assert_eq!(&shown["key"], key);
        assert_eq!(shown["versions"].as_array().unwrap().len(), 1);
        let text = folder.kms(&["show", &id]).ok();
        assert!(text.contains("team=a=b") && text.contains(key_type), "{text}");
        assert_eq!(folder.public_key(&id), key["public_key"].as_str().unwrap());
    }
}

#[test]
fn many_keys_are_generated_or_none() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "b", "--type", "ed25519", "--count", "3"]).ok();
    assert_eq!(folder.ids(), ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]);
    let taken = folder.kms(&["generate", "c", "b/1", "--type", "ed25519"]);
    taken.fails(69, "key b/1 is in the store already");
    assert_eq!(folder.ids().len(), 6);
}

#[test]
fn what_is_no_key_is_refused_before_anything_is_touched() {
    let folder = Folder::empty();
    for args in [
        &["generate", "a", "--type", "rsa"][..],
        &["generate", "a"],
        &["generate", "a b", "--type", "ed25519"],
        &["generate", "../a", "--type", "ed25519"],
        &["generate", "a", "--type", "ed25519", "--label", "x"],
        &["generate", "a", "--type", "ed25519", "--label", "x=\u{1b}[2J"],
        &["generate", "a", "--type", "ed25519", "--count", "0"],
        &["generate", "a", "--type", "ed25519", "--count", "1000001"],
        &["generate", "a", "b", "--type", "ed25519", "--count", "1000000"],
        &["generate", "--type", "ed25519"],
        &["derive", "a", "--type", "ed25519", "--master", "m", "--path", "0/1"],
    ] {
        let run = folder.kms(args);
        assert_eq!(run.code, 64, "{args:?} {}", run.err);
    }
    folder.kms(&["generate", "a", "--type", "rsa"]).fails(64, "expected ed25519, secp256k1");
}

#[test]
fn lists_are_filtered_and_paged() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519", "--count", "3"]).ok();
    folder.kms(&["generate", "b", "--type", "bls12-381", "--count", "2"]).ok();
    folder.kms(&["disable", "a/1"]).ok();
    let ids = |args: &[&str]| {
        let list = folder.json(&[&["list"], args].concat());
        let keys = list["keys"].as_array().unwrap().iter();
        let ids: Vec<_> = keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect();
        (ids.join(" "), list["next"].as_str().map(str::to_owned))
    };
    let all = |text: &str| (text.to_owned(), None);
    assert_eq!(ids(&["--prefix", "a/"]), all("a/0 a/1 a/2"));
    assert_eq!(ids(&["--state", "disabled"]), all("a/1"));
    assert_eq!(ids(&["--type", "bls12-381"]), all("b/0 b/1"));
    assert_eq!(ids(&["--prefix", "c"]), all(""));
    assert_eq!(ids(&["--limit", "2"]), ("a/0 a/1".into(), Some("a/1".into())));
    assert_eq!(ids(&["--after", "a/1", "--limit", "3"]), all("a/2 b/0 b/1"));
    let page = folder.kms(&["list", "--limit", "2"]).ok();
    assert!(page.ends_with("There are more: add --after a/1\n"), "{page}");
    folder.kms(&["list", "--masters", "--prefix", "a"]).fails(64, "cannot be used with");
    folder.kms(&["list", "--limit", "0"]).fails(64, "0 is not in");
}

#[test]
fn rotating_makes_a_new_version_and_keeps_the_old() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "secp256k1"]).ok();
    let first = folder.public_key("a");
    let rotated = folder.json(&["rotate", "a"]);
    assert_eq!(rotated["keys"][0]["version"], 2);
    assert_ne!(folder.public_key("a"), first);
    assert_eq!(folder.kms(&["public-key", "a", "--version", "1"]).ok().trim(), first);
    folder.kms(&["public-key", "a", "--version", "3"]).fails(69, "no version 3");
    assert_eq!(folder.json(&["show", "a"])["versions"].as_array().unwrap().len(), 2);
    assert_eq!(folder.ids(), ["a"]);
    folder.kms(&["rotate", "b"]).fails(69, "there is no key b");
}

#[test]
fn verifying_proves_every_version() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "b", "--type", "bls12-381"]).ok();
    folder.kms(&["rotate", "a"]).ok();
    let verified = folder.json(&["verify"]);
    assert_eq!((&verified["keys"], &verified["versions"]), (&2.into(), &3.into()));
    assert_eq!(verified["problems"].as_array().unwrap().len(), 0);
    assert_eq!(folder.json(&["verify", "a"])["versions"], 2);
    assert!(folder.kms(&["verify"]).ok().contains("3 versions proved in 2 keys"));
    folder.kms(&["verify", "c"]).fails(69, "there is no key c");
    for args in [["show", "c"], ["public-key", "c"]] {
        folder.kms(&args).fails(69, "there is no key c");
    }
}
