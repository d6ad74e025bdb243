//! This machine: is there room on the disk that the embedded broker writes to?

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Check;

/// Less free space than this, in percent, should be looked at.
const FREE_PERCENT_WARN: u64 = 15;
/// With less than this nothing can be written for long.
const FREE_MIB_FAIL: u64 = 256;

/// The disk under the data folder, if that is there.
pub(super) fn disk(folder: &Path) -> Option<Check> {
    let about = statvfs(folder).ok()?;
    let (free, all) = (about.blocks_available(), about.blocks().max(1));
    let mib = free.saturating_mul(about.fragment_size()) >> 20;
    Some(verdict(&folder.display().to_string(), mib, free.saturating_mul(100) / all))
}

fn verdict(folder: &str, free_mib: u64, free_percent: u64) -> Check {
    const NAME: &str = "disk";
    let found = format!("{free_mib} MiB free ({free_percent} %) under {folder}");
    let hint = "Make room, or move the data folder with `--data-dir`: on a full disk new runs are refused.";
    match (free_mib, free_percent) {
        (..FREE_MIB_FAIL, _) => Check::fail(NAME, found, hint),
        (_, ..FREE_PERCENT_WARN) => Check::warn(NAME, found, hint),
        _ => Check::ok(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_full_disk_is_told_before_it_is_full() {
        assert_eq!(verdict("d", 100, 50).status, Verdict::Fail);
        assert_eq!(verdict("d", 5_000, 10).status, Verdict::Warn);
        assert_eq!(verdict("d", 50_000, 40).status, Verdict::Ok);
        assert_eq!(disk(Path::new("/no/such/folder")), None);
        assert!(disk(Path::new(".")).is_some());
    }
}
