//! TLS as this process speaks it: whom it trusts, and the certificate that it has.

use std::path::{Path, PathBuf};

use kapelle_types::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::failure::Failure;

/// Files in PEM.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Tls {
    /// Who signs the coordinator's certificate, for an https:// address. Default: the authorities of this machine
    #[arg(long, global = true, env = "KAPELLE_TLS_CA", hide_env_values = true, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// This process's certificate: what `coordinator start` serves, and what other commands show to a coordinator that
    /// asks for one. Default: none
    #[arg(long, global = true, env = "KAPELLE_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key. Default: none
    #[arg(long, global = true, env = "KAPELLE_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl Tls {
    /// Certificate and key, if there are any.
    pub(crate) fn pair(&self) -> Result<Option<(&Path, &Path)>, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(Failure::usage("`--tls-cert` and `--tls-key` go together", "Give both, or neither.")),
        }
    }

    /// For a connection to an https:// address.
    pub(super) fn client(&self) -> Result<ClientTlsConfig, Failure> {
        let mut config = match &self.tls_ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((cert, key)) = self.pair()? {
            config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| unusable(&format!("{}: {e}", path.display())))
}

/// Files that TLS cannot be made of.
pub(crate) fn unusable(why: &str) -> Failure {
    Failure::coded(Code::TLS_INVALID, format!("TLS cannot be used: {why}"), "They are PEM files; cert and key fit.")
}
