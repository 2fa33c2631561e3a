//! What many keys in a store cost: to open and register them, to keep them in memory, to make them, to
//! list them.
//!
//! What is compared takes turns within one run, so that whatever else the machine does hits both
//! alike. Run it with `cargo bench -p kms-backend-keystore`; with `--test` it makes one tiny pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that can't set its scene has nothing better to do than to panic"
)]
#![allow(
    unreachable_pub,
    reason = "nothing of a benchmark is reachable; `pub` says what is for other files"
)]

#[path = "keystore/generate.rs"]
mod generate;
#[path = "keystore/list.rs"]
mod list;
#[path = "../../../kms-service/benches/signing/machine.rs"]
mod machine;
#[path = "keystore/memory.rs"]
mod memory;
#[path = "keystore/open.rs"]
mod open;
#[path = "keystore/scene.rs"]
mod scene;
#[path = "keystore/spread.rs"]
mod spread;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// How often each way is measured.
    pub turns: usize,
    /// Keys that are opened and made.
    pub keys: usize,
    /// Keys that are kept in memory and listed.
    pub many: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, store] = &arguments[..]
        && role == memory::ROLE
    {
        memory::register_all(store.as_ref());
        return;
    }
    // `cargo test` runs benches too, with `--test` or without `--bench`.
    let size = if arguments.iter().any(|argument| argument == "--bench") {
        Size { turns: 9, keys: 10_000, many: 100_000 }
    } else {
        Size { turns: 1, keys: 100, many: 300 }
    };
    println!("{}", machine::describe());
    println!("{} turns each; median (min - max)", size.turns);
    let ratios =
        [open::measure(size), generate::measure(size), list::measure(size), memory::measure(size)];
    println!();
    for (name, value) in ratios.concat() {
        println!("ratio keystore.{name} {value}");
    }
}
