//! Names and versions of what is registered, and the ids of steps.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidName;
use crate::limits::NAME_CHARS_MAX;

/// Defines a newtype over a shared string with one rule for its characters.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $rest:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let rest: fn(char) -> bool = $rest;
                let shaped = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(rest);
                if shaped && text.len() <= NAME_CHARS_MAX {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName::new($what, text, $rule))
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of an agent: `[a-z][a-z0-9-]*`, at most 63 characters.
    AgentName,
    "agent name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a schedule: `[a-z][a-z0-9-]*`, at most 63 characters.
    ScheduleName,
    "schedule name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a workflow: `[a-z][a-z0-9-]*`, at most 63 characters.
    WorkflowName,
    "workflow name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a namespace, the tenant that runs and manifests belong to: `[a-z][a-z0-9-]*`, at most 63 characters.
    Namespace,
    "namespace",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of an API token: `[a-z][a-z0-9-]*`, at most 63 characters.
    TokenName,
    "token name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a user at the broker, which its inboxes and its presence go by: `[a-z][a-z0-9-]*`, at most 63 characters.
    UserName,
    "name of credentials",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The id of a step inside a workflow: `[a-z][a-z0-9_]*`, at most 63 characters, since it is a name in expressions.
    StepId,
    "step id",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `_`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
);
name!(
    /// The name of a secret: `[a-z][a-z0-9-]*`, at most 63 characters. Its value never travels with it.
    SecretName,
    "secret name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a folder that each worker has at a place of its own: `[a-z][a-z0-9-]*`, at most 63 characters.
    FolderName,
    "folder name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of a tool that a model may call: `[a-z][a-z0-9_-]*`, at most 63 characters, as every model takes it.
    ToolName,
    "tool name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits, `_` and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
);

name!(
    /// The name of a signal that a run waits for: `[a-z][a-z0-9-]*`, at most 63 characters.
    SignalName,
    "signal name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

name!(
    /// The name of a query that a workflow declares: `[a-z][a-z0-9-]*`, at most 63 characters.
    QueryName,
    "query name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `-`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

name!(
    /// The name of a case of a switch: `[a-z][a-z0-9_]*`, at most 63 characters.
    CaseName,
    "case name",
    "it starts with a lower-case letter and goes on with lower-case letters, digits and `_`, 63 characters at most",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
);

impl SecretName {
    /// The environment variable in which an agent gets the secret: `crm-token` is in `CRM_TOKEN`.
    #[must_use]
    pub fn variable(&self) -> String {
        self.as_str().to_ascii_uppercase().replace('-', "_")
    }
}

impl Default for Namespace {
    /// The namespace where nobody names one: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

/// A version as SemVer 2.0 has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(semver::Version);

impl Version {
    /// The SemVer value, to match it against a requirement.
    #[must_use]
    pub const fn semver(&self) -> &semver::Version {
        &self.0
    }

    /// The form that fits into one subject token: dots become underscores (`1.4.0` is `1_4_0`).
    #[must_use]
    pub fn token(&self) -> String {
        self.0.to_string().replace('.', "_")
    }

    /// Reads [`Version::token`] back. SemVer itself has no underscore, so nothing is ambiguous.
    ///
    /// # Errors
    /// The token is not a version.
    pub fn from_token(token: &str) -> Result<Self, InvalidName> {
        token.replace('_', ".").parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::new("version", text, "a version is SemVer: `1.4.0`, `2.0.0-rc.1`");
        if text.len() > NAME_CHARS_MAX {
            return Err(invalid());
        }
        semver::Version::parse(text).map(Self).map_err(|_| invalid())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Defines a name with its version, printed and parsed as `name@version`.
macro_rules! versioned {
    ($(#[$doc:meta])* $type:ident, $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $type {
            /// The name.
            pub name: $name,
            /// The version.
            pub version: Version,
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}@{}", self.name, self.version)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let (name, version) = text
                    .split_once('@')
                    .ok_or_else(|| InvalidName::new("name@version", text, "a name and a version, joined by `@`"))?;
                Ok(Self { name: name.parse()?, version: version.parse()? })
            }
        }
    };
}

versioned!(
    /// One immutable version of an agent.
    AgentVersion, AgentName
);
versioned!(
    /// One immutable version of a workflow.
    WorkflowVersion, WorkflowName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_shape() {
        for good in ["a", "licence-review", "a1"] {
            assert_eq!(good.parse::<AgentName>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "1a", "-a", "a.b", "a b", "a>", "a*", "a_b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
        assert!("sign_off".parse::<StepId>().is_ok());
        assert!("sign-off".parse::<StepId>().is_err());
        assert_eq!("crm-token".parse::<SecretName>().unwrap().variable(), "CRM_TOKEN");
    }

    #[test]
    fn versions_survive_the_token_form() {
        for text in ["1.4.0", "2.0.0-rc.1", "1.0.0-a-b.2+build.7"] {
            let v: Version = text.parse().unwrap();
            assert!(!v.token().contains('.'));
            assert_eq!(Version::from_token(&v.token()).unwrap(), v);
        }
        assert!("1.4".parse::<Version>().is_err());
    }

    #[test]
    fn versioned_names_print_and_parse() {
        let a: AgentVersion = "licence-review@1.2.0".parse().unwrap();
        assert_eq!(a.to_string(), "licence-review@1.2.0");
        assert!("licence-review".parse::<AgentVersion>().is_err());
    }
}
