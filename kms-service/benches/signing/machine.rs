//! Which machine this is.

use std::num::NonZero;
use std::process::Command;
use std::thread;

/// The processor, how many cores of it there are for us, and the compiler.
pub fn describe() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let rustc = Command::new("rustc").arg("-V").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok());
    let rustc = rustc.as_deref().map_or("unknown rustc", str::trim);
    format!("{model}, {} cores, {rustc}", cores())
}

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
