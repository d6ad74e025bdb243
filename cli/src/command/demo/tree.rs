//! The dependency tree that is taken in: a cargo or an npm project, and what its package manager says about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use kapelle_types::{Code, FolderName, InvalidName};
use serde_json::{Value, json};
use tokio::process::Command;

use super::input;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::absolute;

/// Lines of cargo's complaint that are shown.
const COMPLAINT_LINES_MAX: usize = 12;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// Its folder holds a Cargo.toml.
    Cargo {
        /// The folder.
        root: PathBuf,
    },
    /// Its folder holds a package-lock.json or npm-shrinkwrap.json.
    Npm {
        /// The folder.
        root: PathBuf,
        /// The lock file, if it is called otherwise or was named.
        lockfile: Option<PathBuf>,
    },
}

impl Tree {
    /// The tree in a folder, or that a manifest or lock file belongs to.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        let path = absolute(path)
            .map_err(|f| f.hint("`--input` takes a folder or a lock file; with make: `make demo INPUT=PATH`."))?;
        if path.is_dir() {
            if path.join("Cargo.toml").is_file() {
                return Ok(Self::Cargo { root: path });
            }
            if ["package-lock.json", "npm-shrinkwrap.json"].iter().any(|name| path.join(name).is_file()) {
                return Ok(Self::Npm { root: path, lockfile: None });
            }
            return Err(unknown(&path));
        }
        let root = path.parent().map(Path::to_owned).unwrap_or_default();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("Cargo.toml" | "Cargo.lock") => Ok(Self::Cargo { root }),
            Some(name) if name.ends_with(".json") => Ok(Self::Npm { root, lockfile: Some(path) }),
            _ => Err(unknown(&path)),
        }
    }

    /// In a few words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Cargo { root } => format!("cargo project {}", root.display()),
            Self::Npm { root, .. } => format!("npm project {}", root.display()),
        }
    }

    /// Where the folders are that the example's agents name: what they may read, and where they may write.
    pub(super) fn folders(&self, results: &Path) -> Result<Vec<(FolderName, PathBuf)>, Failure> {
        let (Self::Cargo { root } | Self::Npm { root, .. }) = self;
        let mut places = vec![("project", root.clone()), ("packages", root.clone()), ("results", results.to_owned())];
        if let Self::Cargo { .. } = self {
            // Where cargo keeps what it fetched; its other files may hold a token.
            let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
            let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
            let fetched = home.into_iter().flat_map(|home| ["registry", "git"].map(|name| home.join(name)));
            places.extend(fetched.filter(|place| place.is_dir()).map(|place| ("packages", place)));
        }
        let named = places.into_iter().map(|(name, place)| {
            let name = name.parse().map_err(|e: InvalidName| Failure::plain(Exit::Failed, e.to_string()))?;
            Ok((name, place))
        });
        named.collect()
    }

    /// The workflow's input. What cargo says is written into `folder`, where the agents find it.
    pub(super) async fn input(&self, folder: &Path) -> Result<Value, Failure> {
        Ok(match self {
            Self::Npm { root, lockfile: None } => input(json!({ "kind": "npm", "root": root }), folder),
            Self::Npm { root, lockfile: Some(file) } => {
                input(json!({ "kind": "npm", "root": root, "lockfile": file }), folder)
            }
            Self::Cargo { root } => {
                let file = folder.join("metadata.json");
                fs::write(&file, cargo_metadata(root).await?)?;
                input(json!({ "kind": "cargo", "root": root, "metadata": file }), folder)
            }
        })
    }
}

fn unknown(path: &Path) -> Failure {
    Failure::coded(
        Code::MANIFEST_FILE,
        format!("There is neither a Cargo.toml nor a package-lock.json in {}.", path.display()),
        "Name a cargo project, an npm project or its lock file with `--input`.",
    )
}

/// What cargo resolved: from what is on this machine; else with the network; else for this platform alone, whose packages
/// a build has fetched.
async fn cargo_metadata(root: &Path) -> Result<Vec<u8>, Failure> {
    let offline = metadata(root, &["--offline"]).await?;
    if offline.status.success() {
        return Ok(offline.stdout);
    }
    tracing::info!("cargo lacks packages of other platforms; asking with the network");
    let online = metadata(root, &[]).await?;
    if online.status.success() {
        return Ok(online.stdout);
    }
    if let Some(host) = host().await {
        let ours = metadata(root, &["--offline", "--filter-platform", &host]).await?;
        if ours.status.success() {
            tracing::info!(host, "took the packages of this platform alone");
            return Ok(ours.stdout);
        }
    }
    let said = String::from_utf8_lossy(&online.stderr).into_owned();
    let last: Vec<_> = said.lines().rev().take(COMPLAINT_LINES_MAX).collect();
    let picture: String = last.into_iter().rev().map(|line| format!("  {line}\n")).collect();
    let message = format!("cargo cannot say what the tree in {} is made of.", root.display());
    let manifest = root.join("Cargo.toml");
    let (why, command) = if said.contains("lock file") {
        ("Its lock file is out of date: bring it up to date with", "update --workspace")
    } else {
        ("Fetch its packages with", "fetch --locked")
    };
    let hint = format!("{why} `cargo {command} --manifest-path {}`.", manifest.display());
    Err(Failure::plain(Exit::Failed, message).hint(hint).pictured(picture, Vec::new()))
}

async fn metadata(root: &Path, more: &[&str]) -> Result<Output, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--locked", "--format-version", "1"]).args(more);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).current_dir(root).kill_on_drop(true);
    cargo.output().await.map_err(|e| {
        Failure::plain(Exit::Failed, format!("cargo does not run: {e}.")).hint(
            "Install Rust, or take in an npm project: `kapelle demo --input examples/software-intake/samples/npm`.",
        )
    })
}

/// The platform that rustc builds for here.
async fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().await.ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_by_its_folder_or_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert!(Tree::at(&root).is_err(), "an empty folder");
        assert!(Tree::at(&root.join("no")).is_err());
        fs::write(root.join("package-lock.json"), "{}").unwrap();
        assert_eq!(Tree::at(&root).unwrap(), Tree::Npm { root: root.clone(), lockfile: None });
        let lockfile = root.join("package-lock.json");
        assert_eq!(Tree::at(&lockfile).unwrap(), Tree::Npm { root: root.clone(), lockfile: Some(lockfile) });
        for name in ["Cargo.toml", "Cargo.lock"] {
            fs::write(root.join(name), "").unwrap();
            assert_eq!(Tree::at(&root.join(name)).unwrap(), Tree::Cargo { root: root.clone() });
        }
        assert_eq!(Tree::at(&root).unwrap(), Tree::Cargo { root: root.clone() });
        fs::write(root.join("notes.txt"), "").unwrap();
        assert!(Tree::at(&root.join("notes.txt")).is_err());
    }
}
