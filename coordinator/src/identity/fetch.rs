//! Reading an issuer's JWKS: one GET over TLS, or a file. No redirects, no cookies, no body that never ends.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::config::KeySource;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of one JWKS: hundreds of keys.
const JWKS_BYTES_MAX: usize = 1024 * 1024;

/// Reads from one place, again and again.
pub(super) struct Fetcher {
    source: KeySource,
    client: Option<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>>,
}

impl Fetcher {
    pub(super) fn new(source: KeySource) -> Result<Self, String> {
        let client = match &source {
            KeySource::File(_) => None,
            KeySource::Url(_) => {
                let provider = rustls::crypto::ring::default_provider();
                let tls = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(provider)
                    .map_err(|e| format!("this machine's certificate authorities cannot be read: {e}"))?;
                Some(Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().build()))
            }
        };
        Ok(Self { source, client })
    }

    /// Where it reads, for messages.
    pub(super) fn place(&self) -> String {
        match &self.source {
            KeySource::Url(url) => url.clone(),
            KeySource::File(path) => path.display().to_string(),
        }
    }

    /// The JWKS as it is now.
    pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
        match (&self.source, &self.client) {
            (KeySource::Url(url), Some(client)) => {
                let got = tokio::time::timeout(ANSWER_MAX, get(client, url)).await;
                got.map_err(|_| format!("no answer within {ANSWER_MAX:?}"))?
            }
            (KeySource::File(path), _) => tokio::fs::read(path).await.map_err(|e| e.to_string()),
            (KeySource::Url(_), None) => Err("there is no client".into()),
        }
    }
}

async fn get(client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, url: &str) -> Result<Vec<u8>, String> {
    let url = url.parse().map_err(|e| format!("{url}: {e}"))?;
    let answer = client.get(url).await.map_err(|e| e.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("the answer is {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), JWKS_BYTES_MAX).collect().await.map_err(|e| e.to_string())?;
    Ok(body.to_bytes().to_vec())
}
