//! Credentials: a user of a role, signed by the key that may sign that role and no other.

use std::path::PathBuf;
use std::time::Duration;

use kapelle_bus::Credentials;
use kapelle_types::{AgentVersion, Role, Timestamp, UserName, limits};
use nkeys::KeyPair;

use crate::record::{Issued, Record};
use crate::{Error, Operator, claims, folder, jwt};

/// Credentials that are wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose they are. The same name again is a renewal: both hold until one expires or is revoked.
    pub name: UserName,
    /// What their holder may be.
    pub role: Role,
    /// The agents whose tasks a worker takes with them.
    pub agents: Vec<AgentVersion>,
    /// How long they hold.
    pub life: Duration,
}

impl Operator {
    /// Makes credentials and keeps a record of them, without the key. Gives what belongs into the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they make no sense; [`Error::Folder`] if a key cannot be read.
    pub fn issue(&self, record: &mut Record, wanted: Wanted, now: Timestamp) -> Result<(Issued, String), Error> {
        check(record, &wanted)?;
        record.forget(now);
        if record.credentials.len() >= limits::CREDENTIALS_MAX {
            return Err(Error::Invalid(format!(
                "{} credentials are as many as a namespace keeps",
                limits::CREDENTIALS_MAX
            )));
        }
        let user = KeyPair::new_user();
        let issued = Issued {
            name: wanted.name,
            role: wanted.role,
            agents: wanted.agents,
            public_key: user.public_key(),
            issued_at: now,
            expires_at: now.plus(wanted.life),
            revoked_at: None,
        };
        let jwt = jwt::sign(claims::user(record, &issued), &self.signer(record, issued.role)?, now)?;
        let seed = user.seed().map_err(|e| Error::Invalid(format!("a key cannot be written: {e}")))?;
        record.credentials.push(issued.clone());
        self.save(record)?;
        Ok((issued, Credentials::render(&jwt, &seed)))
    }
}

fn check(record: &Record, wanted: &Wanted) -> Result<(), Error> {
    let invalid = |why: String| Err(Error::Invalid(why));
    if (wanted.role == Role::Worker) == wanted.agents.is_empty() {
        return invalid("a worker has agents, and nobody else has".to_owned());
    }
    // nats-server reads tags without their case.
    if let Some(agent) = wanted.agents.iter().find(|a| a.version.token().bytes().any(|b| b.is_ascii_uppercase())) {
        return invalid(format!("{agent} has upper-case letters in its version, which tags of credentials cannot say"));
    }
    if wanted.life.is_zero() || wanted.life > limits::CREDENTIALS_LIFE_MAX {
        return invalid("credentials hold for 366 days at most".to_owned());
    }
    // Two users of one name and different roles would share inboxes and presence.
    match record.credentials.iter().find(|c| c.name == wanted.name && c.role != wanted.role) {
        Some(other) => invalid(format!("`{}` is the name of a {}'s credentials", other.name, other.role)),
        None => Ok(()),
    }
}

/// How long a visit may take.
const VISIT: Duration = Duration::from_secs(300);
/// The file of a visit's credentials, in the namespace's folder.
const VISITOR: &str = "visit.creds";

impl Operator {
    /// Credentials of a coordinator for some minutes, for whoever holds the operator's keys and looks into a namespace. They
    /// are not kept in its record; the file is to be removed when the visit is over.
    ///
    /// # Errors
    /// [`Error::Folder`] if a key cannot be read or the file not written.
    pub fn visit(&self, record: &Record, now: Timestamp) -> Result<PathBuf, Error> {
        let user = KeyPair::new_user();
        let name = "operator".parse().map_err(|e| Error::Invalid(format!("{e}")))?;
        let visitor = Issued {
            name,
            role: Role::Coordinator,
            agents: Vec::new(),
            public_key: user.public_key(),
            issued_at: now,
            expires_at: now.plus(VISIT),
            revoked_at: None,
        };
        let jwt = jwt::sign(claims::user(record, &visitor), &self.signer(record, Role::Coordinator)?, now)?;
        let file = self.place(&record.name).join(VISITOR);
        let seed = user.seed().map_err(|e| Error::folder(&file, e))?;
        folder::write(&file, &Credentials::render(&jwt, &seed))?;
        Ok(file)
    }
}
