//! Whose calls are accepted: tokens always, and the identities of the issuers that a file names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use kapelle_types::{Code, Diagnosis, Namespace};
use serde::Deserialize;

/// Difference between two clocks that is forgiven where the file says nothing.
const LEEWAY: Duration = Duration::from_secs(60);
/// The most that a file may forgive: a credential must not live long after its end.
const LEEWAY_MAX_SECONDS: u64 = 300;
/// Issuers of one file.
const ISSUERS_MAX: usize = 32;

/// Whose calls are accepted, beside those of the holders of tokens.
#[derive(Debug, Clone)]
pub enum Accepted {
    /// Whoever reaches the API, as the development identity. Only on a loopback address.
    Development,
    /// The identities of these issuers.
    Known(Identities),
}

impl Default for Accepted {
    fn default() -> Self {
        Self::Known(Identities::default())
    }
}

/// The issuers of identities.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    pub(super) issuers: Vec<IssuerConfig>,
}

/// One issuer and what is believed of what it says.
#[derive(Debug, Clone)]
pub(super) struct IssuerConfig {
    /// Exactly what stands in `iss`.
    pub(super) issuer: String,
    /// What has to stand in `aud`.
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) keys: KeySource,
    /// The namespace of all its callers, where no claim says it.
    pub(super) namespace: Option<Namespace>,
    pub(super) claims: Claims,
    pub(super) leeway: Duration,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    Url(String),
    File(PathBuf),
}

/// Which claims say what: each a claim's name, or a JSON pointer (`/realm_access/roles`) to one that lies deeper.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// A list of role names, or one string with spaces. Names that are no roles are passed over.
    pub(super) roles: String,
    pub(super) namespace: Option<String>,
    pub(super) person: Option<String>,
    pub(super) may_see_payloads: Option<String>,
    /// A list of group names, or one string with spaces: who is asked for approvals.
    pub(super) groups: Option<String>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issuers: Vec<Issuer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    namespace: Option<Namespace>,
    claims: Claims,
    leeway_seconds: Option<u64>,
}

impl Identities {
    /// Reads the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// `IDENTITY_INVALID`.
    pub fn read(path: &Path) -> Result<Self, Diagnosis> {
        let invalid = |what: String| {
            Diagnosis::new(Code::IDENTITY_INVALID, format!("{}: {what}", path.display()))
                .hint("docs/guides/identity.md shows a file with every field")
        };
        let text = std::fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(invalid)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
        if file.issuers.is_empty() || file.issuers.len() > ISSUERS_MAX {
            return Err(format!("it names 1 to {ISSUERS_MAX} issuers"));
        }
        let mut names = HashSet::new();
        let mut issuers = Vec::with_capacity(file.issuers.len());
        for issuer in file.issuers {
            let name = issuer.issuer.clone();
            if !names.insert(name.clone()) {
                return Err(format!("issuer {name} stands there twice"));
            }
            issuers.push(issuer.checked(folder).map_err(|what| format!("issuer {name}: {what}"))?);
        }
        Ok(Self { issuers })
    }
}

impl Issuer {
    fn checked(self, folder: &Path) -> Result<IssuerConfig, String> {
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err("`issuer` and `audience` are not empty".into());
        }
        let algorithms: Result<Vec<_>, String> = self.algorithms.iter().map(|a| algorithm(a)).collect();
        let algorithms = algorithms?;
        if algorithms.is_empty() {
            return Err("`algorithms` names at least one".into());
        }
        let keys = match (self.jwks_url, self.jwks_file) {
            (Some(url), None) => KeySource::Url(secure(url)?),
            (None, Some(file)) => KeySource::File(folder.join(file)),
            _ => return Err("exactly one of `jwks_url` and `jwks_file` is given".into()),
        };
        if self.namespace.is_some() == self.claims.namespace.is_some() {
            return Err("exactly one of `namespace` and `claims.namespace` says where its callers belong".into());
        }
        let leeway = match self.leeway_seconds {
            None => LEEWAY,
            Some(seconds) if seconds <= LEEWAY_MAX_SECONDS => Duration::from_secs(seconds),
            Some(_) => return Err(format!("`leeway_seconds` is {LEEWAY_MAX_SECONDS} at most")),
        };
        let Self { issuer, audience, namespace, claims, .. } = self;
        Ok(IssuerConfig { issuer, audience, algorithms, keys, namespace, claims, leeway })
    }
}

