//! Hosts and addresses on the web, as manifests name them and workers are held to them.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::{Serialize, Serializer};

/// The port of `https`, which is meant where none is written.
const PORT_DEFAULT: u16 = 443;
/// Endings of names that no public name server answers for.
const PRIVATE_ENDINGS: [&str; 4] = [".local", ".internal", ".localhost", ".svc"];

/// A host with a port: `api.example.com`, `localhost:8080`, `[::1]:8080`. Without a port it is 443.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    name: String,
    port: u16,
}

impl Host {
    /// The name or the address; an IPv6 address in its brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is named so that nobody on the internet can be meant: an address itself, a name without a dot, or one
    /// with an ending that only private networks have. Other names must not lead into a private network.
    #[must_use]
    pub fn may_be_private(&self) -> bool {
        let is_address = self.name.starts_with('[') || self.name.chars().all(|c| c.is_ascii_digit() || c == '.');
        is_address || !self.name.contains('.') || PRIVATE_ENDINGS.iter().any(|ending| self.name.ends_with(ending))
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a host is a name or an address, with a port behind a `:` unless it is 443";
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !text.ends_with(']') => (name, port.parse().ok().filter(|it| *it > 0).ok_or(SHAPE)?),
            _ => (text, PORT_DEFAULT),
        };
        let inside = name.strip_prefix('[').map(|it| it.strip_suffix(']').unwrap_or_default());
        let fits = match inside {
            Some(address) => !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || ":.".contains(c)),
            None => {
                let label =
                    |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                name.split('.').all(label)
            }
        };
        if fits { Ok(Self { name: name.to_ascii_lowercase(), port }) } else { Err(SHAPE) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            PORT_DEFAULT => f.write_str(&self.name),
            port => write!(f, "{}:{port}", self.name),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Where something answers over HTTP: `https://api.example.com/v1`. Without user, query and fragment; in plain text only where
/// nobody on the internet can be meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebUrl {
    text: String,
    host: Host,
}

impl WebUrl {
    /// Whom it reaches.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Whether what goes there is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// It as text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for WebUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "it is written `https://host/path`";
        if text.contains(['#', '?', '@', '\\', '$', '{']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it has a scheme, a host and a path, and neither user, query, fragment nor expression");
        }
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let authority = uri.authority().ok_or(SHAPE)?.as_str();
        let (encrypted, host) = match uri.scheme_str() {
            Some("https") => (true, authority.parse()?),
            Some("http") if authority.ends_with(']') || !authority.contains(':') => {
                (false, format!("{authority}:80").parse::<Host>()?)
            }
            Some("http") => (false, authority.parse()?),
            _ => return Err(SHAPE),
        };
        if !encrypted && !host.may_be_private() {
            return Err("what goes to a public host is encrypted; it has to be `https`");
        }
        let scheme = if encrypted { "https" } else { "http" };
        let text = format!("{scheme}://{}{}", authority.to_ascii_lowercase(), uri.path().trim_end_matches('/'));
        Ok(Self { text, host })
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_printed() {
        for (text, printed, private) in [
            ("api.example.com", "api.example.com", false),
            ("API.Example.com:443", "api.example.com", false),
            ("localhost:8080", "localhost:8080", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("[::1]:8080", "[::1]:8080", true),
            ("[FE80::1]", "[fe80::1]", true),
            ("vllm.models.svc:8000", "vllm.models.svc:8000", true),
            ("internal.example.com", "internal.example.com", false),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!((host.to_string().as_str(), host.may_be_private()), (printed, private), "{text}");
        }
        for text in ["", "a..b", "host:", "host:0", "host:99999", "*.example.com", "a/b", "[::1", "[]", "[x]", "ho st"]
        {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_say_whom_they_reach() {
        for (text, kept, host) in [
            ("https://api.example.com/v1/", "https://api.example.com/v1", "api.example.com"),
            ("HTTPS://API.example.com", "https://api.example.com", "api.example.com"),
            ("http://localhost/v1", "http://localhost/v1", "localhost:80"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1", "127.0.0.1:8080"),
            ("http://[::1]/x", "http://[::1]/x", "[::1]:80"),
            ("https://[::1]", "https://[::1]", "[::1]"),
        ] {
            let url: WebUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.host().to_string().as_str()), (kept, host), "{text}");
            assert_eq!(kept.parse::<WebUrl>().unwrap(), url);
        }
        for text in [
            "",
            "api.example.com/v1",
            "/v1",
            "ftp://a.b/",
            "http://api.example.com/v1",
            "https://user:pw@a.b/",
            "https://a.b/?q=1",
            "https://a.b/#f",
            "https:///v1",
            "https://a.b\\@c.d/",
            "https://${input.host}/",
            "https://a.b/ x",
        ] {
            assert!(text.parse::<WebUrl>().is_err(), "{text}");
        }
    }
}
