//! The server configurations under `deploy/nats` are ones that nats-server takes, and hold no secret of their own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use kapelle_broker::Binary;

const VARIABLES: [(&str, &str); 3] = [("NODE", "nats-a"), ("KAPELLE_PASSWORD", "secret"), ("ROUTE_PASSWORD", "secret")];

async fn check(file: &str, variables: &[(&str, &str)]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats");
    let binary = Binary::find(None, None).await.unwrap();
    let mut server = Command::new(binary.path);
    server.env_clear().envs(variables.iter().copied()).arg("-t").arg("--config").arg(folder.join(file));
    server.output().unwrap()
}

#[tokio::test]
async fn the_server_takes_them() {
    for file in ["single.conf", "cluster.conf"] {
        let output = check(file, &VARIABLES).await;
        assert!(output.status.success(), "{file}: {output:?}");
    }
}

#[tokio::test]
async fn nothing_starts_without_its_secrets() {
    for (file, variables) in [("single.conf", &VARIABLES[..1]), ("cluster.conf", &VARIABLES[..2])] {
        let output = check(file, variables).await;
        assert!(String::from_utf8_lossy(&output.stderr).contains("PASSWORD"), "{file}: {output:?}");
    }
}
