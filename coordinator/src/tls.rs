//! TLS for the API: certificates are read again while the coordinator runs, so that their renewal is nobody's outage.
//!
//! ```text
//!   files ──every LOOK_EVERY──▶ changed and good? ──▶ the next connection's handshake
//!                                      └─ broken: the old ones stay, and the log says so once
//! ```
//!
//! A connection keeps the certificates that it began with. Handshakes are made beside each other, so that one that hangs
//! holds nobody up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kapelle_types::{Code, Diagnosis};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at once; beyond it connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 256;
/// Connections that may wait for the server.
const CONNECTIONS_WAITING_MAX: usize = 64;
/// How long accepting pauses after an error, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where the certificates are, in PEM.
#[derive(Debug, Clone)]
pub struct Files {
    /// The API's certificate, with the chain behind it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs clients' certificates; with it, a client without one is refused.
    pub client_ca: Option<PathBuf>,
}

/// What stands in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Certificates that are kept current.
pub(crate) struct Certificates {
    files: Files,
    current: ArcSwap<ServerConfig>,
}

/// Connections whose handshake is made.
pub(crate) type Incoming = ReceiverStream<io::Result<TlsStream<TcpStream>>>;

impl Files {
    fn read(&self) -> Result<Contents, Diagnosis> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| invalid(path, e));
        let client_ca = self.client_ca.as_deref().map(read).transpose()?;
        Ok(Contents { cert: read(&self.cert)?, key: read(&self.key)?, client_ca })
    }

    fn config(&self, contents: &Contents) -> Result<Arc<ServerConfig>, Diagnosis> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| invalid(&self.cert, e))?;
        let builder = match (&self.client_ca, &contents.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path, pem)? {
                    roots.add(authority).map_err(|e| invalid(path, e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|e| invalid(path, e))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|e| invalid(&self.key, e))?;
        let chain = certificates(&self.cert, &contents.cert)?;
        let mut config = builder.with_single_cert(chain, key).map_err(|e| invalid(&self.cert, e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Certificates {
    /// Reads the files, and reads them again until `stop`.
    ///
    /// # Errors
    /// `TLS_INVALID`.
    pub(crate) fn open(files: Files, stop: CancellationToken) -> Result<Arc<Self>, Diagnosis> {
        let contents = files.read()?;
        let current = ArcSwap::new(files.config(&contents)?);
        let certificates = Arc::new(Self { files, current });
        let looking = Arc::clone(&certificates);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = looking.look_on(contents) => {}
            }
        });
        Ok(certificates)
    }

    async fn look_on(&self, mut seen: Contents) {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let contents = match self.files.read() {
                Ok(contents) => contents,
                Err(error) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::error!(%error, "the certificates cannot be read again; the old ones stay");
                    }
                    continue;
                }
            };
            unreadable = false;
            if contents == seen {
                continue;
            }
            match self.files.config(&contents) {
                Ok(config) => {
                    self.current.store(config);
                    tracing::info!("new certificates are in use from the next connection on");
                }
                Err(error) => tracing::error!(%error, "the new certificates are broken; the old ones stay"),
            }
            seen = contents;
        }
    }

    /// Accepts connections until `stop`.
    pub(crate) fn accept(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) -> Incoming {
        let (sender, connections) = mpsc::channel(CONNECTIONS_WAITING_MAX);
        let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                };
                let (acceptor, sender) = (TlsAcceptor::from(self.current.load_full()), sender.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    }
                    drop(place);
                });
            }
        });
        ReceiverStream::new(connections)
    }
}

/// The certificates of a file; at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Diagnosis> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| invalid(path, e))?;
    if all.is_empty() { Err(invalid(path, "it has no certificate in PEM")) } else { Ok(all) }
}

fn invalid(path: &Path, why: impl std::fmt::Display) -> Diagnosis {
    Diagnosis::new(Code::TLS_INVALID, format!("{} cannot be used for TLS: {why}", path.display()))
        .hint("certificates and keys are PEM files, and belong together")
}
