//! What comes with the system: SoftHSM2's module, and the command `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::python::run;

/// Where distributions put SoftHSM2's module.
const MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// SoftHSM2's module.
pub(crate) fn softhsm2() -> anyhow::Result<PathBuf> {
    if let Some(module) = module() {
        return Ok(module);
    }
    install("softhsm2")?;
    module().with_context(|| format!("no SoftHSM2 module at any of {MODULES:?}"))
}

/// A configuration of SoftHSM2 whose tokens lie below `folder`, without any token. Each test makes its own.
pub(crate) fn token_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join("softhsm2");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't clear {}", folder.display()))?;
    }
    let tokens = folder.join("tokens");
    fs::create_dir_all(&tokens)?;
    let configuration = folder.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&configuration, text)?;
    Ok(configuration)
}

/// Has the command `openssl` there.
pub(crate) fn openssl() -> anyhow::Result<()> {
    let found = Command::new("openssl").arg("version").output();
    if found.is_ok_and(|output| output.status.success()) { Ok(()) } else { install("openssl") }
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

fn install(package: &str) -> anyhow::Result<()> {
    eprintln!("installing {package} from the system's packages");
    anyhow::ensure!(
        is_root(),
        "{package} is missing, and only root can install it: apt-get install {package}"
    );
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["update", "--quiet"]))?;
    run(apt().args(["install", "--yes", "--quiet", "--no-install-recommends", package]))
}
