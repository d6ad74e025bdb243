//! The samples of an agent: `samples/NAME.input.json`, and beside it, if it is known, `samples/NAME.output.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kapelle_manifest::Contract;
use kapelle_types::{Code, limits};
use serde_json::Value;

use crate::command::run::input;
use crate::failure::Failure;
use crate::manifests::files::unreadable;

/// The folder that they lie in, below the agent's.
pub(super) const FOLDER: &str = "samples";
/// How they are written down; every error about them says it.
pub(super) const FORM: &str = "An input is samples/NAME.input.json; what the agent should make of it may lie \
                              beside it, as samples/NAME.output.json.";

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) input: Value,
    /// What the agent should make of it, if the author says so.
    pub(super) output: Option<Value>,
}

/// The samples of an agent's folder, in the order of their names; none if there is no folder of samples.
pub(super) fn read(folder: &Path) -> Result<Vec<Sample>, Failure> {
    let folder = folder.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |e| unreadable(&folder, &e);
    let mut files: BTreeMap<String, [Option<Value>; 2]> = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(file) = path.file_name().and_then(|it| it.to_str()).filter(|it| it.ends_with(".json")) else {
            continue;
        };
        let (name, side) = match (file.strip_suffix(".input.json"), file.strip_suffix(".output.json")) {
            (Some(name), _) => (name, 0),
            (_, Some(name)) => (name, 1),
            (None, None) => return Err(incomplete(format!("{} is neither an input nor an output.", path.display()))),
        };
        files.entry(name.to_owned()).or_default()[side] = Some(value(&path)?);
        if files.len() > limits::SAMPLES_MAX {
            let message = format!("There are more than {} samples in {}.", limits::SAMPLES_MAX, folder.display());
            return Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, "Each is executed: keep those that differ."));
        }
    }
    let sample = |(name, [input, output]): (String, [Option<Value>; 2])| match input {
        Some(input) => Ok(Sample { name, input, output }),
        None => Err(incomplete(format!("The output of sample {name} is there and its input is not."))),
    };
    files.into_iter().map(sample).collect()
}

/// Holds the samples against contracts that somebody wrote: whoever is wrong, the author has to say.
pub(super) fn check(samples: &[Sample], input: &Contract, output: &Contract) -> Result<(), Failure> {
    let (Ok(takes), Ok(gives)) = (input.compile(), output.compile()) else {
        return Ok(()); // the check of the manifest says so, with the place
    };
    let mut broken = Vec::new();
    for sample in samples {
        let of = |side: &str, why: Vec<_>| why.into_iter().map(|it| format!("{} {side}, {it}", sample.name)).collect();
        let inputs: Vec<String> = of("input", takes.violations(&sample.input));
        let outputs: Vec<String> = sample.output.as_ref().map_or(vec![], |it| of("output", gives.violations(it)));
        broken.extend(inputs.into_iter().chain(outputs));
    }
    if broken.is_empty() {
        return Ok(());
    }
    let message = format!("Samples break the contract of the manifest: {}.", broken.join("; "));
    Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, "Mend the samples, or the schemas in agent.yaml."))
}

fn value(path: &Path) -> Result<Value, Failure> {
    let bytes = input::read(Some(&path.display().to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| incomplete(format!("{} is not JSON: {e}.", path.display())))
}

fn incomplete(message: String) -> Failure {
    Failure::coded(Code::ONBOARD_INCOMPLETE, message, FORM)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(files: &[(&str, &str)]) -> Result<Vec<Sample>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(FOLDER).join(name), text).unwrap();
        }
        read(folder.path())
    }

    #[test]
    fn inputs_and_outputs_find_each_other() {
        let samples = of(&[("b.input.json", "2"), ("a.input.json", "1"), ("a.output.json", "{}"), ("notes.md", "x")]);
        let sample = |name: &str, input, output| Sample { name: name.into(), input, output };
        assert_eq!(samples.unwrap(), [sample("a", json!(1), Some(json!({}))), sample("b", json!(2), None)]);
        assert_eq!(read(tempfile::tempdir().unwrap().path()).unwrap(), []);
    }

    #[test]
    fn what_is_no_sample_is_named() {
        for (files, code, names) in [
            (vec![("a.json", "1")], Code::ONBOARD_INCOMPLETE, "a.json"),
            (vec![("lost.output.json", "1")], Code::ONBOARD_INCOMPLETE, "lost"),
            (vec![("a.input.json", "{")], Code::INPUT_SYNTAX, "a.input.json"),
        ] {
            let failure = of(&files).unwrap_err();
            assert_eq!(failure.code(), Some(code));
            assert!(failure.message().contains(names), "{failure:?}");
        }
    }

    #[test]
    fn samples_have_to_keep_what_is_written() {
        let number = || Contract::new(json!({ "type": "integer" }));
        let sample = Sample { name: "a".into(), input: json!(1), output: Some(json!("x")) };
        assert!(check(std::slice::from_ref(&sample), &number(), &Contract::any()).is_ok());
        let failure = check(&[sample], &Contract::any(), &number()).unwrap_err();
        assert!(failure.message().contains("a output, at the top"), "{failure:?}");
    }
}
