//! Unpacking a `.tar.gz` of a stranger: files and folders, inside one folder, within bounds. Anything else refuses all of it.
//!
//! Only names, bytes and whether a file is executable are taken. Owners, times, other rights and extended attributes are not;
//! links and devices have no place in an agent.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Take};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kapelle_types::limits::{UNPACKED_BYTES_MAX, UNPACKED_FILES_MAX};
use tar::{Archive, EntryType};

use super::refused;
use crate::failure::Failure;

/// Bytes of one name: file systems take 4,096 of them with all that stands above.
const NAME_BYTES_MAX: usize = 1_024;

/// Unpacks into a folder that is not there yet. If the archive holds one folder and nothing beside it, that folder is it.
/// All of it is looked through first, so that one that is refused has written nothing.
pub(super) fn unpack(bytes: &[u8], into: &Path) -> Result<(), Failure> {
    look_through(bytes)?;
    let whole = into.with_file_name(".unpacked");
    fs::create_dir(&whole)?;
    let mut archive = unfolded(bytes);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = whole.join(inside(&entry.path().map_err(unreadable)?)?);
        let unwritable = |e: io::Error| refused(format!("`{}` of the archive cannot be written: {e}.", path.display()));
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&path).map_err(unwritable)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                let mode = if executable { 0o755 } else { 0o644 };
                fs::create_dir_all(path.parent().unwrap_or(&whole)).map_err(unwritable)?;
                let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
                io::copy(&mut entry, &mut file.map_err(unwritable)?).map_err(unreadable)?;
            }
            _ => {}
        }
    }
    fs::rename(only_folder(&whole)?.unwrap_or(whole), into)?;
    Ok(())
}

/// Refuses what is not taken, by what the archive says of itself.
fn look_through(bytes: &[u8]) -> Result<(), Failure> {
    let mut archive = unfolded(bytes);
    let (mut entries, mut unpacked) = (0, 0_u64);
    // Folders count that are only parts of names, too: a name alone can stand for thousands.
    let mut places: HashSet<PathBuf> = HashSet::new();
    for entry in archive.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?;
        match entry.header().entry_type() {
            // What git says of the whole archive.
            EntryType::XGlobalHeader => continue,
            EntryType::Directory | EntryType::Regular | EntryType::Continuous => {}
            _ => {
                let what = "neither a file nor a folder: links and devices are not taken";
                return Err(refused(format!("`{}` of the archive is {what}.", name.display())));
            }
        }
        let path = inside(&name)?;
        let new = path.ancestors().take_while(|it| !places.contains(*it)).take(UNPACKED_FILES_MAX + 1);
        let new: Vec<PathBuf> = new.map(Path::to_owned).collect();
        places.extend(new);
        entries += 1;
        if entries.max(places.len()) > UNPACKED_FILES_MAX {
            return Err(refused(format!("The archive holds more than {UNPACKED_FILES_MAX} files and folders.")));
        }
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > UNPACKED_BYTES_MAX {
            return Err(too_much());
        }
    }
    if archive.into_inner().limit() == 0 { Err(too_much()) } else { Ok(()) }
}

/// Everything counts that comes out, names and padding too: what unfolds without end ends here.
fn unfolded(bytes: &[u8]) -> Archive<Take<MultiGzDecoder<&[u8]>>> {
    Archive::new(MultiGzDecoder::new(bytes).take(UNPACKED_BYTES_MAX + 1))
}

fn unreadable(error: io::Error) -> Failure {
    refused(format!("The archive cannot be read: {error}."))
}

fn too_much() -> Failure {
    refused(format!("The archive unfolds to more than {} MiB.", UNPACKED_BYTES_MAX >> 20))
}

/// A name that stays inside.
fn inside(name: &Path) -> Result<PathBuf, Failure> {
    if name.as_os_str().len() > NAME_BYTES_MAX {
        return Err(refused(format!("The archive holds a name of more than {NAME_BYTES_MAX} bytes.")));
    }
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
        let long = packed(|it| {
            let mut header = Header::new_gnu();
            header.set_size(0);
            it.append_data(&mut header, "d/".repeat(1_000), io::empty()).unwrap();
        });
        assert!(unpacked(&long).unwrap_err().contains("more than 1024 bytes"));
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
