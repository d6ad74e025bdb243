//! Which files hold manifests or policies, and their text, within bounds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kapelle_types::{Code, limits};

use crate::failure::Failure;

/// Folders below each other that are looked through: deeper lie dependencies, not manifests.
const DEPTH_MAX: usize = 8;
/// Files of one folder: what one request to the coordinator may bring.
const FILES_MAX: usize = 1_000;
/// What stands for stdin.
const STDIN: &str = "-";

/// The endings of manifests.
pub(crate) const MANIFESTS: &[&str] = &["yaml", "yml"];

/// The files that a source stands for: itself, or every one with one of these endings in a folder and below, in order of
/// their names. Hidden folders are left out and links to folders are not followed.
pub(crate) fn list(source: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    if source == Path::new(STDIN) {
        return Ok(vec![source.to_owned()]);
    }
    let about = fs::metadata(source).map_err(|e| unreadable(source, &e))?;
    if !about.is_dir() {
        return Ok(vec![source.to_owned()]);
    }
    let mut files = Vec::new();
    walk(source, endings, 0, &mut files).map_err(|e| unreadable(source, &e))?;
    files.sort();
    if files.is_empty() {
        let message = format!("There is no .{} file in {}.", endings.join(" or ."), source.display());
        return Err(Failure::coded(Code::MANIFEST_FILE, message, "Name the file itself if it is called otherwise."));
    }
    if files.len() > FILES_MAX {
        let message =
            format!("There are more than {FILES_MAX} .{} files in {}.", endings.join(" or ."), source.display());
        return Err(Failure::coded(Code::MANIFEST_FILE, message, "Name its folders one by one."));
    }
    Ok(files)
}

fn walk(folder: &Path, endings: &[&str], depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if kind.is_dir() && !hidden && depth < DEPTH_MAX && files.len() <= FILES_MAX {
            walk(&path, endings, depth + 1, files)?;
        } else if !kind.is_dir()
            && !hidden
            && path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// A file's text and its folder.
pub(crate) fn text(file: &Path) -> Result<(String, PathBuf), Failure> {
    let failed = |e| unreadable(file, &e);
    let (bytes, folder) = if file == Path::new(STDIN) {
        (bounded(io::stdin().lock()).map_err(failed)?, std::env::current_dir()?)
    } else {
        let bytes = File::open(file).and_then(bounded).map_err(failed)?;
        let absolute = file.canonicalize().map_err(failed)?;
        (bytes, absolute.parent().map(Path::to_owned).unwrap_or_default())
    };
    if bytes.len() > limits::MANIFEST_BYTES_MAX {
        let message = format!("{} is larger than {} KiB.", file.display(), limits::MANIFEST_BYTES_MAX / 1024);
        return Err(Failure::coded(Code::MANIFEST_BOUND, message, "Split it into several files."));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::coded(Code::MANIFEST_SYNTAX, format!("{} is not text in UTF-8.", file.display()), ""))?;
    Ok((text, folder))
}

/// At most one byte more than is allowed: enough to know that it is too much.
fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limits::MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file or folder that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::coded(Code::MANIFEST_FILE, format!("{} cannot be read: {error}.", path.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_yaml_files_and_those_below() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["workflow.yaml", "agents/a/agent.yml", ".hidden/x.yaml", "package.json", "agents/.b.yaml"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x: 1").unwrap();
        }
        let files = list(folder.path(), MANIFESTS).unwrap();
        let names: Vec<_> =
            files.iter().map(|f| f.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
        assert_eq!(names, ["agents/a/agent.yml", "workflow.yaml"]);
        assert!(text(&files[0]).unwrap().1.ends_with("agents/a"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(folder.path(), MANIFESTS).unwrap_err().code(), Some(Code::MANIFEST_FILE), "nothing in it");
        assert_eq!(list(&folder.path().join("no"), MANIFESTS).unwrap_err().code(), Some(Code::MANIFEST_FILE));
        let big = folder.path().join("big.yaml");
        fs::write(&big, vec![b'#'; limits::MANIFEST_BYTES_MAX + 1]).unwrap();
        assert_eq!(text(&big).unwrap_err().code(), Some(Code::MANIFEST_BOUND));
        fs::write(&big, [0xff, 0xfe, 0x00]).unwrap();
        assert_eq!(text(&big).unwrap_err().code(), Some(Code::MANIFEST_SYNTAX));
    }
}
