//! Python packages, each in an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A package with pinned versions.
pub(crate) struct Package {
    /// The environment's folder.
    pub(crate) folder: &'static str,
    /// The lines of pip's requirements file.
    pub(crate) requirements: &'static str,
    /// About how much it is, for people.
    pub(crate) size: &'static str,
}

/// The environment with `package` below `folder`. One that was finished by an earlier run is used again.
pub(crate) fn install(folder: &Path, package: &Package) -> anyhow::Result<PathBuf> {
    let environment = folder.join(package.folder);
    // Written last, so that an installation that was cut off is begun anew.
    let finished = environment.join("installed.txt");
    if fs::read_to_string(&finished).is_ok_and(|text| text == package.requirements) {
        return Ok(environment);
    }
    eprintln!(
        "installing {} from PyPI ({}) into {}",
        package.requirements.split_whitespace().next().unwrap_or(package.folder),
        package.size,
        environment.display()
    );
    if environment.exists() {
        fs::remove_dir_all(&environment)
            .with_context(|| format!("can't clear {}", environment.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).context(
        "no Python environment could be made; on Debian, that takes the packages python3 and \
         python3-venv",
    )?;
    let requirements = environment.join("requirements.txt");
    fs::write(&requirements, package.requirements)?;
    let pip = environment.join("bin/pip");
    run(Command::new(pip)
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements))?;
    fs::write(finished, package.requirements)?;
    Ok(environment)
}

/// Where the environment's packages lie.
pub(crate) fn packages(environment: &Path) -> anyhow::Result<PathBuf> {
    let lib = environment.join("lib");
    let versions = fs::read_dir(&lib).with_context(|| format!("can't read {}", lib.display()))?;
    let mut packages = versions.flatten().map(|version| version.path().join("site-packages"));
    packages.find(|path| path.is_dir()).with_context(|| format!("{} is empty", lib.display()))
}

/// Runs a command to its end, which must be a good one. Standard output is for who evaluates it: what the
/// command says goes to standard error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    command.stdout(std::io::stderr());
    let status = command.status().with_context(|| format!("can't run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
