//! A running broker: where it is, who we are there, and whom we trust to be it.

use std::path::PathBuf;
use std::time::Duration;

use kapelle_bus::{ConnectConfig, Connection, Credentials, TlsFiles};

use crate::failure::Failure;

/// Where `kapelle dev` has its broker unless told otherwise.
pub(crate) const DEFAULT_NATS_URL: &str = "nats://127.0.0.1:7422";

/// A running broker.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Address {
    /// The NATS servers, separated by commas
    #[arg(long, env = "KAPELLE_NATS_URL", hide_env_values = true, default_value = DEFAULT_NATS_URL, value_name = "URL")]
    pub(crate) nats_url: String,
    /// A NATS credentials file; a renewed one is taken at the next connection. Default: none
    #[arg(long, env = "KAPELLE_NATS_CREDS", hide_env_values = true, value_name = "FILE")]
    pub(crate) nats_creds: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) nats_tls: NatsTls,
}

/// Files in PEM for TLS to the broker. Renewed ones are taken at the next connection.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NatsTls {
    /// Who signs the broker's certificate; nothing is said without TLS then. Default: for a tls:// address the authorities of
    /// this machine
    #[arg(long, env = "KAPELLE_NATS_CA", hide_env_values = true, value_name = "FILE")]
    pub(crate) nats_ca: Option<PathBuf>,
    /// This process's certificate, for a broker that asks for one. Default: none
    #[arg(long, env = "KAPELLE_NATS_CERT", hide_env_values = true, value_name = "FILE", requires = "nats_key")]
    pub(crate) nats_cert: Option<PathBuf>,
    /// The certificate's private key. Default: none
    #[arg(long, env = "KAPELLE_NATS_KEY", hide_env_values = true, value_name = "FILE", requires = "nats_cert")]
    pub(crate) nats_key: Option<PathBuf>,
}

impl Address {
    /// A broker that asks for nothing.
    pub(crate) fn plain(nats_url: &str) -> Self {
        Self { nats_url: nats_url.to_owned(), nats_creds: None, nats_tls: NatsTls::default() }
    }

    /// Connects, waiting `patience` for a broker that is not there yet.
    pub(crate) async fn connect(&self, name: &str, patience: Duration) -> Result<Connection, Failure> {
        let config = ConnectConfig {
            url: self.nats_url.clone(),
            credentials: self.nats_creds.clone(),
            tls: self.nats_tls.files()?,
            name: name.to_owned(),
        };
        Ok(Connection::open(&config, patience).await?)
    }

    /// What the credentials say: a name, which the ids of coordinators and workers go by, and a namespace. `None` without.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        Ok(self.nats_creds.as_deref().map(Credentials::read).transpose()?)
    }
}

impl NatsTls {
    /// The files, all of them readable: the client library would try a missing one again and again.
    fn files(&self) -> Result<TlsFiles, Failure> {
        let identity = self.nats_cert.clone().zip(self.nats_key.clone());
        for file in [&self.nats_ca, &self.nats_cert, &self.nats_key].into_iter().flatten() {
            std::fs::read(file).map_err(|e| crate::client::unusable(&format!("{}: {e}", file.display())))?;
        }
        Ok(TlsFiles { ca: self.nats_ca.clone(), identity })
    }
}
