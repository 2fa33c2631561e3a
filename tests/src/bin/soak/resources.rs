//! Memory, open files and threads of this process, and whether they grow.

use std::time::Duration;

/// What is used at one time.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) at: Duration,
    pub(crate) rss_kib: u64,
    pub(crate) files: u64,
    pub(crate) threads: u64,
}

impl Used {
    pub(crate) fn now(at: Duration) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        Self { at, rss_kib: field("VmRSS:"), files, threads: field("Threads:") }
    }
}

/// Whether one of them is flat: its median in the first quarter of the time after the warm-up, and in the
/// last.
pub(crate) struct Flat {
    pub(crate) what: &'static str,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The most that the last may be.
    pub(crate) allowed: u64,
}

impl Flat {
    pub(crate) fn holds(&self) -> bool {
        self.last <= self.allowed
    }
}

/// The part of the time that isn't looked at: caches fill, threads are made.
const WARM_UP: f64 = 0.2;

/// Shorter than this after the warm-up, growth can't be told from chance.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// What the samples say; nothing, where the time was too short for it.
pub(crate) fn flat(samples: &[Used]) -> Option<[Flat; 3]> {
    let end = samples.last()?.at;
    let begin = end.mul_f64(WARM_UP);
    let warm = end - begin;
    if warm < LONG_ENOUGH {
        return None;
    }
    let quarter = |from: f64| {
        let (from, to) = (begin + warm.mul_f64(from), begin + warm.mul_f64(from + 0.25));
        move |used: &&Used| used.at >= from && used.at <= to
    };
    let median = |from: f64, of: fn(&Used) -> u64| {
        let mut values: Vec<u64> = samples.iter().filter(quarter(from)).map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let both = |of: fn(&Used) -> u64| Some((median(0.0, of)?, median(0.75, of)?));
    let (rss, files, threads) =
        (both(|used| used.rss_kib)?, both(|used| used.files)?, both(|used| used.threads)?);
    Some([
        // A tenth and 2 MiB: the allocator gives memory back when it likes.
        Flat { what: "RSS (KiB)", first: rss.0, last: rss.1, allowed: rss.0 * 11 / 10 + 2048 },
        Flat { what: "open files", first: files.0, last: files.1, allowed: files.0 + 2 },
        // Those of the lanes are made when there is work for them.
        Flat { what: "threads", first: threads.0, last: threads.1, allowed: threads.0 + 2 },
    ])
}
