//! Where the binaries are. `kapelle` belongs to another package, so cargo does not say: it lies beside the test's own
//! executable, and is built if it is missing or older than its sources.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Folders whose files are no part of the `kapelle` binary.
const FOREIGN: [&str; 6] = ["target", "tests", "examples", "docs", "benches", "node_modules"];
/// What cargo tells a test about its own package. A build of another one must not see it: build scripts depend on it, and
/// everything would be built twice.
const OF_THIS_PACKAGE: [&str; 6] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "OUT_DIR", "RUSTC"];

/// The `kapelle` binary of this workspace and profile. `KAPELLE_BIN` names another.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn kapelle() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("KAPELLE_BIN").map_or_else(built, PathBuf::from))
}

/// The worker whose agent does what its input says; cargo builds it together with the tests.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn scripted_worker() -> PathBuf {
    let path = profile_folder().join("scripted-worker");
    assert!(path.is_file(), "{} is not there; run the tests with cargo", path.display());
    path
}

/// `target/<profile>`: the test's executable lies in its `deps`.
pub(super) fn profile_folder() -> PathBuf {
    let exe = std::env::current_exe().expect("a process knows its executable");
    let folder = exe.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    folder.to_owned()
}

fn built() -> PathBuf {
    let folder = profile_folder();
    let binary = folder.join("kapelle");
    // Tests are processes under nextest: one of them builds, the others wait and find it fresh.
    let lock = File::create(folder.join(".e2e-build.lock")).expect("a lock file beside the tests");
    lock.lock().expect("the file system locks files");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    let newest = newest(workspace).expect("the sources can be read");
    if modified(&binary).is_none_or(|built| built < newest) {
        build(workspace, &folder);
        // Cargo leaves the binary alone if the newer files are not its own; then it is fresh all the same.
        let _ = File::options().append(true).open(&binary).and_then(|f| f.set_modified(newest));
    }
    binary
}

fn build(workspace: &Path, folder: &Path) {
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Together with a test, so that its dependencies have the features that the tests have already built them with.
    command.args(["build", "--workspace", "--bin", "kapelle", "--test", "tidy", "--profile", profile]);
    command.current_dir(workspace).env("CARGO_TARGET_DIR", folder.parent().unwrap_or(folder));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if OF_THIS_PACKAGE.iter().any(|prefix| name_text.starts_with(prefix)) && name_text != "RUSTC_WRAPPER" {
            command.env_remove(&name);
        }
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "kapelle cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// When the latest change of a source was.
fn newest(folder: &Path) -> std::io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let (entry, name) = entry.map(|e| (e.path(), e.file_name()))?;
        let name = name.to_string_lossy().into_owned();
        if entry.is_dir() {
            if !FOREIGN.contains(&name.as_str()) && !name.starts_with('.') {
                newest = newest.max(self::newest(&entry)?);
            }
        } else if [".rs", ".proto", ".toml", ".lock"].iter().any(|end| name.ends_with(end)) {
            newest = newest.max(modified(&entry).unwrap_or(newest));
        }
    }
    Ok(newest)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}
