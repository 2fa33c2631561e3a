//! Work on large messages, which takes longer than the node's runtime is to be kept from other tasks.

use tokio::runtime::{Handle, RuntimeFlavor};

/// The bytes that are hashed or encoded in less time than a cheap signature takes.
const MEANWHILE: usize = 4096;

/// Does `work`, which takes time for each of so many bytes. Where they are many, other tasks of the calling
/// thread go on elsewhere meanwhile; a runtime of one thread has no elsewhere.
///
/// # Panics
/// Inside a `LocalSet`, for many bytes.
pub fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let flavor = || Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if bytes > MEANWHILE && matches!(flavor(), Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_meanwhile() {
        let (done, other) = mpsc::channel();
        let working = tokio::spawn(async move {
            tokio::spawn(async move { done.send(()).unwrap() });
            aside(MEANWHILE + 1, || other.recv())
        });
        working.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_is_done_where_there_is_no_elsewhere() {
        assert_eq!(aside(MEANWHILE + 1, || 7), 7);
        assert_eq!(std::thread::spawn(|| aside(MEANWHILE + 1, || 7)).join().unwrap(), 7);
    }
}
