//! The demo draws on the terminal, so its logs go to a file.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use kapelle_types::Code;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The file's name, in the demo's data folder.
pub(super) const FILE: &str = "kapelle.log";

/// Sends this process's logs to the file; what an earlier demo wrote there goes.
pub(super) fn to_file(path: &Path, filter: &str) -> Result<(), Failure> {
    let refused = |why: String| Failure::coded(Code::DATA_DIR, why, "Name another folder with `--data-dir`.");
    let file =
        File::create(path).map_err(|e| refused(format!("The log {} cannot be written: {e}.", path.display())))?;
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|e| Failure::usage(format!("`{filter}` is no log filter: {e}."), ""))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init()
        .map_err(|e| refused(e.to_string()))
}
