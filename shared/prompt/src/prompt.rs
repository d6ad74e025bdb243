//! One template.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_types::limits::{PROMPT_FUEL, PROMPT_SOURCE_BYTES_MAX};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Value, json};

/// The only name that a template may use beside those that it makes.
const INPUT: &str = "input";

/// A template that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt(Arc<str>);

/// Why a template is none, or yields no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong; the input's values are not in it.
    pub message: String,
    /// The line of the template, from 1.
    pub line: Option<usize>,
}

impl Prompt {
    /// Compiles a template.
    ///
    /// # Errors
    /// It is too long, has a syntax error, or names what is not there: only `input` is.
    pub fn compile(source: &str) -> Result<Self, Error> {
        if source.len() > PROMPT_SOURCE_BYTES_MAX {
            let message =
                format!("it has more than {PROMPT_SOURCE_BYTES_MAX} bytes; what differs belongs into the input");
            return Err(Error { message, line: None });
        }
        let prompt = Self(source.into());
        if let Some(name) = prompt.named()?.into_iter().find(|path| path[0] != INPUT) {
            let message = format!("it names `{}`, and there is only `{INPUT}`", name[0]);
            return Err(Error { message, line: None });
        }
        Ok(prompt)
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0
    }

    /// What of the input the template names, as paths below it: `input.user.name` is `[user, name]`.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<Vec<String>> {
        let named = self.named().unwrap_or_default(); // it compiled before
        named.into_iter().map(|path| path[1..].to_vec()).filter(|path| !path.is_empty()).collect()
    }

    /// The text for an input.
    ///
    /// # Errors
    /// The input does not have what the template names, or rendering takes too much.
    pub fn render(&self, input: &Value) -> Result<String, Error> {
        let environment = environment();
        let template = environment.template_from_str(&self.0).map_err(|error| worded(&error))?;
        template.render(Serde(json!({ INPUT: input }))).map_err(|error| worded(&error))
    }

    /// All names that the template uses and does not make, each with what is below it.
    fn named(&self) -> Result<BTreeSet<Vec<String>>, Error> {
        let environment = environment();
        let template = environment.template_from_str(&self.0).map_err(|error| worded(&error))?;
        let named = template.undeclared_variables(true).into_iter();
        let paths = named.map(|name| name.split('.').map(str::to_owned).collect::<Vec<_>>());
        let functions: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        Ok(paths.filter(|path| !functions.contains(&path[0].as_str())).collect())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(PROMPT_FUEL));
    // What is not there is an error: a prompt with a hole is answered as if nothing were missing.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
}

fn worded(error: &minijinja::Error) -> Error {
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too much to render: too many steps, or too long a text".to_owned(),
        (ErrorKind::UndefinedError, _) => "it names what the input does not have".to_owned(),
        (ErrorKind::SyntaxError, Some(detail)) => format!("it has a syntax error: {detail}"),
        // Details of other errors may quote values.
        (kind, _) => kind.to_string(),
    };
    Error { message, line: error.line() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, input: Value) -> Result<String, String> {
        Prompt::compile(source).and_then(|it| it.render(&input)).map_err(|error| error.message)
    }

    #[test]
    fn an_input_is_put_into_words() {
        for (source, want) in [
            ("{{ input.text }}", "a < b"),
            ("{% for it in input.list %}{{ loop.index }}. {{ it.name }}\n{% endfor %}", "1. x\n2. y\n"),
            ("{{ input.list | length }} {{ input.none | default('-') }}", "2 -"),
            ("{{ input.list | tojson }}", r#"[{"name": "x"}, {"name": "y"}]"#),
            ("{% if input.none is defined %}x{% else %}y{% endif %}", "y"),
            ("{% for n in range(3) %}{{ n }}{% endfor %}", "012"),
        ] {
            let input = json!({ "text": "a < b", "list": [{ "name": "x" }, { "name": "y" }] });
            assert_eq!(rendered(source, input).as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (source, says) in [
            ("{{ input.text", "syntax error"),
            ("{% if input %}", "syntax error"),
            ("{{ steps.a.output }}", "names `steps`"),
            ("{% include 'other' %}", ""),
        ] {
            let refused = Prompt::compile(source).and_then(|it| it.render(&json!({}))).unwrap_err();
            assert!(refused.message.contains(says), "{source}: {refused}");
        }
        assert!(Prompt::compile(&"x".repeat(PROMPT_SOURCE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn what_the_input_does_not_have_is_an_error_that_shows_no_value() {
        for source in ["{{ input.name }}", "{{ input.text.name }}", "{{ input.text | sum }}", "{{ input.text() }}"] {
            let said = rendered(source, json!({ "text": "hunter2" })).unwrap_err();
            assert!(!said.contains("hunter2"), "{source}: {said}");
        }
    }

    #[test]
    fn rendering_ends() {
        for source in [
            "{% for a in range(90000) %}{% for b in range(90000) %}x{% endfor %}{% endfor %}",
            "{{ input.text * 90000000 }}",
            "{% set ns = namespace(s=input.text) %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        ] {
            assert!(rendered(source, json!({ "text": "xxxxxxxx" })).is_err(), "{source}");
        }
        let nested = (0..120).fold(json!(1), |inner, _| json!([inner]));
        assert!(rendered("{{ input | tojson }}", nested).is_ok());
    }

    #[test]
    fn the_paths_that_a_template_names_are_known() {
        let it = Prompt::compile("{{ input.a.b }}{% for x in input.list %}{{ x.y }}{% endfor %}{{ input }}").unwrap();
        let paths: Vec<String> = it.paths().iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["a.b", "list"]);
    }
}
