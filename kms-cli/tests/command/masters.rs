//! Mnemonics, seeds, and keys derived from them.

use crate::support::{Folder, WORDS};

/// The public key of m/44'/60'/0'/0/0 from `abandon … about`, as every wallet shows it.
const ETHEREUM: &str = "0237b0bb7a8288d38ed49a524b5dc98cff3eb5ca824c9f9dc0dfdb3d9cd600f299";

#[test]
fn a_mnemonic_is_shown_only_when_asked_for() {
    let folder = Folder::new();
    let hidden = folder.kms(&["mnemonic", "new", "hidden"]).ok();
    assert_eq!(hidden, "made master hidden: a mnemonic of 24 words\n");
    let shown = folder.kms(&["mnemonic", "new", "shown", "--words", "12", "--show"]).ok();
    assert_eq!(shown.split_whitespace().count(), 12);
    folder.yes(&["export", "--master", "shown"]).fails(69, "was not made exportable");
    folder.kms(&["--json", "mnemonic", "new", "x", "--show"]).fails(64, "leave out --json");
    folder.kms(&["mnemonic", "new", "x", "--words", "13"]).fails(64, "12, 15, 18, 21 or 24");
    folder.kms(&["mnemonic", "new", "shown"]).fails(69, "master shown is in the store already");
    let masters = folder.json(&["list", "--masters"]);
    assert_eq!(masters["masters"][1]["id"], "shown");
    assert_eq!(masters["masters"][1]["words"], 12);
    assert_eq!(masters["masters"].as_array().unwrap().len(), 2);
}

#[test]
fn words_come_in_and_go_out() {
    let folder = Folder::new();
    folder.write("words", format!("{WORDS}\n"));
    let import = ["import", "--format", "mnemonic", "main", "words", "--exportable"];
    folder.kms(&import).ok();
    assert_eq!(folder.yes(&["export", "--master", "main"]).ok(), format!("{WORDS}\n"));
    folder.yes(&["export", "--master", "main", "--to", "out"]).ok();
    assert_eq!((folder.read("out"), folder.mode("out")), (format!("{WORDS}\n"), 0o600));
    let path = ["--master", "main", "--path", "m/44'/60'/0'/0/0"];
    let derive = [&["derive", "eth", "--type", "secp256k1"], &path[..]].concat();
    let key = folder.json(&derive)["keys"][0].clone();
    assert_eq!(key["public_key"], ETHEREUM);
    assert_eq!(key["derivation"]["path"], "m/44'/60'/0'/0/0");
    folder.kms(&["rotate", "eth"]).fails(69, "derived from a master");
}

#[test]
fn a_passphrase_gives_other_keys_and_is_not_exported() {
    let folder = Folder::new();
    folder.write("words", WORDS);
    folder.write("word25", "TREZOR");
    let import = ["import", "--format", "mnemonic", "main", "words", "--exportable"];
    folder.kms(&[&import[..], &["--mnemonic-passphrase-file", "word25"]].concat()).ok();
    let derive = ["derive", "eth", "--type", "secp256k1", "--master", "main", "--path"];
    let key = folder.json(&[&derive[..], &["m/44'/60'/0'/0/0"]].concat());
    assert_ne!(key["keys"][0]["public_key"], ETHEREUM);
    let export = folder.yes(&["export", "--master", "main"]);
    assert!(export.err.contains("a BIP-39 passphrase goes with the words"), "{}", export.err);
    assert!(!export.err.contains("TREZOR") && !export.out.contains("TREZOR"));
}

#[test]
fn seeds_come_in_and_go_out() {
    let folder = Folder::new();
    let seed = "000102030405060708090a0b0c0d0e0f";
    let import = ["import", "--format", "seed", "main", "-", "--exportable"];
    folder.pipe(&import, &format!("{seed}\n")).ok();
    assert_eq!(folder.yes(&["export", "--master", "main"]).ok(), format!("{seed}\n"));
    // SLIP-0010, test vector 1 for ed25519.
    let derive = ["derive", "a", "--type", "ed25519", "--master", "main", "--path", "m/0'"];
    let expected = "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c";
    assert_eq!(folder.json(&derive)["keys"][0]["public_key"], expected);
}

#[test]
fn bad_masters_and_paths_are_refused() {
    let folder = Folder::new();
    folder.write("words", WORDS.replace("about", "abandon"));
    folder.write("seed", "00");
    let import = |format, from| folder.kms(&["import", "--format", format, "main", from]);
    import("mnemonic", "words").fails(69, "words holds no master");
    import("seed", "seed").fails(69, "seed holds no master");
    import("seed", "words").fails(69, "not hexadecimal");
    let typed = ["import", "--format", "seed", "main", "seed", "--type", "ed25519"];
    folder.kms(&typed).fails(64, "neither --type nor --label");
    let derive = ["derive", "a", "--type", "ed25519", "--master", "main", "--path", "m/0"];
    folder.kms(&derive).fails(69, "step");
    let derive = ["derive", "a", "--type", "ed25519", "--master", "main", "--path", "m/0'"];
    folder.kms(&derive).fails(69, "there is no master main");
}
