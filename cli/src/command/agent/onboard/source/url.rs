//! What a URL means: an archive, a repository, or something that is not taken.

use std::net::IpAddr;
use std::path::Path;

use kapelle_types::Code;
use tonic::transport::Uri;

use super::refused;
use crate::failure::Failure;

/// Endings of archives.
const ARCHIVES: [&str; 2] = [".tar.gz", ".tgz"];
/// The ending of repositories.
const REPOSITORY: &str = ".git";
/// How the cards of A2A agents are called, this year's and last year's.
const CARDS: [&str; 2] = ["/agent-card.json", "/.well-known/agent.json"];

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Url {
    /// A `.tar.gz` over HTTPS.
    Archive(String),
    /// A repository that git fetches.
    Git(String),
}

impl Url {
    /// `None` if it is a path.
    pub(super) fn read(text: &str) -> Result<Option<Self>, Failure> {
        if Path::new(text).exists() {
            return Ok(None);
        }
        if is_ssh(text) {
            return Ok(Some(Self::Git(text.to_owned())));
        }
        let Some((scheme, _)) = text.split_once("://") else { return Ok(None) };
        let uri = safe(text)?;
        let path = uri.path().trim_end_matches('/');
        if CARDS.iter().any(|card| path.ends_with(card)) {
            let message =
                format!("{text} is the card of an A2A agent, which runs elsewhere; Kapelle runs agents itself so far.");
            let hint = "Write a process agent that calls it, grant it `access: { network: { connect: [443] } }`, and onboard that.";
            return Err(Failure::coded(Code::ONBOARD_SOURCE, message, hint));
        }
        if path.ends_with(REPOSITORY) {
            return Ok(Some(Self::Git(text.to_owned())));
        }
        if ARCHIVES.iter().any(|ending| path.ends_with(ending)) {
            return Ok(Some(Self::Archive(text.to_owned())));
        }
        Err(refused(format!("`{text}` ({scheme}) is neither an archive (.tar.gz, .tgz) nor a repository (.git).")))
    }

    /// What git may speak to fetch it: a redirect must not leave the encryption that the URL promised.
    pub(super) fn protocols(&self) -> &'static str {
        if self.as_str().starts_with("http://") { "http" } else { "https:ssh" }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Archive(url) | Self::Git(url) => url,
        }
    }

    /// A folder's name: the last part of the path without its ending.
    pub(super) fn name(&self) -> Result<String, Failure> {
        let path = self.as_str().split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let last = path.rsplit(['/', ':']).next().unwrap_or_default();
        let endings = ARCHIVES.iter().chain([&REPOSITORY]);
        let name = endings.fold(last, |name, ending| name.strip_suffix(ending).unwrap_or(name));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_plain) {
            let message = format!("`{}` gives no name for a folder.", self.as_str());
            return Err(Failure::usage(message, "Name one with `--into`."));
        }
        Ok(name.to_owned())
    }
}

/// A URL that may be asked: encrypted, or of this machine; and without a password, which would be written down.
pub(super) fn safe(text: &str) -> Result<Uri, Failure> {
    let uri: Uri = text.parse().map_err(|e| refused(format!("`{text}` is no URL: {e}.")))?;
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        _ if uri.authority().is_some_and(|it| it.as_str().contains('@')) => Err(refused(
            "The URL holds a user or a password, which would end up in the report and in logs; use git's credential helper.",
        )),
        Some("https") => Ok(uri),
        Some("http") if is_local(host) => Ok(uri),
        Some("http") => Err(refused(format!(
            "`{text}` is not encrypted: whoever is between could hand out another agent. Use https."
        ))),
        _ => Err(refused(format!("`{text}` is not fetched: only https is, and git over ssh."))),
    }
}

/// As git and people write it: `git@host:path`, `ssh://git@host/path`.
fn is_ssh(text: &str) -> bool {
    let scp = |rest: &str| rest.split_once(':').is_some_and(|(host, path)| is_host(host) && !path.is_empty());
    text.strip_prefix("git@").is_some_and(scp)
        || text.strip_prefix("ssh://git@").is_some_and(|rest| {
            rest.split('/').next().is_some_and(|it| is_host(it.split(':').next().unwrap_or_default()))
        })
}

/// What git hands to ssh must not be taken for an option by it.
fn is_host(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

fn is_local(host: &str) -> bool {
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_and_repositories_are_told_apart() {
        for (text, url, name) in [
            ("https://h/a/agent-1.0.tar.gz", Url::Archive, "agent-1.0"),
            ("https://h/agent.tgz?ref=1", Url::Archive, "agent"),
            ("http://127.0.0.1:8000/x.tar.gz", Url::Archive, "x"),
            ("https://h/team/agent.git", Url::Git, "agent"),
            ("git@h:team/agent.git", Url::Git, "agent"),
            ("ssh://git@h:22/team/agent.git", Url::Git, "agent"),
        ] as [(&str, fn(String) -> Url, &str); 6]
        {
            let read = Url::read(text).unwrap().unwrap();
            assert_eq!((&read, read.name().unwrap().as_str()), (&url(text.to_owned()), name));
        }
        assert_eq!(Url::read("no/such/folder").unwrap(), None);
        assert!(Url::read("https://h/.tar.gz").unwrap().unwrap().name().is_err());
    }

    #[test]
    fn what_is_not_taken_says_why() {
        for (text, why) in [
            ("http://example.com/a.tar.gz", "not encrypted"),
            ("https://me:secret@h/a.git", "a user or a password"),
            ("file:///etc/a.tar.gz", "is no URL"),
            ("ftp://h/a.tar.gz", "only https"),
            ("ext::sh -c x", "no such"),
            ("ssh://git@-oProxyCommand=x/a.git", "a user or a password"),
            ("https://h/agent.zip", "neither an archive"),
            ("https://h/.well-known/agent-card.json", "the card of an A2A agent"),
        ] {
            match Url::read(text) {
                Ok(read) => assert_eq!((read, why), (None, "no such"), "{text}"),
                Err(failure) => {
                    assert_eq!(failure.code(), Some(Code::ONBOARD_SOURCE));
                    assert!(failure.message().contains(why), "{failure:?}");
                }
            }
        }
    }
}
