//! TLS at a real coordinator: who is refused, and what happens when certificates are renewed or broken meanwhile.

use std::fs;
use std::path::Path;

use kapelle_coordinator::{Config, Coordinator, Handle, TlsFiles};
use kapelle_types::Code;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::callers::{Place, eventually};

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { cert: folder.join("cert"), key: folder.join("key"), client_ca: Some(folder.join("ca")) }
}

fn write(folder: &Path, (cert, key): &(String, String)) {
    fs::write(folder.join("key"), key).unwrap();
    fs::write(folder.join("cert"), cert).unwrap();
}

async fn coordinator(place: &Place, folder: &Path) -> Result<Handle, Code> {
    let grpc_address = "127.0.0.1:0".parse().unwrap();
    let config = Config { grpc_address, tls: Some(files(folder)), ..Config::default() };
    Coordinator::start(config, place.bus.connection().clone()).await.map_err(|e| e.code)
}

/// Whether health answers a client that trusts this authority and shows this certificate, over a new connection.
async fn answers(port: u16, trusted: &Authority, shown: Option<&(String, String)>) -> bool {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem())).domain_name("localhost");
    if let Some((cert, key)) = shown {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(tls).unwrap();
    let Ok(channel) = endpoint.connect().await else { return false };
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates_that_the_other_trusts() {
    let (place, folder) = (Place::start(0).await, tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new(), Authority::new());
    write(folder.path(), &ours.sign("localhost"));
    fs::write(folder.path().join("ca"), ours.pem()).unwrap();
    let coordinator = coordinator(&place, folder.path()).await.unwrap();
    let port = coordinator.grpc_address().port();
    let client = ours.sign("client");
    assert!(answers(port, &ours, Some(&client)).await);
    assert!(!answers(port, &ours, None).await, "a client without a certificate is refused");
    assert!(!answers(port, &ours, Some(&theirs.sign("client"))).await, "a stranger's certificate is refused");
    assert!(!answers(port, &theirs, Some(&client)).await, "the client looks at the server's certificate too");
    let plain = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await;
    let spoken = match plain {
        Ok(channel) => HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok(),
        Err(_) => false,
    };
    assert!(!spoken, "nothing is said without TLS");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_taken_and_broken_ones_are_not() {
    let (place, folder) = (Place::start(0).await, tempfile::tempdir().unwrap());
    let (old, new) = (Authority::new(), Authority::new());
    let client = old.sign("client");
    write(folder.path(), &old.sign("localhost"));
    fs::write(folder.path().join("ca"), old.pem()).unwrap();
    let coordinator = coordinator(&place, folder.path()).await.unwrap();
    let port = coordinator.grpc_address().port();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(old.pem())).domain_name("localhost");
    let tls = tls.identity(Identity::from_pem(&client.0, &client.1));
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(tls).unwrap();
    let kept = endpoint.connect().await.unwrap();

    write(folder.path(), &new.sign("localhost"));
    eventually("the new certificate is shown", || async { answers(port, &new, Some(&client)).await.then_some(()) })
        .await;
    let still = HealthClient::new(kept).check(HealthCheckRequest::default()).await;
    assert!(still.is_ok(), "a connection outlives the certificate that it began with");

    // A broken pair, then a good one: what was shown between them is the last good one.
    fs::write(folder.path().join("key"), "no key").unwrap();
    assert!(answers(port, &new, Some(&client)).await);
    write(folder.path(), &old.sign("localhost"));
    eventually("the next good one is shown", || async {
        let (before, after) = (answers(port, &new, Some(&client)).await, answers(port, &old, Some(&client)).await);
        assert!(
            before || after || answers(port, &old, Some(&client)).await,
            "one of the good ones is shown at any time"
        );
        after.then_some(())
    })
    .await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_does_not_start_with_files_that_do_not_fit() {
    let (place, folder) = (Place::start(0).await, tempfile::tempdir().unwrap());
    assert_eq!(coordinator(&place, folder.path()).await.err(), Some(Code::TLS_INVALID), "no files");
    let authority = Authority::new();
    let ((cert, key), (_, other_key)) = (authority.sign("localhost"), authority.sign("localhost"));
    fs::write(folder.path().join("ca"), authority.pem()).unwrap();
    for pair in [(cert.clone(), other_key), (cert, "garbage".to_owned()), ("garbage".to_owned(), key)] {
        write(folder.path(), &pair);
        assert_eq!(coordinator(&place, folder.path()).await.err(), Some(Code::TLS_INVALID), "{pair:?}");
    }
}
