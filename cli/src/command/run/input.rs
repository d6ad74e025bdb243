//! A run's input: a file, stdin, or JSON on the command line. Checked here for size and syntax, so that a mistake costs no
//! round trip and comes with its line; whether it fits the workflow's contract, the coordinator says.

use std::fs::File;
use std::io::{self, Read};

use kapelle_types::{Code, limits};
use serde_json::Value;

use crate::failure::Failure;

/// Reads the input that `--input` names; `{}` if it names none.
pub(crate) fn read(source: Option<&str>) -> Result<Vec<u8>, Failure> {
    let (name, bytes) = match source.map(str::trim) {
        None => return Ok(b"{}".to_vec()),
        Some("-") => ("stdin", bounded(io::stdin().lock()).map_err(|e| unreadable("stdin", &e))?),
        Some(json) if json.starts_with(['{', '[', '"']) => ("--input", json.as_bytes().to_vec()),
        Some(path) => {
            let file = File::open(path).map_err(|e| unreadable(path, &e))?;
            (path, bounded(file).map_err(|e| unreadable(path, &e))?)
        }
    };
    check(name, &bytes)?;
    Ok(bytes)
}

/// At most one byte more than is allowed: enough to know that it is too much.
fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limits::PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(name: &str, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() > limits::PAYLOAD_BYTES_MAX {
        let most = limits::PAYLOAD_BYTES_MAX / (1024 * 1024);
        return Err(Failure::coded(
            Code::PAYLOAD_TOO_LARGE,
            format!("The input in {name} is larger than {most} MiB."),
            "Put the data where the agents can read it and pass its address.",
        ));
    }
    serde_json::from_slice::<Value>(bytes).map(drop).map_err(|e| {
        Failure::coded(
            Code::INPUT_SYNTAX,
            format!("The input in {name} is not JSON: {e}."),
            "Check it with `python3 -m json.tool`.",
        )
    })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let hint = "`--input` takes a file, `-` for stdin, or JSON such as '{\"n\": 1}'.";
    Failure::coded(Code::INPUT_SYNTAX, format!("The input {name} cannot be read: {error}."), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn files_literals_and_nothing() {
        assert_eq!(read(None).unwrap(), b"{}");
        assert_eq!(read(Some(r#" {"a": 1} "#)).unwrap(), br#"{"a": 1}"#);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[1, 2]").unwrap();
        assert_eq!(read(Some(file.path().to_str().unwrap())).unwrap(), b"[1, 2]");
    }

    #[test]
    fn mistakes_are_named() {
        for (source, code) in [("{\"a\": }", Code::INPUT_SYNTAX), ("/no/such/file", Code::INPUT_SYNTAX)] {
            assert_eq!(read(Some(source)).unwrap_err().code(), Some(code), "{source}");
        }
        let refused = check("big.json", &vec![b' '; limits::PAYLOAD_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(refused.code(), Some(Code::PAYLOAD_TOO_LARGE));
        let long = io::repeat(b'x');
        assert_eq!(bounded(long).unwrap().len(), limits::PAYLOAD_BYTES_MAX + 1);
    }
}
