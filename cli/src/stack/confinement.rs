//! What the operator decides about the agents of a worker: the sandbox, the secrets, the folders that agents name.

use std::path::PathBuf;

use clap::ValueEnum;
use kapelle_types::FolderName;
use kapelle_worker::{Config, Sandbox};

use crate::failure::Failure;
use crate::manifests;

/// The program that runs: also after its file was replaced, the one that knows these rules.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Whether process agents are kept to their `access`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// They are; a machine that cannot do it refuses.
    #[default]
    On,
    /// They may do whatever the worker may.
    Off,
}

/// What agents are kept to, and what is there for them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Confinement {
    /// Keep process agents to the `access` of their manifests: on or off. Off lets them do whatever the worker may
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "SWITCH")]
    pub(crate) sandbox: Switch,
    /// Where the secrets lie that agents name, one file each. Default: only KAPELLE_SECRET_<NAME> has them
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Where a folder is that agents name; repeat it for more
    #[arg(long = "folder", value_name = "NAME=DIR", value_parser = folder)]
    pub(crate) folders: Vec<(FolderName, PathBuf)>,
}

impl Confinement {
    /// The worker's configuration with this.
    pub(crate) fn apply(self, config: Config) -> Result<Config, Failure> {
        let Self { sandbox, secrets_dir, folders } = self;
        let mut config = Config { secrets_dir, ..config };
        config.sandbox = match sandbox {
            Switch::On => Sandbox::Program(THIS_PROGRAM.into()),
            Switch::Off => Sandbox::Off,
        };
        for (name, place) in folders {
            config.folders.add(name, manifests::absolute(&place)?);
        }
        Ok(config)
    }
}

fn folder(text: &str) -> Result<(FolderName, PathBuf), String> {
    let (name, place) = text.split_once('=').ok_or("a name and a folder are expected, joined by `=`")?;
    if place.is_empty() {
        return Err("the folder is missing".into());
    }
    Ok((name.parse().map_err(|e: kapelle_types::InvalidName| e.to_string())?, place.into()))
}
