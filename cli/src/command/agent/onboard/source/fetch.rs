//! One GET of an archive: encrypted, bounded in bytes and time, with redirects that stay encrypted.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kapelle_types::limits::ARCHIVE_BYTES_MAX;

use super::refused;
use super::url::safe;
use crate::failure::Failure;

/// How long it may take in all: the largest archive over a slow line.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Redirects that are followed; hosts of repositories need one.
const REDIRECTS_MAX: usize = 5;

/// The archive at a URL.
pub(super) async fn get(url: &str) -> Result<Vec<u8>, Failure> {
    let got = tokio::time::timeout(TIME_MAX, follow(url)).await;
    got.map_err(|_| refused(format!("{url} was not fetched within {} s.", TIME_MAX.as_secs())))?
}

async fn follow(url: &str) -> Result<Vec<u8>, Failure> {
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|e| refused(format!("This machine's certificate authorities cannot be read: {e}.")))?;
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().build());
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let unread = |e: &dyn std::fmt::Display| refused(format!("{url} cannot be fetched: {e}."));
        let answer = client.get(safe(&url)?).await.map_err(|e| unread(&e))?;
        let status = answer.status();
        if status.is_redirection() {
            let to = answer.headers().get("location").and_then(|it| it.to_str().ok());
            url = to.ok_or_else(|| unread(&"a redirect that leads nowhere"))?.to_owned();
            continue;
        }
        if !status.is_success() {
            return Err(unread(&format!("the answer is {status}")));
        }
        let bytes_max = usize::try_from(ARCHIVE_BYTES_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        return body.map(|it| it.to_bytes().to_vec()).map_err(|e| {
            if e.is::<http_body_util::LengthLimitError>() {
                return refused(format!("{url} is larger than {} MiB.", ARCHIVE_BYTES_MAX >> 20));
            }
            unread(&e)
        });
    }
    Err(refused(format!("{url} is one redirect too many.")))
}
