//! The operator: a folder of keys, and everything that they sign.
//!
//! ```text
//!   DIR/operator.nk operator.jwt        who everybody at the broker trusts
//!       system.nk system.jwt            the account through which accounts are pushed
//!       system.creds                    its one user
//!       broker.conf                     what nats-server's configuration includes
//!       namespaces/<name>/namespace.json  the record
//!                         core.nk edge.nk workers.nk <role>.nk
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kapelle_bus::Credentials;
use kapelle_policy::Policies;
use kapelle_types::{Namespace, Partitions, Role, Timestamp};
use nkeys::KeyPair;

use crate::record::{Quotas, Record};
use crate::{Error, claims, folder, jwt};

const RECORD: &str = "namespace.json";

/// The keys of an operator. Whoever holds it, holds its folder: a second process waits.
#[derive(Debug)]
pub struct Operator {
    dir: PathBuf,
    _held: File,
}

impl Operator {
    /// Makes an operator, its system account, and what nats-server includes: `accounts` is the folder that each server keeps
    /// accounts in. Nothing is overwritten.
    ///
    /// # Errors
    /// [`Error::Folder`] if the folder has an operator already or cannot be written.
    pub fn init(dir: &Path, name: &str, accounts: &Path, now: Timestamp) -> Result<Self, Error> {
        if dir.join("operator.nk").exists() {
            return Err(Error::folder(dir, "there is an operator already; its keys are never overwritten"));
        }
        folder::make(dir)?;
        let held = folder::hold(&dir.join("lock"))?;
        let (operator, system, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        folder::write_key(&dir.join("operator.nk"), &operator)?;
        folder::write_key(&dir.join("system.nk"), &system)?;
        let claims = claims::operator(name, &operator.public_key(), &system.public_key());
        let operator_jwt = jwt::sign(claims, &operator, now)?;
        let system_jwt = jwt::sign(claims::system(&system.public_key()), &operator, now)?;
        let user_jwt = jwt::sign(claims::system_user(&user.public_key()), &system, now)?;
        let seed = user.seed().map_err(|e| Error::folder(dir, e))?;
        folder::write_new(&dir.join("operator.jwt"), &operator_jwt)?;
        folder::write_new(&dir.join("system.jwt"), &system_jwt)?;
        folder::write_new(&dir.join("system.creds"), &Credentials::render(&user_jwt, &seed))?;
        folder::write_new(&dir.join("broker.conf"), &conf(&operator_jwt, &system.public_key(), &system_jwt, accounts))?;
        folder::make(&dir.join("namespaces"))?;
        Ok(Self { dir: dir.to_owned(), _held: held })
    }

    /// Opens an operator's folder.
    ///
    /// # Errors
    /// [`Error::Folder`] if it is none.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        if !dir.join("operator.nk").is_file() {
            return Err(Error::folder(dir, "this is no operator's folder"));
        }
        Ok(Self { dir: dir.to_owned(), _held: folder::hold(&dir.join("lock"))? })
    }

    /// The credentials with which accounts are pushed.
    #[must_use]
    pub fn system_credentials(&self) -> PathBuf {
        self.dir.join("system.creds")
    }

    /// Makes a namespace: keys and a record. The broker does not know of it until its accounts are pushed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is one of this name.
    pub fn create(
        &self,
        name: Namespace,
        partitions: Partitions,
        quotas: Quotas,
        now: Timestamp,
    ) -> Result<Record, Error> {
        let place = self.place(&name);
        if place.exists() {
            return Err(Error::Invalid(format!("there is a namespace `{name}` already")));
        }
        folder::make(&place)?;
        let [core, edge, workers] = [(); 3].map(|()| KeyPair::new_account());
        for (file, key) in [("core.nk", &core), ("edge.nk", &edge), ("workers.nk", &workers)] {
            folder::write_key(&place.join(file), key)?;
        }
        let mut record = Record {
            name,
            created_at: now,
            partitions,
            quotas,
            core: core.public_key(),
            edge: edge.public_key(),
            workers: workers.public_key(),
            signers: std::collections::BTreeMap::new(),
            credentials: Vec::new(),
        };
        for role in Role::ALL {
            let signer = KeyPair::new_account();
            folder::write_key(&place.join(format!("{role}.nk")), &signer)?;
            record.signers.insert(role, signer.public_key());
        }
        self.save(&record)?;
        Ok(record)
    }

    /// Every namespace, by name.
    ///
    /// # Errors
    /// [`Error::Folder`] if one cannot be read.
    pub fn namespaces(&self) -> Result<Vec<Record>, Error> {
        let place = self.dir.join("namespaces");
        let entries = fs::read_dir(&place).map_err(|e| Error::folder(&place, e))?;
        let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<Namespace> = names.filter_map(|name| name.parse().ok()).collect();
        names.sort();
        names.iter().map(|name| self.namespace(name)).collect()
    }

    /// One namespace.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is none of this name.
    pub fn namespace(&self, name: &Namespace) -> Result<Record, Error> {
        let file = self.place(name).join(RECORD);
        if !file.is_file() {
            return Err(Error::Unknown(format!("there is no namespace `{name}`")));
        }
        serde_json::from_str(&folder::read(&file)?).map_err(|e| Error::folder(&file, e))
    }

    /// Keeps a record as it is now.
    ///
    /// # Errors
    /// [`Error::Folder`] if it cannot be written.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let file = self.place(&record.name).join(RECORD);
        let text = serde_json::to_string_pretty(record).map_err(|e| Error::folder(&file, e))?;
        folder::write(&file, &text)
    }

    /// Forgets a namespace and its keys.
    ///
    /// # Errors
    /// [`Error::Folder`] if its folder cannot be removed.
    pub fn forget(&self, record: &Record) -> Result<(), Error> {
        let place = self.place(&record.name);
        fs::remove_dir_all(&place).map_err(|e| Error::folder(&place, e))
    }

    /// The accounts of a namespace, signed, with what these policies allow in them.
    ///
    /// # Errors
    /// [`Error::Folder`] if the operator's key cannot be read.
    pub fn accounts(&self, record: &Record, policies: &Policies, now: Timestamp) -> Result<Vec<String>, Error> {
        let operator = self.key()?;
        // The core first: an import of what nobody exports yet is refused.
        let claims = [
            claims::core(record, policies, now),
            claims::people(record, policies, now),
            claims::workers(record, policies, now),
        ];
        claims.into_iter().map(|claims| jwt::sign(claims, &operator, now)).collect()
    }

    /// What tells the broker to forget a namespace.
    ///
    /// # Errors
    /// [`Error::Folder`] if the operator's key cannot be read.
    pub fn removal(&self, record: &Record, now: Timestamp) -> Result<String, Error> {
        let operator = self.key()?;
        let accounts = [record.edge.as_str(), &record.workers, &record.core];
        jwt::sign(claims::removal(&operator.public_key(), &accounts), &operator, now)
    }

    pub(crate) fn signer(&self, record: &Record, role: Role) -> Result<KeyPair, Error> {
        folder::read_key(&self.place(&record.name).join(format!("{role}.nk")))
    }

    fn key(&self) -> Result<KeyPair, Error> {
        folder::read_key(&self.dir.join("operator.nk"))
    }

    pub(crate) fn place(&self, name: &Namespace) -> PathBuf {
        self.dir.join("namespaces").join(name.as_str())
    }
}

/// What nats-server's configuration includes.
fn conf(operator: &str, system: &str, system_jwt: &str, accounts: &Path) -> String {
    let accounts = accounts.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# Whom nats-server trusts: written once by `kapelle broker init`, the same for every node. It holds no secret.\n\
         operator: {operator}\n\
         system_account: {system}\n\
         # Accounts are pushed by `kapelle namespace`, kept in this folder and spread to every node.\n\
         resolver {{ type: full, dir: \"{accounts}\", allow_delete: true, interval: \"2m\", timeout: \"2s\" }}\n\
         resolver_preload {{ {system}: {system_jwt} }}\n"
    )
}
