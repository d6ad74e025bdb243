//! Telling a running broker about accounts, as a user of its system account.

use kapelle_bus::Connection;
use serde::Deserialize;

use crate::Error;

/// What the broker answers; the rest of it is of no interest.
#[derive(Deserialize)]
struct Answer {
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    description: String,
}

/// Makes accounts be there as they are signed: new ones, changed ones, and connections of whoever was revoked are closed.
///
/// # Errors
/// [`Error::Refused`] if the broker does not take one; [`Error::Broker`] if it does not answer.
pub async fn push(system: &Connection, accounts: &[String]) -> Result<(), Error> {
    for account in accounts {
        request(system, "$SYS.REQ.CLAIMS.UPDATE", account).await?;
    }
    Ok(())
}

/// Makes accounts be gone.
///
/// # Errors
/// As [`push`].
pub async fn remove(system: &Connection, removal: &str) -> Result<(), Error> {
    request(system, "$SYS.REQ.CLAIMS.DELETE", removal).await
}

async fn request(system: &Connection, subject: &'static str, jwt: &str) -> Result<(), Error> {
    let answer = system.client().request(subject, jwt.to_owned().into()).await;
    let answer = answer.map_err(|e| kapelle_bus::Error::Unavailable(format!("no answer to {subject}: {e}")))?;
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|e| Error::Refused(e.to_string()))?;
    match answer.error {
        None => Ok(()),
        Some(refused) => Err(Error::Refused(refused.description)),
    }
}
