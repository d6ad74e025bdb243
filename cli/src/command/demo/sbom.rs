//! Is what came out a CycloneDX document? Checked against the official schema, which lies beside the example.

use std::fs;
use std::path::Path;

use jsonschema::Registry;
use serde::Serialize;
use serde_json::Value;

/// Violations that are named.
const VIOLATIONS_MAX: usize = 5;
/// The schema of a document, and the two that it refers to under the names it uses for them.
const DOCUMENT: &str = "bom-1.6.SNAPSHOT.schema.json";
const REFERRED: [&str; 2] = ["spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json"];
const BASE: &str = "http://cyclonedx.org/schema/";

/// Whether the SBOM is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) valid: bool,
    /// What is wrong with it; empty if it is valid.
    pub(super) problems: Vec<String>,
}

impl Verdict {
    /// There is no SBOM.
    pub(super) fn absent() -> Self {
        Self { valid: false, problems: vec!["no SBOM was written".into()] }
    }
}

/// Validates the file against the schemas in the folder.
pub(super) fn validate(file: &Path, schemas: &Path) -> Verdict {
    match problems(file, schemas) {
        Ok(problems) => Verdict { valid: problems.is_empty(), problems },
        Err(why) => Verdict { valid: false, problems: vec![why] },
    }
}

fn problems(file: &Path, schemas: &Path) -> Result<Vec<String>, String> {
    let (document, schema) = (read(file)?, read(&schemas.join(DOCUMENT))?);
    let mut registry = Registry::new();
    for name in REFERRED {
        registry = registry.add(format!("{BASE}{name}"), read(&schemas.join(name))?).map_err(|e| e.to_string())?;
    }
    let registry = registry.prepare().map_err(|e| e.to_string())?;
    let validator = jsonschema::options().with_registry(&registry).build(&schema).map_err(|e| e.to_string())?;
    Ok(validator.iter_errors(&document).take(VIOLATIONS_MAX).map(|e| format!("{}: {e}", e.instance_path())).collect())
}

fn read(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{} is not JSON: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn verdict(document: &Value) -> Verdict {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), document.to_string()).unwrap();
        let schemas = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/software-intake/schemas"));
        validate(file.path(), &schemas)
    }

    #[test]
    fn the_real_schema_accepts_and_refuses() {
        let component = json!({
            "type": "library", "name": "serde", "version": "1.0.0", "licenses": [{ "license": { "id": "MIT" } }],
        });
        let bom = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [component] });
        assert_eq!(verdict(&bom), Verdict { valid: true, problems: vec![] });
        let mut wrong = bom;
        wrong["components"][0]["licenses"][0]["license"]["id"] = json!("No-Such-Licence");
        let refused = verdict(&wrong);
        assert!(!refused.valid && refused.problems[0].contains("components"), "{refused:?}");
        assert!(!verdict(&json!({})).valid);
    }
}
