//! The rules of one process, and their form between the worker and the program that sets them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::access::Limits;

/// What one process and all that it starts may touch and take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Files and folders that it may read, and whose programs it may run.
    pub execute: Vec<PathBuf>,
    /// Files and folders that it may read.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read and write.
    pub write: Vec<PathBuf>,
    /// TCP ports that it may connect to; if there is none, it gets no socket at all.
    pub connect: Vec<u16>,
    /// How much it may take.
    pub limits: Limits,
}

impl Rules {
    /// The rules as one argument.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A path that is no text fails; what then stands here is no rules, and whoever reads it refuses.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads [`Rules::to_json`] back.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| format!("these are no rules: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn rules_survive_their_argument_and_nothing_else_passes_for_them() {
        let rules = Rules { read: vec!["/a b".into()], connect: vec![443], ..Rules::default() };
        assert_eq!(Rules::from_json(&rules.to_json()), Ok(rules));
        let odd = Rules { read: vec![OsString::from_vec(vec![b'/', 0xff]).into()], ..Rules::default() };
        for text in [odd.to_json().as_str(), "", "{}", "null", r#"{"execute":[],"more":1}"#] {
            assert!(Rules::from_json(text).is_err(), "{text}");
        }
    }
}
