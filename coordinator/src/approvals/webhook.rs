//! Notices by webhook, as <https://www.standardwebhooks.com> has it: an id that stays the same over attempts, the time of the
//! attempt, and a signature over both and the body. One POST, no redirects, and of the answer nothing but its status.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kapelle_telemetry::clock;
use ring::hmac;
use tonic::codegen::http::Request;

/// What stands before a secret, so that people know what it is.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Sends notices by webhook.
pub(super) struct Webhooks {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Webhooks {
    pub(super) fn new() -> Result<Self, String> {
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|e| format!("this machine's certificate authorities cannot be read: {e}"))?;
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().build()) })
    }

    /// Posts a notice once.
    pub(super) async fn post(&self, url: &str, secret: &Path, id: &str, body: Bytes) -> Result<(), String> {
        // Read each time, so that a secret is changed without a restart.
        let key = read_key(secret)?;
        let seconds = clock::now().millis() / 1_000;
        let request = Request::post(url)
            .header("content-type", "application/cloudevents+json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signature(&key, id, seconds, &body))
            .body(Full::new(body))
            .map_err(|e| e.to_string())?;
        let answer = self.client.request(request).await.map_err(|e| e.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the answer is {}", answer.status())) }
    }
}

/// The key that a file holds.
pub(super) fn read_key(path: &Path) -> Result<hmac::Key, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = text.trim();
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok();
    let bytes = bytes.filter(|it| SECRET_BYTES.contains(&it.len())).ok_or_else(|| {
        let (min, max) = SECRET_BYTES.into_inner();
        format!("{}: a secret is `{PREFIX}` and {min} to {max} bytes in base64", path.display())
    })?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    signed.update(format!("{id}.{seconds}.").as_bytes());
    signed.update(body);
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_those_that_others_check() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
