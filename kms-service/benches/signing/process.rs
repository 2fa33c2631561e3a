//! What this process uses, measures and may use.

use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use rustix::param::clock_ticks_per_second;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used, or that one of many things took, in microseconds: of all
/// its threads.
#[derive(Clone, Copy)]
pub struct Used {
    /// In all, as `getrusage` counts it.
    pub micros: f64,
    /// In the kernel, counted in its ticks.
    pub kernel_micros: f64,
}

impl Used {
    pub fn now() -> Self {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let micros = spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3;
        // proc_pid_stat(5): the second field ends with the last parenthesis, and stime is the 15th.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: f64 = fields.split_whitespace().nth(12).unwrap().parse().unwrap();
        Self { micros, kernel_micros: ticks * 1e6 / clock_ticks_per_second() as f64 }
    }

    /// For each of so many things that were done since.
    pub fn each(self, done: f64) -> Self {
        let now = Self::now();
        Self {
            micros: (now.micros - self.micros) / done,
            kernel_micros: (now.kernel_micros - self.kernel_micros) / done,
        }
    }
}

/// Has what the service measures recorded for the rest of the run, and emptied into its buckets every
/// second, as a node does it.
pub fn record_metrics() {
    let buckets = [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let builder = PrometheusBuilder::new().set_buckets(&buckets).unwrap();
    let recorder = builder.install_recorder().unwrap();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            recorder.run_upkeep();
        }
    });
}

/// Leaves only the first `cores` cores that this thread may use to each thread of this process, while
/// `work` is done.
pub fn on_cores<T>(cores: usize, work: impl FnOnce() -> T) -> T {
    let all = sched_getaffinity(None).unwrap();
    let mut some = CpuSet::new();
    let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
    allowed.take(cores).for_each(|cpu| some.set(cpu));
    set_affinity(&some);
    let done = work();
    set_affinity(&all);
    done
}

fn set_affinity(cpus: &CpuSet) {
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let id = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // It may have ended since.
        let _ = sched_setaffinity(Pid::from_raw(id), cpus);
    }
}
