//! The files of the tree, read once. Whatever is built, fetched or left behind by a run is no part of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Folders that are no source, wherever they are.
const SKIPPED: [&str; 5] = ["target", ".git", ".kapelle", "__pycache__", "node_modules"];
/// Folders that are no source, by their path.
const SKIPPED_PATHS: [&str; 1] = ["tests/tmp"];

/// One file.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What is in it; empty if it is no text.
    pub(crate) text: String,
}

/// Every file of the tree, by path.
pub(crate) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let mut files = Vec::new();
    walk(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|f| f.path == "Cargo.toml"), "{} is not the root of the workspace", root().display());
    files
});

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file with one of these endings.
pub(crate) fn with_ending(endings: &[&str]) -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(move |f| endings.iter().any(|e| f.path.ends_with(e)))
}

/// The file at this path.
pub(crate) fn file(path: &str) -> &'static File {
    FILES.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

/// Whether there is a file or a folder at this path.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

impl File {
    /// The folder that it is in, without a `/` at the end; empty for the root.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        // A colleague's editor or test may take a file away while we look.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) && !SKIPPED_PATHS.contains(&path.as_str()) {
            walk(&entry.path(), &path, files);
        } else if kind.is_file() {
            let text = fs::read(entry.path()).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default();
            files.push(File { path, text });
        }
    }
}
