//! The memory that registered keys take, measured in a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use kms_backend::KeySpec;
use kms_backend::PageRequest;
use kms_keys::KeyType;

use crate::Size;
use crate::scene::{folder, new_keys, open_backend, runtime, store_with};

/// The first argument of the process that is measured.
pub const ROLE: &str = "memory-of-registered-keys";

pub fn measure(size: Size) -> Vec<(String, String)> {
    let folder = folder();
    let keys = new_keys(size.many, KeyType::ALL);
    let path = store_with(folder.path(), "store", &keys);
    let program = std::env::current_exe().unwrap();
    let measured = Command::new(program).arg(ROLE).arg(&path).output().unwrap();
    assert!(measured.status.success(), "{measured:?}");
    let bytes: f64 = String::from_utf8(measured.stdout).unwrap().trim().parse().unwrap();
    let each = bytes / size.many as f64;
    println!("{:<58} {each:>9.0} bytes each", format!("{} registered keys in memory", size.many));
    vec![("bytes_per_key".into(), format!("{each:.0}"))]
}

/// Registers every key of a store, and keeps what a service keeps of it: the spec and the answer, by
/// id. Prints by how many bytes the resident memory has grown.
pub fn register_all(path: &Path) {
    let runtime = runtime();
    let before = resident();
    let backend = open_backend(&runtime, path);
    let mut registered = BTreeMap::new();
    let mut request = PageRequest::first(1000);
    loop {
        let page = runtime.block_on(backend.list(&request)).unwrap();
        for info in page.keys {
            let spec = KeySpec::new(info.id, info.key_type);
            let key = runtime.block_on(backend.register(&spec)).unwrap();
            registered.insert(spec.id.clone(), Box::new((spec, key)));
        }
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    println!("{}", resident() - before);
    drop(registered);
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
