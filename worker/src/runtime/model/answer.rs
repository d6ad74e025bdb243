//! What a model has to give: its text as it is, or JSON that keeps the agent's output contract.

use kapelle_contract::{Checker, Contract};
use kapelle_types::limits::PAYLOAD_DEPTH_MAX;
use kapelle_types::{Code, Diagnosis, json_depth};
use serde_json::{Map, Value, json};

/// What the schema is called in requests.
const NAME: &str = "output";
/// What servers that hold a model to a schema word by word understand of it.
const STRICT_KEYWORDS: [&str; 14] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "$defs",
    "description",
    "title",
    "minimum",
    "maximum",
];

/// What an agent has to give.
pub(super) enum Wanted {
    /// Anything: the answer is `{ "text": … }`.
    Text,
    /// What keeps this contract.
    Json {
        /// How the server is told.
        format: Value,
        checker: Box<Checker>,
    },
}

impl Wanted {
    /// # Errors
    /// The contract's schema is none.
    pub(super) fn new(output: &Contract) -> Result<Self, Diagnosis> {
        if output.is_any() {
            return Ok(Self::Text);
        }
        let checker = output.compile().map_err(|invalid| {
            Diagnosis::new(Code::SCHEMA_INVALID, format!("The output contract is no JSON Schema: {}.", invalid.message))
        })?;
        let schema = output.schema();
        let json_schema = json!({ "name": NAME, "schema": schema, "strict": is_strict_object(schema) });
        Ok(Self::Json {
            format: json!({ "type": "json_schema", "json_schema": json_schema }),
            checker: Box::new(checker),
        })
    }

    /// The `response_format` of requests.
    pub(super) const fn format(&self) -> Option<&Value> {
        match self {
            Self::Text => None,
            Self::Json { format, .. } => Some(format),
        }
    }

    /// The output that an answer is.
    ///
    /// # Errors
    /// What is wrong with it, without its values.
    pub(super) fn read(&self, text: &str) -> Result<Value, String> {
        let Self::Json { checker, .. } = self else { return Ok(json!({ "text": text })) };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("it is no JSON: at line {}, column {}", error.line(), error.column()))?;
        if json_depth(&value) > PAYLOAD_DEPTH_MAX {
            return Err(format!("it is nested more than {PAYLOAD_DEPTH_MAX} levels deep"));
        }
        match checker.violations_hidden(&value).as_slice() {
            [] => Ok(value),
            violations => Err(violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// Whether a server can be asked to hold the model to the schema word by word.
fn is_strict_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|it| it == "object") && is_strict(schema)
}

/// Strict schemas are closed: each object names all its fields, and wants all of them.
fn is_strict(schema: &Value) -> bool {
    let Value::Object(keywords) = schema else { return false };
    if !keywords.keys().all(|it| STRICT_KEYWORDS.contains(&it.as_str())) {
        return false;
    }
    let below = |keyword: &str| match keywords.get(keyword) {
        Some(Value::Object(schemas)) => schemas.values().collect(),
        Some(Value::Array(schemas)) => schemas.iter().collect(),
        _ => Vec::new(),
    };
    let all = below("properties").into_iter().chain(below("$defs")).chain(below("anyOf")).chain(keywords.get("items"));
    is_closed(keywords) && all.into_iter().all(is_strict)
}

fn is_closed(keywords: &Map<String, Value>) -> bool {
    let is_object = match keywords.get("type") {
        Some(Value::Array(types)) => types.iter().any(|it| it == "object"),
        only => only.is_some_and(|it| it == "object"),
    };
    if !is_object && !keywords.contains_key("properties") {
        return true;
    }
    let Some(Value::Object(properties)) = keywords.get("properties") else { return false };
    let required = keywords.get("required").and_then(Value::as_array);
    let wants = |name: &String| required.is_some_and(|all| all.iter().any(|it| it == name));
    keywords.get("additionalProperties") == Some(&Value::Bool(false)) && properties.keys().all(wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(schema: Value) -> Wanted {
        Wanted::new(&Contract::new(schema)).unwrap()
    }

    #[test]
    fn a_schema_is_strict_where_servers_can_keep_to_it() {
        let point = json!({
            "type": "object", "required": ["x"], "additionalProperties": false, "properties": { "x": { "type": "number" } },
        });
        let list = json!({
            "type": "object", "required": ["all"], "additionalProperties": false,
            "properties": { "all": { "type": "array", "items": point } },
        });
        let open = json!({ "type": "object", "properties": { "x": {} }, "required": ["x"] });
        let optional = json!({ "type": "object", "properties": { "x": {} }, "additionalProperties": false });
        let classed = json!({
            "type": "object", "required": ["x"], "additionalProperties": false,
            "properties": { "x": { "type": "string", "x-data-class": "public" } },
        });
        let lists = json!({ "type": "array", "items": point });
        for (schema, strict) in
            [(point, true), (list, true), (open, false), (optional, false), (classed, false), (lists, false)]
        {
            let format = wanted(schema.clone()).format().cloned().unwrap();
            assert_eq!(format["json_schema"]["strict"], strict, "{schema}");
            assert_eq!(format["json_schema"]["schema"], schema);
        }
    }

    #[test]
    fn an_answer_is_read_or_refused_without_its_values() {
        let wanted =
            wanted(json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } }));
        assert_eq!(wanted.read(r#"{"n": 3}"#), Ok(json!({ "n": 3 })));
        for text in
            ["hunter2", r#"{"n": "hunter2"}"#, r#"{"n": 1} and hunter2"#, "", &"[".repeat(300), "```json\n{}\n```"]
        {
            let why = wanted.read(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
        assert_eq!(Wanted::new(&Contract::any()).unwrap().read("as it is"), Ok(json!({ "text": "as it is" })));
    }
}
