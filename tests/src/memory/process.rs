//! All readable memory of another process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::Search;

const PAGE: usize = 4096;

/// What a mapping of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The first thread's heap.
    Heap,
    /// The first thread's stack.
    Stack,
    /// Writable, and of no file: other threads' heaps and stacks, and large allocations.
    Anonymous,
    /// Files, read-only data, and what the kernel maps.
    Other,
}

/// A needle that lies in memory.
#[derive(Clone, Debug)]
pub struct Found {
    /// The needle's name.
    pub needle: String,
    /// Where it begins.
    pub address: u64,
    /// The mapping that this is in.
    pub mapping: String,
}

/// What was read of a process's memory, and found there.
pub struct Reading {
    /// The needles that lie there.
    pub found: Vec<Found>,
    /// Of each area, the bytes that were read and those that may be read according to the kernel.
    pub areas: BTreeMap<Area, (usize, usize)>,
}

impl Search<'_> {
    /// Reads all memory of process `pid` that it could read itself, while it stands still.
    ///
    /// # Panics
    /// If there is no heap, stack or other memory, or a hundredth of one of these can't be read. A mapping
    /// that can't be read at once is read page by page.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Reading {
        let _stopped = Stopped::new(pid);
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut reading = Reading { found: Vec::new(), areas: BTreeMap::new() };
        for mapping in maps.lines().filter_map(Mapping::readable) {
            let (bytes, read) = mapping.read(&memory);
            let area = reading.areas.entry(mapping.area).or_default();
            area.0 += read;
            area.1 += bytes.len();
            reading.found.extend(self.of(&bytes).into_iter().map(|(at, needle)| Found {
                needle: needle.to_owned(),
                address: mapping.from + at as u64,
                mapping: mapping.name.to_owned(),
            }));
        }
        for area in [Area::Heap, Area::Stack, Area::Anonymous, Area::Other] {
            let (read, all) = reading.areas.get(&area).copied().unwrap_or_default();
            assert!(read > all / 100 * 99, "of {area:?} {read} of {all} bytes were read");
        }
        reading
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needles in", self.found.len())?;
        for (area, (read, all)) in &self.areas {
            write!(f, " {area:?} {read}/{all}")?;
        }
        for Found { needle, address, mapping } in &self.found {
            write!(f, "\n{needle} at {address:#x} in {mapping}")?;
        }
        Ok(())
    }
}

struct Mapping<'a> {
    from: u64,
    len: usize,
    area: Area,
    name: &'a str,
}

impl<'a> Mapping<'a> {
    /// What a line of `/proc/PID/maps` (proc_pid_maps(5)) says, if it is about memory that can be read.
    fn readable(line: &'a str) -> Option<Self> {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = words[0].split_once('-').unwrap();
        let (from, to) = (number(from), number(to));
        let (rights, path) = (words[1], words.get(5).copied());
        let area = match path {
            Some("[heap]") => Area::Heap,
            Some("[stack]") => Area::Stack,
            None if rights.starts_with("rw") => Area::Anonymous,
            Some(path) if rights.starts_with("rw") && path.starts_with("[anon") => Area::Anonymous,
            _ => Area::Other,
        };
        let len = usize::try_from(to - from).unwrap();
        let name = path.unwrap_or(words[0]);
        rights.starts_with('r').then_some(Self { from, len, area, name })
    }

    /// Its bytes, zeros where there are none to be had, and how many were read.
    fn read(&self, memory: &File) -> (Vec<u8>, usize) {
        let mut bytes = vec![0; self.len];
        if memory.read_exact_at(&mut bytes, self.from).is_ok() {
            return (bytes, self.len);
        }
        let mut read = 0;
        for (page, at) in bytes.chunks_mut(PAGE).zip((self.from..).step_by(PAGE)) {
            match memory.read_exact_at(page, at) {
                Ok(()) => read += page.len(),
                Err(_) => page.fill(0),
            }
        }
        (bytes, read)
    }
}

/// A process none of whose threads runs, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(id: u32) -> Self {
        let pid = Pid::from_raw(id.cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let stopped = Self(pid);
        let state = |path: &Path| {
            let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        let process = PathBuf::from(format!("/proc/{id}"));
        let threads = process.join("task");
        while fs::read_dir(&threads).unwrap().any(|one| state(&one.unwrap().path()) != Some('T')) {
            assert_ne!(state(&process), Some('Z'), "the process has died");
            std::thread::yield_now();
        }
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}
