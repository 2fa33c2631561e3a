//! The file that audit records are appended to: a whole line for each, whatever happens to the disk, and
//! always in the place that the settings name, also after somebody has moved the file away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rustix::fs::OFlags;
use tokio::sync::oneshot;

/// A thread that appends lines: nobody on the runtime's threads waits for the disk. It ends when this is
/// dropped and everything is written.
pub(crate) struct AuditFile {
    path: PathBuf,
    lines: mpsc::Sender<Line>,
}

struct Line {
    bytes: Vec<u8>,
    /// Who waits for it.
    written: Option<oneshot::Sender<io::Result<()>>>,
}

/// The file as it is open now.
struct Opened {
    path: PathBuf,
    file: File,
}

impl AuditFile {
    /// Opens the file at `path`, or makes it. Blocks for a moment.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut opened = Opened::open(path)?;
        Self::start(path, move |line| opened.append(line))
    }

    fn start(
        path: &Path,
        mut append: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel::<Line>();
        thread::Builder::new().name("kms-audit".into()).spawn(move || {
            for Line { bytes, written } in waiting {
                let result = if bytes.is_empty() { Ok(()) } else { append(&bytes) };
                let untold = match written {
                    Some(written) => written.send(result).err(),
                    None => Some(result),
                };
                if let Some(Err(error)) = untold {
                    tracing::error!(%error, "an audit record was lost");
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), lines })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line and waits until it is written.
    pub(crate) async fn append(&self, line: Vec<u8>) -> io::Result<()> {
        let (written, answer) = oneshot::channel();
        self.send(line, Some(written))?;
        answer.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits until every line so far is written, or lost.
    pub(crate) async fn written(&self) -> io::Result<()> {
        self.append(Vec::new()).await
    }

    /// Appends a line that nobody waits for.
    pub(crate) fn leave(&self, line: Vec<u8>) -> io::Result<()> {
        self.send(line, None)
    }

    fn send(
        &self,
        bytes: Vec<u8>,
        written: Option<oneshot::Sender<io::Result<()>>>,
    ) -> io::Result<()> {
        let sent = self.lines.send(Line { bytes, written });
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// A file on a disk that is full.
    #[cfg(test)]
    pub(crate) fn full() -> Self {
        let path = Path::new("/dev/full");
        let append = move |line: &[u8]| OpenOptions::new().append(true).open(path)?.write_all(line);
        Self::start(path, append).unwrap()
    }
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let options = &mut OpenOptions::new();
        // Read for the end of it alone.
        let options = options.read(true).append(true).create(true);
        let file = options.mode(0o600).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_in_place() {
            *self = Self::open(&self.path)?;
            tracing::info!(path = %self.path.display(), "the audit file was moved away: opened anew");
        }
        // Other backends may have the same file. Not every file system can lock.
        let is_alone = self.file.lock().is_ok();
        let written = self.write(line, is_alone);
        if is_alone {
            self.file.unlock()?;
        }
        written
    }

    /// Whether the path still leads to this file: it doesn't when somebody has rotated it.
    fn is_in_place(&self) -> bool {
        let place = |found: &std::fs::Metadata| (found.dev(), found.ino());
        match (self.path.symlink_metadata(), self.file.metadata()) {
            (Ok(there), Ok(here)) => place(&there) == place(&here),
            _ => false,
        }
    }

    /// Appends all of a line, or nothing where that can be undone.
    fn write(&mut self, line: &[u8], is_alone: bool) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let mut bytes = Vec::with_capacity(line.len() + 1);
        if self.is_torn(before)? {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        let written = self.file.write_all(&bytes);
        if written.is_err() && is_alone {
            let after = self.file.metadata()?.len();
            // A part of this line and nothing else.
            if (before..before + bytes.len() as u64).contains(&after) {
                self.file.set_len(before)?;
            }
        }
        written
    }

    /// Whether the file ends in the middle of a line, as after a power cut.
    fn is_torn(&self, len: u64) -> io::Result<bool> {
        let Some(last) = len.checked_sub(1) else { return Ok(false) };
        let mut byte = [0];
        let read = self.file.read_at(&mut byte, last)?;
        Ok(read == 1 && byte[0] != b'\n')
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tempfile::TempDir;

    use super::*;

    fn opened() -> (TempDir, PathBuf, Opened) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit.log");
        let opened = Opened::open(&path).unwrap();
        (folder, path, opened)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_in_its_place() {
        let (folder, path, mut opened) = opened();
        opened.append(b"1\n").unwrap();
        let rotated = folder.path().join("audit.log.1");
        fs::rename(&path, &rotated).unwrap();
        opened.append(b"2\n").unwrap();
        opened.append(b"3\n").unwrap();
        assert_eq!((text(&rotated).as_str(), text(&path).as_str()), ("1\n", "2\n3\n"));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);

        // By somebody who makes the new one.
        fs::rename(&path, &rotated).unwrap();
        fs::write(&path, "").unwrap();
        opened.append(b"4\n").unwrap();
        assert_eq!((text(&rotated).as_str(), text(&path).as_str()), ("2\n3\n", "4\n"));
        fs::remove_file(&path).unwrap();
        opened.append(b"5\n").unwrap();
        assert_eq!(text(&path), "5\n");
    }

    #[test]
    fn what_stands_in_its_place_must_be_a_file() {
        let (folder, path, mut opened) = opened();
        let other = folder.path().join("other");
        fs::rename(&path, &other).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        opened.append(b"1\n").unwrap_err();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        opened.append(b"2\n").unwrap_err();
        assert_eq!(text(&other), "");
        fs::remove_dir(&path).unwrap();
        opened.append(b"3\n").unwrap();
        assert_eq!(text(&path), "3\n");
    }

    #[test]
    fn what_was_cut_off_gets_no_other_line_s_text() {
        let (_folder, path, mut opened) = opened();
        fs::write(&path, "{\"half\":").unwrap();
        opened.append(b"1\n").unwrap();
        opened.append(b"2\n").unwrap();
        assert_eq!(text(&path), "{\"half\":\n1\n2\n");
    }

    /// On a full disk the system takes a part of a line. A limit on the size of files is such a disk; it is
    /// the process's, and without a shell that ignores its signal it would end the process.
    #[test]
    fn no_half_of_a_line_stays_on_a_full_disk() {
        const CHILD: &str = "AUDIT_ON_A_FULL_DISK";
        if std::env::var_os(CHILD).is_some() {
            return on_a_full_disk();
        }
        let name = "audit_file::tests::no_half_of_a_line_stays_on_a_full_disk";
        let mut scene = Command::new("sh");
        scene.args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture"]);
        scene.arg(std::env::current_exe().unwrap()).arg(name).env(CHILD, "1");
        let output = scene.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let cause = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("as it should be"), "{said}{cause}");
    }

    fn on_a_full_disk() {
        let (_folder, path, mut opened) = opened();
        opened.append(b"12345678\n").unwrap();
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(12), ..before }).unwrap();
        for _ in 0..2 {
            opened.append(b"23456789\n").unwrap_err();
            assert_eq!(text(&path), "12345678\n");
        }
        setrlimit(Resource::Fsize, before).unwrap();
        opened.append(b"34567890\n").unwrap();
        assert_eq!(text(&path), "12345678\n34567890\n");
        println!("as it should be");
    }
}
