//! The real nats-server as our child: start, stop, crash, take-over of the data folder.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use kapelle_broker::testing::TestServer;
use kapelle_broker::{Binary, Config, Durability, Error, Server};
use kapelle_types::Code;

async fn config(folder: &Path) -> Config {
    Config::new(Binary::find(None, None).await.unwrap(), folder)
}

async fn context(url: &str) -> jetstream::Context {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    jetstream::new(options.connect(url).await.unwrap())
}

async fn create_stream(js: &jetstream::Context) {
    let config = stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    js.create_stream(config).await.unwrap();
}

async fn messages(js: &jetstream::Context) -> u64 {
    js.get_stream("S").await.unwrap().cached_info().state.messages
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "never: {what}");
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| !c.is_empty())
}

#[tokio::test]
async fn starts_answers_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(config(folder.path()).await).await.unwrap();
    let pid = server.pid().unwrap();
    create_stream(&context(&server.url()).await).await;
    server.stop().await;
    assert!(!is_alive(pid));
    assert_eq!(server.pid(), None);
    assert!(server.exited().await.is_err());
    let log = fs::read_to_string(folder.path().join("nats.log")).unwrap();
    assert!(log.contains("JetStream Shutdown"), "it closed its store: {log}");
}

#[tokio::test]
async fn a_restart_and_a_crash_keep_data_and_port() {
    let mut server = TestServer::start().await;
    let url = server.url();
    let js = context(&url).await;
    create_stream(&js).await;
    js.publish("s.1", "a".into()).await.unwrap().await.unwrap();
    server.restart().await;
    js.publish("s.2", "b".into()).await.unwrap().await.unwrap();
    server.kill9().await;
    server.restart().await;
    assert_eq!(server.url(), url);
    assert_eq!(messages(&context(&url).await).await, 2);
}

#[tokio::test]
async fn a_lost_stream_is_lost() {
    let mut server = TestServer::start().await;
    create_stream(&context(&server.url()).await).await;
    server.kill9().await;
    assert!(server.stream_store("S").is_dir());
    server.delete_stream_store("S");
    server.restart().await;
    assert!(context(&server.url()).await.get_stream("S").await.is_err());
}

#[tokio::test]
async fn power_durability_reaches_the_server() {
    let server = TestServer::start_with(Durability::Power).await;
    let conf = fs::read_to_string(server.data_dir().join("nats.conf")).unwrap();
    assert!(conf.contains("sync_interval: always"), "{conf}");
    create_stream(&context(&server.url()).await).await;
}

#[tokio::test]
async fn a_crash_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(config(folder.path()).await).await.unwrap();
    Command::new("kill").args(["-9", &server.pid().unwrap().to_string()]).status().unwrap();
    assert!(!server.exited().await.unwrap().success());
    server.restart().await.unwrap();
    assert!(server.pid().is_some());
}

#[tokio::test]
async fn one_data_folder_one_broker() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path()).await;
    let first = Server::start(config.clone()).await.unwrap();
    let pid = first.pid().unwrap();
    let refused = Server::start(config.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::DATA_DIR, "{refused}");
    assert!(is_alive(pid), "the first one goes on");
    drop(first);
    assert!(!is_alive(pid), "a dropped server is gone");
    Server::start(config).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(taken.local_addr().unwrap().port());
    let refused = Server::start(Config { port, ..config(folder.path()).await }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PORT_TAKEN, "{refused}");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_says_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("jetstream"), "not a folder").unwrap();
    let refused = Server::start(config(folder.path()).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::BROKER_START, "{refused}");
    assert!(refused.to_string().contains("storage directory"), "{refused}");

    let file = folder.path().join("jetstream");
    let refused = Server::start(config(&file).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::DATA_DIR, "{refused}");
}

#[tokio::test]
async fn a_folder_with_an_awkward_name_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let awkward = folder.path().join("my \"data\" \\ $HOME");
    Server::start(config(&awkward).await).await.unwrap();
    assert!(awkward.join("jetstream").is_dir());
}

/// Starts the server as a `kapelle` that was killed meanwhile would have left it.
async fn leave_behind(config: &Config) -> Child {
    let mut server = Server::start(config.clone()).await.unwrap();
    server.stop().await;
    let conf = server.data_dir().join("nats.conf");
    drop(server);
    let mut command = Command::new(&config.binary.path);
    command.arg("--config").arg(conf).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let pid_file = config.data_dir.join("nats.pid");
    eventually("the leftover writes its id", || async {
        fs::read_to_string(&pid_file).is_ok_and(|t| t.trim() == child.id().to_string())
    })
    .await;
    child
}

#[tokio::test]
async fn a_leftover_child_is_stopped_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path()).await;
    let mut left = leave_behind(&config).await;
    let server = Server::start(config).await.unwrap();
    assert!(left.try_wait().unwrap().is_some(), "two servers on one store would destroy it");
    assert_ne!(server.pid().unwrap(), left.id());
}

#[tokio::test]
async fn a_leftover_that_hangs_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { stop_grace: Duration::from_millis(200), ..config(folder.path()).await };
    let mut left = leave_behind(&config).await;
    Command::new("kill").args(["-STOP", &left.id().to_string()]).status().unwrap();
    Server::start(config).await.unwrap();
    assert!(left.try_wait().unwrap().is_some());
}

#[tokio::test]
async fn a_stranger_with_the_old_process_id_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    for text in [stranger.id().to_string(), "1".into(), "0".into(), "-1".into(), "99999999".into(), "x".into()] {
        fs::write(folder.path().join("nats.pid"), text).unwrap();
        Server::start(config(folder.path()).await).await.unwrap();
    }
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn many_at_once_get_ports_of_their_own() {
    let starts = (0..6).map(|_| tokio::spawn(TestServer::start()));
    let mut servers = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        servers.push(start.await.unwrap());
    }
    let mut urls: Vec<_> = servers.iter().map(TestServer::url).collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), servers.len());
}

#[test]
fn every_error_has_a_code_and_a_hint() {
    let error = Error::Silent { seconds: 60 };
    assert_eq!(error.code(), Code::BROKER_UNAVAILABLE);
    assert!(error.hint().contains("nats.log"));
}
