//! Whom notices of approvals go to: what one file names, and nobody else. Secrets stand in files of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use kapelle_types::{Code, Diagnosis, WorkflowName};
use lettre::Address;
use lettre::message::Mailbox;
use serde::Deserialize;

use super::webhook;

/// Destinations of one file: each has a consumer at the broker.
const DESTINATIONS_MAX: usize = 32;
/// The port on which mail is submitted with STARTTLS.
const SUBMISSION_PORT: u16 = 587;

/// Whom notices go to.
#[derive(Debug, Clone)]
pub struct Destinations {
    pub(super) all: Vec<Destination>,
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// What its consumer and its metrics are called.
    pub(super) name: String,
    /// The groups whose questions it is told of; all if it is empty.
    pub(super) groups: Vec<String>,
    pub(super) way: Way,
}

/// How somebody is told.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Webhook { url: String, secret: PathBuf },
    Mail { server: Server, from: Mailbox, to: Mailbox },
}

/// Who takes mail.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// The user, and the file with the password.
    pub(super) login: Option<(String, PathBuf)>,
}

/// What protects the way to whoever takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Security {
    /// TLS after STARTTLS, or no mail.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Nothing, for a server on this machine.
    None,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    webhooks: Vec<Webhook>,
    mail: Option<Mail>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    name: String,
    url: String,
    secret_file: PathBuf,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    server: String,
    port: Option<u16>,
    security: Option<Security>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    from: String,
    to: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    name: String,
    address: String,
    #[serde(default)]
    groups: Vec<String>,
}

impl Destinations {
    /// Reads the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// `NOTIFY_INVALID`.
    pub fn read(path: &Path) -> Result<Self, Diagnosis> {
        let invalid = |what: String| {
            Diagnosis::new(Code::NOTIFY_INVALID, format!("{}: {what}", path.display()))
                .hint("docs/guides/approvals.md shows a file with every field")
        };
        let text = std::fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(invalid)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        for webhook in file.webhooks {
            all.push(webhook.checked(folder)?);
        }
        if let Some(mail) = file.mail {
            all.extend(mail.checked(folder)?);
        }
        if all.is_empty() || all.len() > DESTINATIONS_MAX {
            return Err(format!("it names 1 to {DESTINATIONS_MAX} destinations"));
        }
        let mut names = HashSet::new();
        for Destination { name, .. } in &all {
            // They are parts of subjects, as names of workflows are.
            name.parse::<WorkflowName>().map_err(|e| format!("destination {name}: {e}"))?;
            if !names.insert(name) {
                return Err(format!("destination {name} stands there twice"));
            }
        }
        Ok(Self { all })
    }
}

impl Webhook {
    fn checked(self, folder: &Path) -> Result<Destination, String> {
        let Self { name, url, secret_file, groups } = self;
        let secret = folder.join(secret_file);
        let wrong = |what: String| format!("webhook {name}: {what}");
        secure(&url).map_err(wrong)?;
        webhook::read_key(&secret).map_err(wrong)?;
        Ok(Destination { name, groups, way: Way::Webhook { url, secret } })
    }
}

impl Mail {
    fn checked(self, folder: &Path) -> Result<Vec<Destination>, String> {
        let login = match (self.username, self.password_file) {
            (Some(user), Some(file)) => Some((user, folder.join(file))),
            (None, None) => None,
            _ => return Err("mail: `username` and `password_file` come together".into()),
        };
        if let Some((_, file)) = &login {
            std::fs::read_to_string(file).map_err(|e| format!("mail: {}: {e}", file.display()))?;
        }
        let security = self.security.unwrap_or(Security::StartTls);
        if security == Security::None && !is_local(&self.server) {
            return Err("mail: `security: none` is for a server on this machine alone".into());
        }
        let port = self.port.unwrap_or(SUBMISSION_PORT);
        let server = Server { host: self.server, port, security, login };
        let from: Mailbox = self.from.parse().map_err(|e| format!("mail: `from`: {e}"))?;
        let recipient = |it: Recipient| {
            let address: Address = it.address.parse().map_err(|e| format!("recipient {}: {e}", it.name))?;
            let way = Way::Mail { server: server.clone(), from: from.clone(), to: Mailbox::new(None, address) };
            Ok(Destination { name: it.name, groups: it.groups, way })
        };
        self.to.into_iter().map(recipient).collect()
    }
}

/// Notices go over TLS, or stay on this machine: what is asked of whom is nobody else's business.
fn secure(url: &str) -> Result<(), String> {
    let uri: tonic::codegen::http::Uri = url.parse().map_err(|e| format!("`url` is no address: {e}"))?;
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_local(uri.host().unwrap_or_default()) => Ok(()),
        _ => Err("`url` begins with https://; http:// is for this machine alone".into()),
    }
}

fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
webhooks:
  - { name: ops, url: https://hooks.example.com/kapelle, secret_file: ops.secret, groups: [legal] }
mail:
  server: smtp.example.com
  username: kapelle
  password_file: smtp.password
  from: Kapelle <kapelle@example.com>
  to:
    - { name: legal, address: legal@example.com }
";

    #[test]
    fn a_file_names_destinations_and_what_is_unsafe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ops.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        std::fs::write(folder.path().join("short.secret"), "whsec_c2hvcnQ=").unwrap();
        std::fs::write(folder.path().join("smtp.password"), "hush").unwrap();
        let read = Destinations::parse(GOOD, folder.path()).unwrap();
        let names: Vec<&str> = read.all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["ops", "legal"]);
        assert!(matches!(&read.all[1].way, Way::Mail { server, .. } if server.port == 587));
        for (right, wrong, says) in [
            ("https://hooks", "http://hooks", "https://"),
            ("ops.secret", "none.secret", "none.secret"),
            ("ops.secret", "short.secret", "24 to 64 bytes"),
            ("name: legal", "name: ops", "twice"),
            ("name: legal", "name: Legal Team", "Legal Team"),
            ("legal@example.com }", "legal }", "recipient legal"),
            ("  username: kapelle\n", "", "come together"),
            ("  server: smtp.example.com", "  security: none\n  server: smtp.example.com", "this machine"),
            ("groups: [legal]", "group: [legal]", "unknown field"),
        ] {
            let text = GOOD.replacen(right, wrong, 1);
            assert_ne!(text, GOOD, "{right}");
            let error = Destinations::parse(&text, folder.path()).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
        assert!(Destinations::parse("webhooks: []", folder.path()).is_err());
    }
}
