//! What a process agent may touch and take, as its manifest grants it.

use kapelle_types::{FolderName, SecretName};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Private memory of one process where the manifest names none: room for any interpreter, not for the whole machine.
const MEMORY_BYTES: u64 = 4 << 30;
/// Open files of one process where the manifest names none: what shells allow.
const FILES: u32 = 1_024;
/// The largest file that a process may write where the manifest names none: a runaway log does not fill the disk at once.
const FILE_SIZE_BYTES: u64 = 1 << 30;

/// What a process agent may touch beside its own folder. Default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Files and folders that it may read; relative ones lie in its own folder.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read and write.
    pub write: Vec<PathBuf>,
    /// Named folders that it may read.
    pub read_folders: Vec<FolderName>,
    /// Named folders that it may read and write.
    pub write_folders: Vec<FolderName>,
    /// TCP ports that it may connect to; empty is no network at all.
    pub connect: Vec<u16>,
    /// Variables of the worker's environment that it gets.
    pub env: Vec<String>,
    /// Secrets that it gets.
    pub secrets: Vec<SecretName>,
}

/// How much of the machine one process of an agent may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of private memory. Default: 4 GiB.
    pub memory_bytes: u64,
    /// Seconds of processor time over its life. Default: no limit, since an attempt's timeout bounds it.
    pub cpu_seconds: Option<u64>,
    /// Open files. Default: 1,024.
    pub files: u32,
    /// Bytes of the largest file that it may write. Default: 1 GiB.
    pub file_size_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES, cpu_seconds: None, files: FILES, file_size_bytes: FILE_SIZE_BYTES }
    }
}
