//! What this process uses, measures and may use.

use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used, in microseconds: of all its threads, for itself and in
/// the kernel, as `getrusage` counts it.
pub fn cpu_micros() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
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
