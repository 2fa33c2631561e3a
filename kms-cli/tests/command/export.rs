//! Secrets that leave the store and come back.

use crate::support::{Folder, PASSPHRASE, SECRET};

fn with_keys() -> Folder {
    let folder = Folder::new();
    for key_type in ["ed25519", "secp256k1", "bls12-381"] {
        folder.kms(&["generate", key_type, "--type", key_type, "--exportable"]).ok();
    }
    folder.write("pass", PASSPHRASE);
    folder
}

#[test]
fn what_goes_out_comes_back_the_same() {
    let folder = with_keys();
    let encrypted = &["--new-passphrase-file", "pass"][..];
    let decrypted = &["--from-passphrase-file", "pass"][..];
    for (index, (key_type, format, new, from)) in [
        ("ed25519", "hex", &[][..], &[][..]),
        ("secp256k1", "hex", &[], &[]),
        ("bls12-381", "hex", &[], &[]),
        ("ed25519", "pem", &[], &[]),
        ("secp256k1", "pem", &[], &[]),
        ("ed25519", "pem", encrypted, decrypted),
        ("secp256k1", "pem", encrypted, decrypted),
        ("bls12-381", "eip2335", encrypted, decrypted),
    ]
    .into_iter()
    .enumerate()
    {
        let file = format!("out-{index}");
        let export = ["export", key_type, "--format", format, "--to", &file];
        let run = folder.yes(&[&export[..], new].concat());
        assert_eq!(run.out, format!("exported key {key_type} to {file}\n"), "{}", run.err);
        assert_eq!(folder.mode(&file), 0o600);
        let id = format!("back/{index}");
        let import = ["import", &id, &file, "--type", key_type];
        folder.kms(&[&import[..], from].concat()).ok();
        assert_eq!(folder.public_key(&id), folder.public_key(key_type));
    }
}

#[test]
fn standard_output_gets_the_secret_alone() {
    let folder = Folder::new();
    folder.pipe(&["import", "a", "--type", "ed25519", "--exportable", "-"], SECRET).ok();
    let out = folder.yes(&["export", "a", "--to", "-"]).ok();
    assert_eq!(out, format!("{SECRET}\n"));
    folder.yes(&["--json", "export", "a", "--to", "-"]).fails(64, "leave out --json");
    let exported = folder.json(&["export", "a", "--to", "file"]);
    assert_eq!(exported["file"], "file");
    assert!(!exported.to_string().contains(SECRET));
}

#[test]
fn versions_are_exported_by_their_number() {
    let folder = with_keys();
    folder.kms(&["rotate", "ed25519"]).ok();
    let export =
        |version: &str| folder.yes(&["export", "ed25519", "--version", version, "--to", "-"]);
    assert_ne!(export("1").ok(), export("2").ok());
    export("3").fails(69, "has no version 3");
}

#[test]
fn only_what_was_made_exportable_is_exported() {
    let folder = Folder::new();
    folder.kms(&["generate", "a", "--type", "ed25519"]).ok();
    folder.yes(&["export", "a", "--to", "out"]).fails(69, "was not made exportable");
    assert!(!folder.path("out").exists());
    folder.yes(&["export", "b", "--to", "out"]).fails(69, "there is no key b");
    folder.yes(&["export", "--master", "m"]).fails(69, "there is no master m");
}

#[test]
fn formats_that_a_key_does_not_have_are_refused() {
    let folder = with_keys();
    let export = |key_type, format| {
        let args = ["export", key_type, "--format", format, "--to", "out"];
        folder.yes(&[&args[..], &["--new-passphrase-file", "pass"]].concat())
    };
    export("bls12-381", "pem").fails(69, "no PKCS#8 or SPKI form");
    export("ed25519", "eip2335").fails(69, "EIP-2335 is for bls12-381");
    export("ed25519", "hex").fails(64, "can be encrypted");
    let eip2335 = ["export", "bls12-381", "--format", "eip2335", "--to", "out"];
    folder.yes(&eip2335).fails(64, "no terminal to ask for the passphrase");
    folder.yes(&["export", "ed25519"]).fails(64, "--to");
    folder.yes(&["export"]).fails(64, "required");
    assert!(!folder.path("out").exists());
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = with_keys();
    folder.write("out", "precious");
    folder.yes(&["export", "ed25519", "--to", "out"]).fails(69, "out exists already");
    assert_eq!(folder.read("out"), "precious");
}
