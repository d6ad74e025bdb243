//! What was fetched, looked at as it lies there: how much it is, and that there is no link in it.

use std::fs;
use std::path::{Path, PathBuf};

use kapelle_types::limits::{UNPACKED_BYTES_MAX, UNPACKED_FILES_MAX};

use super::refused;
use crate::failure::Failure;

/// Refuses a folder that is too much, or in which anything is neither a file nor a folder.
pub(super) fn check(folder: &Path) -> Result<(), Failure> {
    let (mut bytes, mut count) = (0, 0);
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let about = fs::symlink_metadata(entry.path())?;
            (bytes, count) = (bytes + about.len(), count + 1);
            if about.is_dir() {
                open.push(entry.path());
            } else if !about.is_file() {
                let name = entry.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Err(refused(format!(
                    "`{name}` is neither a file nor a folder: links and devices are not taken."
                )));
            }
            if bytes > UNPACKED_BYTES_MAX || count > UNPACKED_FILES_MAX {
                let most = UNPACKED_BYTES_MAX >> 20;
                return Err(refused(format!("It is more than {UNPACKED_FILES_MAX} files and folders, or {most} MiB.")));
            }
        }
    }
    Ok(())
}

/// How much has come so far, of what is still being written: files that come and go while it is looked do not count.
pub(super) fn bytes(folder: &Path) -> u64 {
    let (mut bytes, mut open) = (0, vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match fs::symlink_metadata(entry.path()) {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => bytes += about.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_wherever_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), "12345").unwrap();
        assert!(check(folder.path()).is_ok());
        assert_eq!(bytes(folder.path()), 5);
        std::os::unix::fs::symlink("file", folder.path().join("a/link")).unwrap();
        assert!(check(folder.path()).unwrap_err().message().contains("`link`"));
    }
}
