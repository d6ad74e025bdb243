//! Where an agent is onboarded from: a folder of this machine, or an archive or a repository that is fetched into one.
//!
//! ```text
//!   DIR ─────────────────────────────────────────────────────────────▶ Place
//!   https://….tar.gz ──bounded GET, SHA-256──▶ unpack ──▶ measure ──▶ rename to --into ──▶ Place
//!   https://….git, git@… ──git clone, one commit──▶ measure ─────────▶ rename to --into ──▶ Place
//! ```
//!
//! What is fetched is a stranger's: nothing of it is run before it lies in the folder, within bounds and without links, and
//! then only in the sandbox.

mod archive;
mod fetch;
mod git;
mod measure;
mod url;

use std::fs;
use std::path::{Path, PathBuf};

use kapelle_types::{Code, Sha256};
use serde::Serialize;
use tempfile::TempDir;

use crate::failure::Failure;
use crate::manifests;
use url::Url;

/// What fetching needs to know.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Of a URL")]
pub(super) struct Fetching {
    /// Where it is fetched to; the folder must not be there. Default: ./NAME, by the URL; with --plan a temporary one
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// The SHA-256 that the archive has to have. Default: none, and the report says which it has
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<Sha256>,
}

/// An agent's folder.
#[derive(Debug)]
pub(super) struct Place {
    /// Absolute.
    pub(super) folder: PathBuf,
    /// If it was fetched.
    pub(super) source: Option<Source>,
    /// The folder goes with it.
    temporary: Option<TempDir>,
}

impl Place {
    /// The folder, if it stays.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(&self.folder)
    }
}

/// Where a folder was fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Source {
    pub(super) url: String,
    /// `sha256:…` of an archive, `commit:…` of a repository.
    pub(super) digest: String,
}

/// Finds the folder, or fetches it. With `plan` nothing of it stays.
pub(super) async fn open(from: &str, fetching: &Fetching, plan: bool) -> Result<Place, Failure> {
    let url = match Url::read(from)? {
        Some(url) => url,
        None if fetching.into.is_some() || fetching.sha256.is_some() => {
            let hint = "Leave them out, or name a URL.";
            return Err(Failure::usage(
                format!("{from} is a folder: `--into` and `--sha256` say nothing of it."),
                hint,
            ));
        }
        None => return Ok(Place { folder: folder(Path::new(from))?, source: None, temporary: None }),
    };
    if let (Url::Git(_), Some(_)) = (&url, &fetching.sha256) {
        return Err(Failure::usage("`--sha256` is that of an archive, and a repository is none.", "Leave it out."));
    }
    let into = match (&fetching.into, plan) {
        (Some(into), _) => into.clone(),
        (None, true) => std::env::temp_dir().join(url.name()?),
        (None, false) => PathBuf::from(url.name()?),
    };
    if fs::symlink_metadata(&into).is_ok() && !plan {
        let message = format!("{} is there already, and nothing is fetched over it.", into.display());
        let hint =
            format!("Onboard that folder, `kapelle agent onboard {}`, or name another with `--into`.", into.display());
        return Err(Failure::coded(Code::ONBOARD_SOURCE, message, hint));
    }
    // Beside its later place, so that it comes there at once or not at all.
    let parent = into.parent().filter(|it| !it.as_os_str().is_empty() && it.is_dir()).unwrap_or(Path::new("."));
    let parent = if plan { std::env::temp_dir() } else { manifests::absolute(parent)? };
    let temporary = tempfile::Builder::new().prefix(".kapelle-onboard-").tempdir_in(parent)?;
    let name = into.file_name().ok_or_else(|| Failure::usage(format!("{} names no folder.", into.display()), ""))?;
    let fetched = temporary.path().join(name);
    let digest = match &url {
        Url::Archive(url) => {
            let bytes = fetch::get(url).await?;
            let digest = Sha256::of(&bytes);
            if let Some(wanted) = fetching.sha256.filter(|it| *it != digest) {
                let message = format!("The archive's SHA-256 is {digest} and not {wanted}: it is another archive.");
                return Err(refused(message));
            }
            archive::unpack(&bytes, &fetched)?;
            format!("sha256:{digest}")
        }
        Url::Git(address) => format!("commit:{}", git::clone(address, url.protocols(), &fetched).await?),
    };
    measure::check(&fetched)?;
    let source = Some(Source { url: url.as_str().to_owned(), digest });
    if plan {
        return Ok(Place { folder: manifests::absolute(&fetched)?, source, temporary: Some(temporary) });
    }
    fs::rename(&fetched, &into).map_err(|e| refused(format!("{} cannot be made: {e}.", into.display())))?;
    Ok(Place { folder: manifests::absolute(&into)?, source, temporary: None })
}

fn folder(path: &Path) -> Result<PathBuf, Failure> {
    let folder = manifests::absolute(path)?;
    if !folder.is_dir() {
        let message = format!("{} is a file, and an agent is a folder.", path.display());
        return Err(Failure::coded(Code::ONBOARD_SOURCE, message, "Name the folder that it lies in."));
    }
    Ok(folder)
}

/// Something that is not taken in. Nothing of it stays.
fn refused(message: impl Into<String>) -> Failure {
    Failure::coded(Code::ONBOARD_SOURCE, message, "Nothing of it was kept; docs/errors/K0119.md says what is taken.")
}

fn sha256(text: &str) -> Result<Sha256, String> {
    Sha256::parse(text).ok_or_else(|| "64 hexadecimal digits are expected".to_owned())
}
