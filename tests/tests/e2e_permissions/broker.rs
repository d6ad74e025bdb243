//! A broker whose users have the permissions that follow from the policies.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use kapelle_broker::Binary;
use kapelle_bus::{ConnectConfig, Connection};
use kapelle_policy::{Agents, Class, Permissions, Place, Policies, permissions};
use kapelle_tests::harness::{PATIENCE, Process, eventually};
use kapelle_types::{Caller, Namespace, Partitions, Principal, Role};
use serde_json::Value;
use tempfile::TempDir;

/// Everybody's password: the server listens on the loopback for the time of a test.
const PASSWORD: &str = "secret";
/// The user that the worker connects as.
pub(crate) const WORKER: &str = "w1";

/// A running nats-server with users, or with accounts.
pub(crate) struct Broker {
    address: String,
    _process: Process, // before the folder: the child must be gone before its store is
    folder: TempDir,
}

impl Broker {
    /// Starts a server that knows these users, with or without streams.
    pub(crate) async fn start(users: &[(&str, Permissions)], streams: bool) -> Self {
        let user = |(name, permissions): &(&str, Permissions)| {
            format!("{{ user: \"{name}\", password: \"{PASSWORD}\", {permissions} }}\n")
        };
        let users: String = users.iter().map(user).collect();
        Self::configured(tempfile::tempdir().unwrap(), &format!("authorization {{ users: [\n{users}] }}\n"), streams)
            .await
    }

    /// Starts a server with what is given and, if wanted, streams. Its files lie in the folder.
    pub(crate) async fn configured(folder: TempDir, more: &str, streams: bool) -> Self {
        let path = folder.path().display();
        // Room for the quotas of several namespaces on any disk: by itself it gives away three quarters of what is free.
        let streams = if streams {
            format!("jetstream {{ store_dir: \"{path}/store\", max_file_store: 64GB }}\n")
        } else {
            String::new()
        };
        let conf = format!(
            "server_name: test\nlisten: \"127.0.0.1:-1\"\nports_file_dir: \"{path}\"\nlog_file: \"{path}/nats.log\"\n\
             {streams}{more}"
        );
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, conf).unwrap();
        let binary = Binary::find(None, None).await.unwrap();
        let mut command = std::process::Command::new(binary.path);
        let process = Process::start(folder.path(), "nats", command.arg("-c").arg(&file));
        let address = eventually("the server's port", || async {
            let mut files = std::fs::read_dir(folder.path()).ok()?.filter_map(Result::ok).map(|file| file.path());
            let ports = files.find(|path| path.extension().is_some_and(|ending| ending == "ports"))?;
            let ports: Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
            ports["nats"][0].as_str()?.strip_prefix("nats://").map(str::to_owned)
        })
        .await;
        Self { address, _process: process, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is, for a user with a password or with a credentials file.
    pub(crate) fn url(&self, user: &str) -> String {
        match self.credentials(user) {
            Some(_) => format!("nats://{}", self.address),
            None => format!("nats://{user}:{PASSWORD}@{}", self.address),
        }
    }

    /// Where a user's credentials file is to be.
    pub(crate) fn credentials_file(&self, user: &str) -> PathBuf {
        self.folder().join(format!("{user}.creds"))
    }

    /// A user's credentials file, if there is one.
    pub(crate) fn credentials(&self, user: &str) -> Option<PathBuf> {
        Some(self.credentials_file(user)).filter(|file| file.is_file())
    }

    pub(crate) async fn connect(&self, user: &str) -> Connection {
        self.try_connect(user).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, user: &str) -> Result<Connection, kapelle_bus::Error> {
        let (url, credentials) = (self.url(user), self.credentials(user));
        let config = ConnectConfig { url, credentials, name: user.to_owned(), ..ConnectConfig::default() };
        Connection::open(&config, PATIENCE).await
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        self.listening_client(user).await.0
    }

    /// A client with everything that the server complains to it about.
    pub(crate) async fn listening_client(&self, user: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let options = match self.credentials(user) {
            Some(file) => ConnectOptions::with_credentials_file(file).await.unwrap(),
            None => ConnectOptions::new().user_and_password(user.to_owned(), PASSWORD.to_owned()),
        };
        let options = options.custom_inbox_prefix(format!("_INBOX_{user}"));
        let options = options.connection_timeout(Duration::from_secs(5)).event_callback(move |event| {
            if let async_nats::Event::ServerError(error) = event {
                listener.lock().unwrap().push(error.to_string());
            }
            async {}
        });
        (options.connect(&self.address).await.unwrap(), told)
    }

    /// What the server refused to anybody, by its own log.
    pub(crate) fn violations(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder().join("nats.log")).unwrap();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// What was refused is what a failure is about.
impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.violations().join("\n"));
        }
    }
}

/// Whether a publish, and on which subject: what a complaint of the server is about.
pub(crate) fn violated(complaint: &str) -> Option<(bool, String)> {
    let complaint = complaint.to_lowercase();
    let about = complaint.split("permissions violation for ").nth(1)?;
    let subject = about.split('"').nth(1)?.to_owned();
    Some((about.starts_with("publish"), subject))
}

pub(crate) fn caller(role: Role) -> Caller {
    Caller {
        principal: Principal(role.to_string()),
        person: None,
        roles: [role].into(),
        namespace: Some(Namespace::default()),
        sees_payloads: false,
        groups: Default::default(),
    }
}

pub(crate) fn place(role: Role, id: &str) -> Place {
    Place {
        namespace: Namespace::default(),
        // A worker in a process of its own chooses its id.
        id: if id == WORKER { "*" } else { id }.to_owned(),
        inbox: format!("_INBOX_{id}"),
        partitions: Partitions::new(4).unwrap(),
        agents: Agents::of([role].into_iter(), Agents::Named(vec!["scripted@1.0.0".parse().unwrap()])),
    }
}

pub(crate) fn allowed(role: Role, id: &str) -> Permissions {
    permissions(&Policies::embedded().unwrap(), &caller(role), &place(role, id))
}

/// A subject that a pattern of the table stands for.
pub(crate) fn filled(pattern: &str, id: &str) -> String {
    let pattern = pattern.replace("<runs>", "RUNS_3").replace("<inbox>", &format!("_INBOX_{id}")).replace("<id>", id);
    let pattern = pattern.replace("<queue>", "scripted-1_0_0").replace("<agent>", "scripted.1_0_0");
    pattern.replace('*', "x").replace('>', "y.z")
}

/// The same of somebody else: another agent, another inbox, another id. `None` where a pattern is the same for all.
pub(crate) fn anothers(pattern: &str) -> Option<String> {
    let own = pattern.contains("<inbox>")
        || pattern.contains("<id>")
        || pattern.contains("<queue>")
        || pattern.contains("<agent>");
    let pattern = pattern.replace("<queue>", "other-1_0_0").replace("<agent>", "other.1_0_0");
    own.then(|| filled(&pattern, "another"))
}

/// The subjects of a class, each with the class and whether it is published to.
pub(crate) fn subjects<'c>(class: &'c Class, id: &str) -> Vec<(&'c Class, bool, String)> {
    let publish = class.publish.iter().map(|pattern| (class, true, filled(pattern, id)));
    publish.chain(class.subscribe.iter().map(|pattern| (class, false, filled(pattern, id)))).collect()
}
