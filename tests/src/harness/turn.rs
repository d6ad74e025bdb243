//! One heavy test at a time, over all test processes of this target folder: two fleets under load on two cores would
//! measure each other.

use std::fs::File;

use super::binary::profile_folder;

/// The turn of a test that puts load on the machine; it ends with the value.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "the lock lives as long as its file is open")] File);

impl Turn {
    /// Waits for the turn.
    pub async fn take() -> Self {
        let file = File::create(profile_folder().join(".e2e-turn.lock")).expect("a lock file beside the tests");
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        Self(locked.expect("locking does not panic").expect("the file system locks files"))
    }
}
