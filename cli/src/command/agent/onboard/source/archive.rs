//! Unpacking a `.tar.gz` of a stranger: files and folders, inside one folder, within bounds. Anything else refuses all of it.
//!
//! Only names, bytes and whether a file is executable are taken. Owners, times, other rights and extended attributes are not;
//! links and devices have no place in an agent.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kapelle_types::limits::{UNPACKED_BYTES_MAX, UNPACKED_FILES_MAX};
use tar::{Archive, EntryType};

use super::refused;
use crate::failure::Failure;

/// Unpacks into a folder that is not there yet. If the archive holds one folder and nothing beside it, that folder is it.
pub(super) fn unpack(bytes: &[u8], into: &Path) -> Result<(), Failure> {
    let whole = into.with_file_name(".unpacked");
    fs::create_dir(&whole)?;
    // Everything counts that comes out, names and padding too: what unfolds without end ends here.
    let unfolded = MultiGzDecoder::new(bytes).take(UNPACKED_BYTES_MAX + 1);
    let mut archive = Archive::new(unfolded);
    let unreadable = |e: io::Error| refused(format!("The archive cannot be read: {e}."));
    let (mut count, mut bytes) = (0, 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        add(&mut count, 1)?;
        // Before any of it is written.
        bytes = bytes.saturating_add(entry.size());
        if bytes > UNPACKED_BYTES_MAX {
            return Err(too_much());
        }
        let name = entry.path().map_err(unreadable)?.into_owned();
        let kind = entry.header().entry_type();
        match kind {
            // What git says of the whole archive.
            EntryType::XGlobalHeader => {}
            EntryType::Directory => folder(&whole.join(inside(&name)?), &mut count)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                let path = whole.join(inside(&name)?);
                if let Some(above) = path.parent() {
                    folder(above, &mut count)?;
                }
                let mode = if executable { 0o755 } else { 0o644 };
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&path)
                    .map_err(|e| refused(format!("`{}` of the archive cannot be written: {e}.", name.display())))?;
                io::copy(&mut entry, &mut file).map_err(unreadable)?;
            }
            _ => {
                let name = name.display();
                return Err(refused(format!(
                    "`{name}` of the archive is neither a file nor a folder: links and devices are not taken."
                )));
            }
        }
    }
    if archive.into_inner().limit() == 0 {
        return Err(too_much());
    }
    fs::rename(only_folder(&whole)?.unwrap_or(whole), into)?;
    Ok(())
}

/// Makes a folder with those above it. They count too: a name alone can stand for thousands.
fn folder(path: &Path, count: &mut usize) -> Result<(), Failure> {
    add(count, path.ancestors().take_while(|it| !it.exists()).count())?;
    fs::create_dir_all(path).map_err(|e| refused(format!("`{}` cannot be made: {e}.", path.display())))
}

fn add(count: &mut usize, more: usize) -> Result<(), Failure> {
    *count += more;
    if *count > UNPACKED_FILES_MAX {
        return Err(refused(format!("The archive holds more than {UNPACKED_FILES_MAX} files and folders.")));
    }
    Ok(())
}

fn too_much() -> Failure {
    refused(format!("The archive unfolds to more than {} MiB.", UNPACKED_BYTES_MAX >> 20))
}

/// A name that stays inside.
fn inside(name: &Path) -> Result<PathBuf, Failure> {
    let parts = name.components().filter(|it| *it != Component::CurDir);
    let plain: Option<PathBuf> = parts.map(|it| matches!(it, Component::Normal(_)).then_some(it)).collect();
    plain.ok_or_else(|| refused(format!("`{}` of the archive leads out of its folder.", name.display())))
}

fn only_folder(whole: &Path) -> Result<Option<PathBuf>, Failure> {
    let entries: Result<Vec<_>, _> = fs::read_dir(whole)?.take(2).collect();
    Ok(match entries?.as_slice() {
        [one] if one.file_type()?.is_dir() => Some(one.path()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    fn packed(build: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// An entry with a name that `tar` itself would not write.
    fn entry(builder: &mut Builder<GzEncoder<Vec<u8>>>, name: &str, kind: EntryType, link: &str, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if name.ends_with(".sh") { 0o4777 } else { 0o600 });
        header.set_size(data.len() as u64);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn unpacked(bytes: &[u8]) -> Result<tempfile::TempDir, String> {
        let folder = tempfile::tempdir().unwrap();
        unpack(bytes, &folder.path().join("agent")).map_err(|failure| failure.message().to_owned())?;
        Ok(folder)
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        use std::os::unix::fs::PermissionsExt;
        let folder = unpacked(&packed(|it| {
            entry(it, "./a/main.py", EntryType::Regular, "", b"print()");
            entry(it, "a/run.sh", EntryType::Regular, "", b"#!/bin/sh");
        }))
        .unwrap();
        let at = |name: &str| folder.path().join("agent").join(name);
        assert_eq!(fs::read_to_string(at("main.py")).unwrap(), "print()", "the only folder is the agent's");
        let mode = fs::metadata(at("run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o6111, 0o111, "executable, and nobody else's");
        let folder = unpacked(&packed(|it| {
            entry(it, "main.py", EntryType::Regular, "", b"");
            entry(it, "lib/x.py", EntryType::Regular, "", b"");
        }))
        .unwrap();
        assert!(folder.path().join("agent/lib/x.py").is_file());
    }

    #[test]
    fn hostile_archives_are_refused() {
        for (name, kind, link, why) in [
            ("../evil", EntryType::Regular, "", "leads out"),
            ("a/../../evil", EntryType::Regular, "", "leads out"),
            ("/etc/evil", EntryType::Regular, "", "leads out"),
            ("link", EntryType::Symlink, "/etc", "links and devices"),
            ("link", EntryType::Symlink, "inside", "links and devices"),
            ("hard", EntryType::Link, "/etc/passwd", "links and devices"),
            ("pipe", EntryType::Fifo, "", "links and devices"),
            ("disk", EntryType::Block, "", "links and devices"),
        ] {
            let refused = unpacked(&packed(|it| entry(it, name, kind, link, b""))).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
        let twice = packed(|it| {
            entry(it, "a", EntryType::Regular, "", b"1");
            entry(it, "a", EntryType::Regular, "", b"2");
        });
        assert!(unpacked(&twice).unwrap_err().contains("cannot be written"));
        assert!(unpacked(b"no archive").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn archives_without_end_are_refused() {
        let many = packed(|it| (0..100_000).for_each(|n| entry(it, &format!("f{n}"), EntryType::Directory, "", b"")));
        assert!(unpacked(&many).unwrap_err().contains("more than 20000 files"));
        let deep = |n: usize| format!("{n}/{}f", "d/".repeat(40));
        let deep = packed(|it| (0..1_000).for_each(|n| entry(it, &deep(n), EntryType::Regular, "", b"")));
        assert!(unpacked(&deep).unwrap_err().contains("more than 20000 files"));
        // It says how large it is, and is refused before any of that is read.
        let mut header = Header::new_gnu();
        header.set_path("zeros").unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_size(UNPACKED_BYTES_MAX + 1);
        header.set_cksum();
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(&mut header.as_bytes().chain(io::repeat(0).take(1 << 20)), &mut bomb).unwrap();
        assert!(unpacked(&bomb.finish().unwrap()).unwrap_err().contains("unfolds to more than"));
    }
}
