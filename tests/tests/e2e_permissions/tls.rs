//! TLS between Kapelle and its broker, as `deploy/nats` has it: nobody without a certificate, and renewed ones without a restart.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kapelle_accounts::Operator;
use kapelle_broker::Binary;
use kapelle_bus::{ConnectConfig, Connection, Error, TlsFiles};
use kapelle_telemetry::clock;
use kapelle_tests::harness::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate and its key, and the authority's own beside them.
    fn sign(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, &self.0).unwrap().pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
    }
}

/// The configuration as it is deployed, with its folders inside of this one, on a port of its own.
fn deployed(folder: &Path, file: &str) -> std::path::PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats");
    let place = folder.display().to_string();
    let text = fs::read_to_string(here.join(file)).unwrap();
    let text =
        text.replace("/etc/nats", &place).replace("/var/lib/nats", &place).replace("127.0.0.1:8222", "127.0.0.1:-1");
    let text = text.replace("0.0.0.0:4222", &format!("127.0.0.1:{}", port()));
    fs::copy(here.join("cluster.routes"), folder.join("cluster.routes")).unwrap();
    fs::write(folder.join(file), text).unwrap();
    folder.join(file)
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn folder_with_operator() -> (TempDir, Operator) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("operator");
    let operator = Operator::init(&dir, "test", &folder.path().join("accounts"), clock::now()).unwrap();
    fs::copy(dir.join("broker.conf"), folder.path().join("broker.conf")).unwrap();
    Authority::new().sign(folder.path(), "server");
    (folder, operator)
}

#[tokio::test]
async fn the_server_takes_the_configurations_with_namespaces() {
    let (folder, _operator) = folder_with_operator();
    let binary = Binary::find(None, None).await.unwrap().path;
    for file in ["namespaces.conf", "namespaces-cluster.conf"] {
        let mut server = std::process::Command::new(&binary);
        server
            .env("NODE", "nats-a")
            .env("ROUTE_PASSWORD", "secret")
            .arg("-t")
            .arg("-c")
            .arg(deployed(folder.path(), file));
        let output = server.output().unwrap();
        assert!(output.status.success(), "{file}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_are_taken_at_the_next_connection() {
    let (folder, operator) = folder_with_operator();
    let place = folder.path();
    let old = Authority::new();
    old.sign(place, "server");
    old.sign(place, "client");
    let conf = deployed(place, "namespaces.conf");
    let url = fs::read_to_string(&conf).unwrap();
    let port = url.split("listen: \"127.0.0.1:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let binary = Binary::find(None, None).await.unwrap().path;
    let mut server = Process::start(place, "nats", std::process::Command::new(&binary).arg("-c").arg(&conf));
    let file = |name: &str| place.join(name);
    let tls = TlsFiles { ca: Some(file("ca.pem")), identity: Some((file("client.pem"), file("client.key"))) };
    let config = |tls: TlsFiles| ConnectConfig {
        url: format!("nats://localhost:{port}"),
        credentials: Some(operator.system_credentials()),
        tls,
        name: "test".to_owned(),
    };
    let connection = Connection::open(&config(tls.clone()), Duration::from_secs(30)).await.unwrap();
    let mut epochs = connection.epochs();

    let short = Duration::from_secs(1);
    for tls in [TlsFiles { identity: None, ..tls.clone() }, TlsFiles::default()] {
        let refused = Connection::open(&config(tls), short).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "one side does not trust the other: {refused:?}");
    }

    // Everybody's certificates are made anew, by another authority. The server takes them when it is told to.
    let new = Authority::new();
    new.sign(place, "client");
    new.sign(place, "server");
    kill(Pid::from_raw(i32::try_from(server.pid()).unwrap()), Signal::SIGHUP).unwrap();
    let told = kapelle_tests::harness::eventually("the server has read its files again", || async {
        server.stderr().contains("Reloaded: tls").then_some(())
    });
    told.await;
    // Who connects from now on shows the new one, and nobody was restarted.
    server.kill9();
    let _server = Process::start(place, "nats-again", std::process::Command::new(&binary).arg("-c").arg(&conf));
    let again = epochs.wait_for(|epoch| *epoch >= 2);
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap().unwrap();
    Connection::open(&config(tls), Duration::from_secs(30)).await.unwrap();
}
