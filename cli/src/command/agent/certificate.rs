//! `kapelle agent certificate …`: what was found when a version was retired, to be shown to others and checked without asking
//! anybody.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kapelle_coordinator::certificate::{self, Statement};
use kapelle_proto::v1;
use kapelle_types::{Code, Diagnosis};

use super::retire::{parse, refused};
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::bold;

/// Bytes of a certificate or a key that is read: many times as much as one has.
const BYTES_MAX: u64 = 1 << 20;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A certificate is a JSON Web Signature (EdDSA over Ed25519) and its key a JSON Web Key: any library for those checks it, too. Get
the key once, by a way that you trust, and keep it: a key that comes with a certificate says nothing.")]
pub(crate) enum Verb {
    /// Print the certificate of a version that is retired
    Show {
        /// The agent version
        #[arg(value_name = "NAME@VERSION")]
        agent: String,
    },
    /// Print the public key that the certificates of this namespace verify with, a JSON Web Key
    Key,
    /// Check a certificate with a key, without a coordinator, and print what it states
    Verify {
        /// The certificate
        #[arg(value_name = "FILE")]
        certificate: PathBuf,
        /// The public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// `kapelle agent certificate …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Show { agent } => {
            let agent = parse(&agent)?;
            let client = app.client().await?;
            let (agent, version) = (agent.name.to_string(), agent.version.to_string());
            let request = v1::GetCertificateRequest { agent, version };
            let answer = client.registry().get_certificate(request).await.map_err(|s| refused(&client, s))?;
            app.output.text(&answer.into_inner().jws)?;
        }
        Verb::Key => {
            let client = app.client().await?;
            let request = v1::GetCertificateKeyRequest {};
            let answer = client.registry().get_certificate_key(request).await.map_err(|s| client.failure(s))?;
            app.output.text(&answer.into_inner().jwk)?;
        }
        Verb::Verify { certificate, key } => {
            let statement = certificate::verify(&read(&certificate)?, &read(&key)?)?;
            app.output.show(&statement, page)?;
        }
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::plain(Exit::Usage, format!("{}: {why}.", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if bytes > BYTES_MAX {
        return Err(failed(format!("{bytes} bytes are too many for a certificate or a key")));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| {
        let message = format!("{} is no text, so it is neither a certificate nor a key", path.display());
        Diagnosis::new(Code::CERTIFICATE_INVALID, message).into()
    })
}

fn page(it: &Statement) -> String {
    let title = bold(&format!("{} was retired", it.sub.strip_prefix("agent:").unwrap_or(&it.sub)));
    let told = |act: &certificate::Act| {
        let why = if act.why.is_empty() { String::new() } else { format!(": {}", act.why) };
        format!("by {} at {}{why}", act.by, act.at)
    };
    let deprecated = it.deprecated.as_ref().map_or_else(String::new, |it| {
        let successor = it.successor.as_ref().map(|it| format!(", in favour of {it}")).unwrap_or_default();
        format!("deprecated  by {} at {}, sunset {}{successor}\n", it.by, it.at.rfc3339(), it.sunset.rfc3339())
    });
    let found = &it.found;
    format!(
        "{title}\n\
         stated by   {}\n\
         registered  {}\n\
         {deprecated}\
         retired     {}\n\
         manifest    SHA-256 {}\n\
         found       {} open runs, {} tasks, {} steps of current workflows that would have had nobody, {}\n\
         read for it {} entries of {} run logs, which stay\n\n\
         The signature is that of this key.",
        it.iss,
        told(&it.registered),
        told(&it.retired),
        it.manifest,
        found.open_runs,
        found.tasks,
        found.dependants,
        if found.released { "released" } else { "not released" },
        found.logs.values().sum::<u64>(),
        found.logs.len(),
    )
}

#[cfg(test)]
mod tests {
    use kapelle_types::{Principal, Sha256};

    use super::*;

    #[test]
    fn a_statement_is_a_page() {
        let act = |why: &str| certificate::Act {
            by: Principal("user:ada".into()),
            at: "2026-11-22T10:00:00.000Z".into(),
            why: why.into(),
        };
        let statement = Statement {
            iss: "kapelle:default".into(),
            sub: "agent:review@1.0.0".into(),
            iat: 1_795_341_600,
            manifest: Sha256::of(b"manifest"),
            registered: act(""),
            retired: act("replaced by 2.0.0"),
            deprecated: None,
            found: certificate::Found {
                dependants: 0,
                released: false,
                open_runs: 0,
                tasks: 0,
                logs: [("0".to_owned(), 40), ("1".to_owned(), 2)].into(),
            },
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&page(&statement)).to_string());
    }
}
