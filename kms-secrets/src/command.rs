//! A passphrase that another program prints, such as the client of a password store.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

use crate::{SecretBytes, fill};

/// How often a program that has closed its output is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a program gave no secret. Holds neither its output nor its arguments.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such program.
    #[error("program {} is not found", program.display())]
    Missing {
        /// The program.
        program: PathBuf,
    },
    /// The program is there and can't be started.
    #[error("program {} can't be started", program.display())]
    Unstartable {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The program had not ended, or something that it started still held its output. They have been
    /// killed.
    #[error("program {} was not done after {limit:?} and was killed", program.display())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// The program says by its exit status that it failed, or was ended by a signal.
    #[error("program {} failed: {status}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The program printed more than was allowed. It has been killed.
    #[error("program {} printed more than {limit} bytes", program.display())]
    TooLarge {
        /// The program.
        program: PathBuf,
        /// The most bytes that were allowed.
        limit: usize,
    },
    /// The program's output or end could not be waited for. It has been killed.
    #[error("the output of program {} can't be read", program.display())]
    Unreadable {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// What `program` prints with `args`, at most `limit` bytes, if it then succeeds. Blocks until it has
/// ended, at most for `timeout`.
///
/// No shell is in between. The program gets this process's environment (without what
/// [`environment::take`](crate::environment::take) took out of it), an empty standard input, and this
/// process's standard error, where its own diagnostics belong: they are neither read nor quoted in
/// an error. It runs in a process group of its own, so that it can be killed together with what it
/// started; therefore it can't ask on the terminal.
pub(crate) fn read(
    program: &Path,
    args: &[String],
    limit: usize,
    timeout: Duration,
) -> Result<SecretBytes, CommandError> {
    let timer = Timer { started: Instant::now(), timeout };
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::TimedOut => {
            CommandError::TimedOut { program: program.into(), limit: timeout }
        }
        _ => CommandError::Unreadable { program: program.into(), cause },
    };

    let mut running = Running::start(program, args)?;
    let output = running.output(limit, &timer).map_err(failed)?;
    let output = output.ok_or_else(|| CommandError::TooLarge { program: program.into(), limit })?;
    let status = running.end(&timer).map_err(failed)?;
    if status.success() {
        Ok(output)
    } else {
        Err(CommandError::Failed { program: program.into(), status })
    }
}

struct Timer {
    started: Instant,
    timeout: Duration,
}

impl Timer {
    /// How much time is left, unless none is.
    fn left(&self) -> io::Result<Duration> {
        self.timeout
            .checked_sub(self.started.elapsed())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// A program that runs. Unless its end has been seen, dropping it kills it with its whole process
/// group and waits for it.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn start(program: &Path, args: &[String]) -> Result<Self, CommandError> {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::NotFound => CommandError::Missing { program: program.into() },
                _ => CommandError::Unstartable { program: program.into(), cause },
            })?;
        Ok(Self { child, ended: false })
    }

    /// All that is printed until everybody has closed the pipe; `None` if that is over `limit`.
    fn output(&mut self, limit: usize, timer: &Timer) -> io::Result<Option<SecretBytes>> {
        let Some(mut pipe) = self.child.stdout.take() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        fill::to_end(limit, |buffer| {
            let mut ready = [PollFd::new(&pipe, PollFlags::IN)];
            // Only what no system can count to is refused, and that is as good as no limit.
            let left = Timespec::try_from(timer.left()?).ok();
            match poll(&mut ready, left.as_ref())? {
                0 => Err(io::ErrorKind::TimedOut.into()),
                _ => pipe.read(buffer),
            }
        })
    }

    /// Waits for the program's end. There is no waiting with a limit that every kernel and sandbox
    /// has, and a program that has closed its output ends at once as a rule.
    fn end(&mut self, timer: &Timer) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(status);
            }
            thread::sleep(timer.left()?.min(PAUSE));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Nobody has waited for the child yet, so its number is still its own, and its group's too.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process_group(group, Signal::KILL);
        }
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const LIMIT: usize = 64;

    fn run(program: &str, args: &[&str], timeout: Duration) -> Result<SecretBytes, CommandError> {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        read(Path::new(program), &args, LIMIT, timeout)
    }

    fn shell(script: &str, timeout: Duration) -> Result<SecretBytes, CommandError> {
        run("sh", &["-c", script], timeout)
    }

    const LONG: Duration = Duration::from_secs(20);
    /// Long enough for a busy machine to start a program.
    const SHORT: Duration = Duration::from_secs(2);

    /// Runs `script` with the `$file` where it notes the numbers of its processes, and says which of
    /// them still run, or have ended and were never waited for by this process.
    fn left_behind(script: &str, timeout: Duration) -> (Result<SecretBytes, CommandError>, usize) {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("processes");
        let result = run("sh", &["-c", script, "sh", file.to_str().unwrap()], timeout);
        let noted = fs::read_to_string(&file).unwrap();
        assert!(!noted.is_empty(), "the check can't fail");
        (result, noted.lines().filter(|process| is_left(process)).count())
    }

    fn is_left(process: &str) -> bool {
        // What is killed is gone a moment later.
        for _ in 0..200 {
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
                return false;
            };
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            let (state, parent) = (fields[0], fields[1]);
            // An orphan is waited for by somebody else.
            if state == "Z" && parent != std::process::id().to_string() {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }

    #[test]
    fn what_a_program_prints_is_read() {
        assert_eq!(shell("printf 'a b\\n'; exec >&-; sleep 0.1", LONG).unwrap().expose(), b"a b\n");
        assert_eq!(run("echo", &["$HOME *"], LONG).unwrap().expose(), b"$HOME *\n");
        assert_eq!(shell("printf %064d 0", LONG).unwrap().len(), LIMIT);
    }

    #[test]
    fn a_program_that_prints_nothing_gives_nothing() {
        assert!(run("true", &[], LONG).unwrap().is_empty());
    }

    #[test]
    fn a_program_has_no_input() {
        assert_eq!(shell("cat; printf end", LONG).unwrap().expose(), b"end");
    }

    #[test]
    fn a_program_has_this_process_s_environment() {
        assert!(!shell("printf %.60s \"$PATH\"", LONG).unwrap().is_empty());
    }

    #[test]
    fn a_missing_program_is_told_from_one_that_is_none() {
        let error = run("kms-no-such-program", &[], LONG).unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error:?}");
        assert_eq!(error.to_string(), "program kms-no-such-program is not found");
        let error = run("/dev/null", &["a secret"], LONG).unwrap_err();
        assert!(matches!(error, CommandError::Unstartable { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("a secret"));
    }

    #[test]
    fn a_failing_program_is_named_with_its_status_and_its_output_not_shown() {
        let (result, left) = left_behind("echo $$ >$1; printf 'a secret'; exit 3", LONG);
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "program sh failed: exit status: 3");
        assert!(!format!("{error:?}").contains("a secret"));
        assert_eq!(left, 0);
        let error = shell("printf x; kill -KILL $$", LONG).unwrap_err();
        assert_eq!(error.to_string(), "program sh failed: signal: 9 (SIGKILL)");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        for script in ["echo $$ >$1; exec sleep 60", "echo $$ >$1; exec >&-; sleep 60"] {
            let started = Instant::now();
            let (result, left) = left_behind(script, SHORT);
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "program sh was not done after 2s and was killed");
            assert!(started.elapsed() < LONG, "{script}");
            assert_eq!(left, 0, "{script}");
        }
    }

    #[test]
    fn what_a_program_leaves_holding_its_output_is_killed() {
        for script in [
            "echo $$ >$1; sleep 60 & echo $! >>$1; printf secret",
            "echo $$ >$1; sleep 60 & echo $! >>$1; sleep 60",
        ] {
            let (result, left) = left_behind(script, SHORT);
            assert!(matches!(result, Err(CommandError::TimedOut { .. })), "{result:?}");
            assert_eq!(left, 0, "{script}");
        }
    }

    #[test]
    fn a_program_that_prints_too_much_is_killed() {
        let (result, left) = left_behind("echo $$ >$1; printf %065d 0; exec sleep 60", LONG);
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "program sh printed more than 64 bytes");
        assert_eq!(left, 0);
        let (result, left) = left_behind("echo $$ >$1; exec cat /dev/zero", LONG);
        assert!(matches!(result, Err(CommandError::TooLarge { .. })), "{result:?}");
        assert_eq!(left, 0);
    }

    #[test]
    fn no_time_is_too_little_and_any_time_is_possible() {
        let result = run("echo", &["x"], Duration::ZERO);
        assert!(matches!(result, Err(CommandError::TimedOut { .. })), "{result:?}");
        assert_eq!(run("echo", &["x"], Duration::MAX).unwrap().expose(), b"x\n");
    }
}
