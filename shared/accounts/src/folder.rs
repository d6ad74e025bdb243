//! Files with keys: written once, for their owner alone, whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nkeys::KeyPair;

use crate::Error;

/// Makes a folder that nobody else may look into.
pub(crate) fn make(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Error::folder(path, e))
}

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, content: &str) -> Result<(), Error> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| Error::folder(path, e))?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| Error::folder(path, e))
}

/// Writes a file, over the one that is there: readers see the old one or the new one.
pub(crate) fn write(path: &Path, content: &str) -> Result<(), Error> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::folder(&beside, error)),
        _ => write_new(&beside, content)?,
    }
    fs::rename(&beside, path).map_err(|e| Error::folder(path, e))
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::folder(path, e))
}

/// Writes the seed of a key.
pub(crate) fn write_key(path: &Path, key: &KeyPair) -> Result<(), Error> {
    let seed = key.seed().map_err(|e| Error::folder(path, e))?;
    write_new(path, &format!("{seed}\n"))
}

/// Reads a key by its seed.
pub(crate) fn read_key(path: &Path) -> Result<KeyPair, Error> {
    KeyPair::from_seed(read(path)?.trim()).map_err(|e| Error::folder(path, e))
}

/// Holds the folder until it is dropped: two who write a record at once would lose one's changes.
pub(crate) fn hold(path: &Path) -> Result<File, Error> {
    let file =
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|e| Error::folder(path, e))?;
    file.lock().map_err(|e| Error::folder(path, e))?;
    Ok(file)
}