/// An algorithm with a public key.
fn algorithm(name: &str) -> Result<Algorithm, String> {
    let families = [AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
    let all: Vec<Algorithm> = families.iter().flat_map(|f| f.algorithms().iter().copied()).collect();
    let named = all.iter().copied().find(|a| format!("{a:?}") == name);
    named.ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|a| format!("{a:?}")).collect();
        format!("algorithm `{name}` is not among {}", known.join(", "))
    })
}

/// Keys come over TLS, or from this machine: whoever can change them on the way is every caller.
fn secure(url: String) -> Result<String, String> {
    let uri: tonic::codegen::http::Uri = url.parse().map_err(|e| format!("`jwks_url` is no address: {e}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if local => Ok(url),
        _ => Err("`jwks_url` begins with https://; http:// is for this machine alone".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
issuers:
  - issuer: https://id.example.com/
    audience: kapelle
    algorithms: [RS256, ES256]
    jwks_url: https://id.example.com/jwks.json
    claims:
      roles: /realm_access/roles
      namespace: kapelle_namespace
      person: email
      may_see_payloads: kapelle_payloads
    leeway_seconds: 30
  - issuer: https://ci.example.com
    audience: kapelle
    algorithms: [EdDSA]
    jwks_file: ci.json
    namespace: default
    claims: { roles: roles }
";

    #[test]
    fn a_file_names_issuers() {
        let read = Identities::parse(GOOD, Path::new("/etc/kapelle")).unwrap();
        let [first, second] = &read.issuers[..] else { panic!("{read:?}") };
        assert_eq!(first.algorithms, [Algorithm::RS256, Algorithm::ES256]);
        assert_eq!((first.leeway, second.leeway), (Duration::from_secs(30), LEEWAY));
        assert!(matches!(&second.keys, KeySource::File(path) if path == Path::new("/etc/kapelle/ci.json")));
    }

    #[test]
    fn what_would_let_somebody_in_by_mistake_is_refused() {
        let url = "jwks_url: https://id.example.com/jwks.json";
        for (right, wrong, says) in [
            ("[EdDSA]", "[HS256]", "algorithm `HS256`"),
            ("[EdDSA]", "[none]", "algorithm `none`"),
            ("[EdDSA]", "[]", "at least one"),
            (url, "jwks_url: http://id.example.com/jwks.json", "https://"),
            (url, "jwks_url: ftp://id.example.com/jwks.json", "https://"),
            (url, "person: x", "unknown field"),
            ("jwks_file: ci.json", "jwks_file: ci.json\n    jwks_url: https://x", "exactly one"),
            ("namespace: default\n", "\n", "where its callers belong"),
            ("audience: kapelle\n    algorithms: [EdDSA]", "algorithms: [EdDSA]", "audience"),
            ("leeway_seconds: 30", "leeway_seconds: 600", "300 at most"),
            ("https://ci.example.com", "https://id.example.com/", "twice"),
            ("roles: roles", "role: roles", "unknown field"),
        ] {
            let text = GOOD.replacen(right, wrong, 1);
            assert_ne!(text, GOOD, "{right}");
            let error = Identities::parse(&text, Path::new(".")).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
        assert!(Identities::parse("issuers: []", Path::new(".")).is_err());
        assert!(secure("http://127.0.0.1:8080/jwks".into()).is_ok() && secure("http://[::1]/jwks".into()).is_ok());
    }
}
