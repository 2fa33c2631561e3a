//! A token of SoftHSM2.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How many tokens a test program may use.
const POOL: usize = 12;

/// A token of the test's own, with user PIN [`SoftHsm::PIN`]; destroyed when dropped.
///
/// The module, which the environment variable `KMS_PEER_SOFTHSM2` names, reads the file that
/// `SOFTHSM2_CONF` names when it is initialised, once in a process: so all tests' tokens lie in one folder.
pub struct SoftHsm {
    label: String,
    folder: PathBuf,
}

impl SoftHsm {
    /// The user PIN.
    pub const PIN: &str = "2468";

    /// A new token.
    ///
    /// # Panics
    /// When a test program asks for more than a dozen.
    #[must_use]
    pub fn start() -> Self {
        // A process sees no token that is made after it has initialised the module.
        static POOL_LEFT: LazyLock<Mutex<Vec<SoftHsm>>> =
            LazyLock::new(|| Mutex::new((0..POOL).map(SoftHsm::make).collect()));
        let token = POOL_LEFT.lock().unwrap_or_else(PoisonError::into_inner).pop();
        token.expect("no token is left in the pool")
    }

    fn make(number: usize) -> Self {
        let _alone = alone();
        let label = format!("test-{}-{number}", std::process::id());
        let made = util(&[
            "--init-token",
            "--free",
            "--label",
            &label,
            "--so-pin",
            "13579",
            "--pin",
            Self::PIN,
        ]);
        assert!(made.contains("initialized"), "{made}");
        let slots = util(&["--show-slots"]);
        let token =
            slots.split("\nSlot ").find(|slot| slot.contains(&format!("{label} "))).unwrap();
        let serial = token.lines().find_map(|line| line.trim().strip_prefix("Serial number:"));
        let serial = serial.unwrap().trim().to_owned();
        let folders = std::fs::read_dir(tokens()).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |folder: &PathBuf| {
            let name = folder.file_name().unwrap().to_str().unwrap().replace('-', "");
            name.ends_with(&serial)
        };
        Self { label, folder: folders.into_iter().find(is_it).unwrap() }
    }

    /// The module.
    #[must_use]
    pub fn module() -> PathBuf {
        let module = std::env::var_os("KMS_PEER_SOFTHSM2");
        module.expect("KMS_PEER_SOFTHSM2 is not set: run `cargo xtask test`").into()
    }

    /// A module that is this one, but for signing and decrypting, which hang while the file that the
    /// environment variable `HANG_WHILE` names exists, for logging in, which adds a byte to the one of
    /// `COUNT_LOGINS` each time, and for what it does wrong while other files exist: it answers logins with the
    /// hexadecimal return value in it (`LOGIN_ANSWERS`), takes no private keys (`NO_PRIVATE_KEYS_WHILE`),
    /// changes no attributes (`NO_CHANGES_WHILE`), has no mechanism for key pairs (`NO_KEY_PAIRS_WHILE`), gives
    /// bent signatures (`BEND_WHILE`), can't be initialised (`NOT_INITIALIZED_WHILE`), says that one more wrong
    /// PIN locks a token (`FINAL_TRY_WHILE`), destroys objects and says that the token was taken out
    /// (`DESTROYED_IN_SILENCE_WHILE`), needs 5 ms to sign and 200 ms to make a key pair (`SLOW_WHILE`). In the folder
    /// that `HOLD_NEXT_IN` names, a file `next` has it hold the next AES key back: it is `held` from then on until
    /// that file is removed, and `done` when the key is made. `FAULTY_MODULE` must name the module. Built in `folder`
    /// by the system's C compiler.
    #[must_use]
    pub fn faulty_module(folder: &Path) -> PathBuf {
        let (source, module) = (folder.join("faulty.c"), folder.join("libfaulty.so"));
        std::fs::write(&source, include_str!("faulty_module.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&module).arg(&source).arg("-ldl");
        assert!(compiler.status().unwrap().success());
        module
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Takes the token out.
    pub fn remove(&self) {
        let _alone = alone();
        std::fs::rename(&self.folder, self.elsewhere()).unwrap();
    }

    /// Puts it in again.
    pub fn insert(&self) {
        // SoftHSM2 looks at its files again when this number has changed.
        let generation = self.elsewhere().join("generation");
        let number: [u8; 8] = std::fs::read(&generation).unwrap().try_into().unwrap();
        let next = u64::from_be_bytes(number) + 1;
        let _alone = alone();
        std::fs::write(&generation, next.to_be_bytes()).unwrap();
        std::fs::rename(self.elsewhere(), &self.folder).unwrap();
    }

    fn elsewhere(&self) -> PathBuf {
        let name = self.folder.file_name().unwrap();
        tokens().parent().unwrap().join(format!("removed-{}", name.to_str().unwrap()))
    }
}

impl Drop for SoftHsm {
    fn drop(&mut self) {
        let _alone = alone();
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir_all(self.elsewhere());
    }
}

fn tokens() -> PathBuf {
    let file = std::env::var_os("SOFTHSM2_CONF");
    let file = file.expect("SOFTHSM2_CONF is not set: run `cargo xtask test`");
    let text = std::fs::read_to_string(file).unwrap();
    let folder = text.lines().find_map(|line| line.strip_prefix("directories.tokendir = "));
    Path::new(folder.unwrap()).to_owned()
}

/// Holds a lock on the folder's tokens, until the file is dropped: `softhsm2-util` looks at all of them, and fails
/// when another test program takes its own away meanwhile.
fn alone() -> File {
    let lock = File::create(tokens().parent().unwrap().join("tokens.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

fn util(arguments: &[&str]) -> String {
    let output = Command::new("softhsm2-util").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
