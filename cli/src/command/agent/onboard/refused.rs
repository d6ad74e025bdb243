//! What an agent was refused in its trial, and the line of its manifest that would grant it.
//!
//! The kernel tells the agent and nobody else, so this is read from what the agent said: its error and the last lines of its
//! stderr. An agent that says nothing, or goes on without, was refused and nobody knows. Nothing is granted here.

use serde::Serialize;

use crate::view::Error;

/// What programs say when the kernel refuses them a file.
const FILE: [&str; 2] = ["Permission denied", "permission denied"];
/// What programs say when they get no socket, or no name of a host without one.
const NETWORK: [&str; 8] = [
    "socket.py",
    "name resolution",
    "getaddrinfo",
    "EAI_AGAIN",
    "ENOTFOUND",
    "urlopen error",
    "Could not resolve host",
    "dns error",
];
/// Characters of a path that is quoted.
const PATH_CHARS_MAX: usize = 512;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// What was out of reach.
    pub(super) what: String,
    /// What to write into `spec`, if it is meant to be granted.
    pub(super) grant: String,
    /// The line of the agent's that shows it.
    pub(super) evidence: String,
}

/// What an error of the agent shows of refusals, each once.
pub(super) fn explain(error: &Error) -> Vec<Refusal> {
    let mut found: Vec<Refusal> = Vec::new();
    let text = format!("{}\n{}", error.message, error.evidence);
    let by_socket = NETWORK.iter().any(|it| text.contains(it));
    for line in text.lines().map(str::trim) {
        let refusal = if FILE.iter().any(|it| line.contains(it)) {
            match path(line) {
                Some(path) => Some(file(path, line)),
                None if by_socket => Some(network(line)),
                None => Some(unnamed(line)),
            }
        } else if NETWORK.iter().skip(1).any(|it| line.contains(it)) {
            Some(network(line))
        } else {
            variable(line, &text)
        };
        found.extend(refusal.filter(|new| !found.iter().any(|it| it.what == new.what)));
    }
    found
}

fn file(path: &str, line: &str) -> Refusal {
    Refusal {
        what: format!("the file or folder {path}"),
        grant: format!("access: {{ files: {{ read: [{path}] }} }}, or `write` if it writes there"),
        evidence: line.to_owned(),
    }
}

fn network(line: &str) -> Refusal {
    Refusal {
        what: "the network".to_owned(),
        grant: "access: { network: { connect: [443] } }, with the TCP ports that it needs".to_owned(),
        evidence: line.to_owned(),
    }
}

fn unnamed(line: &str) -> Refusal {
    Refusal {
        what: "something that it does not name".to_owned(),
        grant: "access: { files: … } for a file, access: { network: … } for a connection".to_owned(),
        evidence: line.to_owned(),
    }
}

/// A variable that a Python program asked its environment for in vain.
fn variable(line: &str, text: &str) -> Option<Refusal> {
    let name = line.strip_prefix("KeyError: ")?.trim_matches(['\'', '"']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    (is_name && text.contains("environ")).then(|| Refusal {
        what: format!("the variable {name}"),
        grant: format!(
            "access: {{ secrets: [{}] }} if it is a secret, access: {{ env: [{name}] }} if not",
            name.to_ascii_lowercase().replace('_', "-")
        ),
        evidence: line.to_owned(),
    })
}

/// The path that a line names: in quotes behind the words, as most programs do it, or before them with a colon.
fn path(line: &str) -> Option<&str> {
    let quoted = line.split(['\'', '"', '`']).skip(1).step_by(2).find(|it| it.contains('/'));
    let bare = || line.split([' ', ':']).find(|it| it.starts_with('/'));
    quoted.or_else(bare).filter(|it| it.chars().count() <= PATH_CHARS_MAX && !it.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, evidence: &str, want: &[(&str, &str)]) {
        let error = Error {
            code: "K0402".into(),
            message: message.into(),
            kind: "agent".into(),
            retryable: true,
            evidence: evidence.into(),
        };
        let found = explain(&error);
        let found: Vec<_> = found.iter().map(|it| (it.what.as_str(), it.grant.as_str())).collect();
        assert_eq!(found, want, "{message} {evidence}");
    }

    const NETWORK: (&str, &str) =
        ("the network", "access: { network: { connect: [443] } }, with the TCP ports that it needs");

    #[test]
    fn what_programs_say_is_understood() {
        let file = "access: { files: { read: [/srv/models] } }, or `write` if it writes there";
        for line in [
            "PermissionError: [Errno 13] Permission denied: '/srv/models'",
            "Error: EACCES: permission denied, open '/srv/models'",
            "cat: /srv/models: Permission denied",
            "ls: cannot open directory '/srv/models': Permission denied",
        ] {
            check("the agent ended", line, &[("the file or folder /srv/models", file)]);
            check(line, "", &[("the file or folder /srv/models", file)]);
        }
        check(
            "",
            "  File \"/usr/lib/python3.13/socket.py\", line 233\nPermissionError: [Errno 13] Permission denied",
            &[NETWORK],
        );
        check("", "socket.gaierror: [Errno -3] Temporary failure in name resolution", &[NETWORK]);
        check("<urlopen error [Errno 13] Permission denied>", "", &[NETWORK]);
        let variable =
            "access: { secrets: [openai-api-key] } if it is a secret, access: { env: [OPENAI_API_KEY] } if not";
        check(
            "",
            "  File \"<frozen os>\", line 685\n    os.environ[n]\nKeyError: 'OPENAI_API_KEY'",
            &[("the variable OPENAI_API_KEY", variable)],
        );
        let unnamed = "access: { files: … } for a file, access: { network: … } for a connection";
        check("Permission denied (os error 13)", "", &[("something that it does not name", unnamed)]);
    }

    #[test]
    fn other_errors_are_no_refusals() {
        check("bad_input: the text is empty", "Traceback\nKeyError: 'text'", &[]);
        check("", "KeyError: 'TEXT'", &[]);
    }
}
