//! Fetching one commit of a repository with the `git` of this machine, which brings its own credentials and knows its hosts.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kapelle_types::limits::UNPACKED_BYTES_MAX;
use tokio::process::Command;
use tokio::time::{Instant, interval};

use super::{measure, refused};
use crate::failure::Failure;

/// How long it may take in all.
const TIME_MAX: Duration = Duration::from_secs(120);
/// How often it is looked how much has come: what is too much is noticed within a moment of a fast line.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Characters of what git says that an error shows.
const WORDS_CHARS_MAX: usize = 500;

/// Clones the newest commit into a folder that is not there yet; the commit's id. The history is not kept. `protocols` are
/// those that git may speak, divided by colons.
pub(super) async fn clone(url: &str, protocols: &str, into: &Path) -> Result<String, Failure> {
    let mut command = git();
    command.env("GIT_ALLOW_PROTOCOL", protocols);
    // No hooks and no filters come with a clone; of submodules and large files nothing is fetched.
    command.args([
        "clone",
        "--quiet",
        "--depth",
        "1",
        "--single-branch",
        "--no-tags",
        "--no-recurse-submodules",
        "--",
        url,
    ]);
    command.arg(into);
    let child = command.spawn().map_err(|e| refused(format!("`git` does not run here: {e}.")))?;
    let mut ended = Box::pin(child.wait_with_output());
    let (mut looks, until) = (interval(LOOK_EVERY), Instant::now() + TIME_MAX);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output?,
            _ = looks.tick() => {
                if measure::bytes(into) > UNPACKED_BYTES_MAX {
                    return Err(refused(format!("{url} is larger than {} MiB.", UNPACKED_BYTES_MAX >> 20)));
                }
            }
            () = tokio::time::sleep_until(until) => {
                return Err(refused(format!("{url} was not fetched within {} s.", TIME_MAX.as_secs())));
            }
        }
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        let words: String = words.trim().chars().take(WORDS_CHARS_MAX).collect();
        return Err(refused(format!("{url} cannot be cloned: {words}.")));
    }
    let head = git().arg("-C").arg(into).args(["rev-parse", "HEAD"]).output().await?;
    std::fs::remove_dir_all(into.join(".git"))?;
    Ok(String::from_utf8_lossy(&head.stdout).trim().to_owned())
}

/// Asks nobody, speaks to nothing but what the URL names, and ends with us.
fn git() -> Command {
    let mut command = Command::new("git");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_LFS_SKIP_SMUDGE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(folder: &Path, arguments: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
        let status = git().arg("-C").arg(folder).args(identity).args(arguments).status().await.unwrap();
        assert!(status.success(), "git {arguments:?}");
    }

    #[tokio::test]
    async fn a_commit_comes_without_its_history() {
        let folder = tempfile::tempdir().unwrap();
        let (origin, into) = (folder.path().join("origin"), folder.path().join("agent"));
        std::fs::create_dir(&origin).unwrap();
        std::fs::write(origin.join("main.py"), "print()").unwrap();
        for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
            run(&origin, arguments).await;
        }
        let url = format!("file://{}", origin.display());
        let refused = clone(&url, "https:ssh", &into).await.unwrap_err();
        assert!(refused.message().contains("not allowed"), "no other protocol: {refused:?}");
        let commit = clone(&url, "file", &into).await.unwrap();
        assert_eq!(commit.len(), 40, "{commit}");
        assert_eq!(std::fs::read_dir(&into).unwrap().count(), 1, "main.py, and no .git");
        let absent = clone(&format!("{url}-absent"), "file", &folder.path().join("b")).await.unwrap_err();
        assert!(absent.message().contains("cannot be cloned"), "{absent:?}");
    }
}
