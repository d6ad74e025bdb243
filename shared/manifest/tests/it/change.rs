//! A new version against the one before it.

use kapelle_manifest::{Manifest, keeps_promise, may_replace, next_breaking, parse, predecessor};
use kapelle_types::Code;

fn agent(version: &str, input: &str, output: &str) -> Manifest {
    let text = format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: a, version: {version}, owner: o }}\nspec:\n  \
         role: {{ purpose: Plays a part. }}\n  input: {{ schema: {input} }}\n  output: {{ schema: {output} }}\n  \
         runtime: {{ native: {{}} }}\n"
    );
    parse("a.yaml", &text).unwrap().remove(0).manifest
}

const TEXT: &str = "{ type: object, required: [t], properties: { t: { type: string } } }";

#[test]
fn caret_decides_and_pre_releases_promise_nothing() {
    for (old, new, replaces) in [
        ("1.0.0", "1.4.2", true),
        ("1.0.0", "2.0.0", false),
        ("0.3.0", "0.3.1", true),
        ("0.3.0", "0.4.0", false),
        ("0.0.3", "0.0.4", false),
        ("1.0.0", "1.1.0-rc.1", false),
    ] {
        assert_eq!(may_replace(&old.parse().unwrap(), &new.parse().unwrap()), replaces, "{old} {new}");
    }
    for (version, next) in [("1.4.2", "2.0.0"), ("0.3.9", "0.4.0"), ("0.0.3", "0.0.4")] {
        assert_eq!(next_breaking(&version.parse().unwrap()), next);
    }
    let all = ["1.0.0", "1.1.0-rc.1", "1.2.0", "1.0.5"].map(|it| agent(it, "{}", "{}"));
    let before =
        |version: &str| predecessor(&agent(version, "{}", "{}"), &all).map(|it| it.name_version().2.to_string());
    assert_eq!(before("1.1.0").as_deref(), Some("1.0.5"));
    assert_eq!(before("3.0.0").as_deref(), Some("1.2.0"));
    assert_eq!(before("1.0.0"), None);
}

#[test]
fn what_people_change_compatibly_passes() {
    let more = "{ type: object, required: [t], properties: { t: { type: string }, lang: { enum: [de, en] } } }";
    let less = "{ type: object, properties: { t: { type: [string, \"null\"] } } }";
    for (old, new) in [
        (agent("1.0.0", TEXT, "{}"), agent("1.1.0", more, "{}")),
        (agent("1.0.0", TEXT, "{}"), agent("1.1.0", less, "{}")),
        (agent("1.0.0", "{}", TEXT), agent("1.1.0", "{}", more)),
        (agent("1.0.0", "{}", less), agent("1.1.0", "{}", TEXT)),
        // Another first number may break what it likes.
        (agent("1.0.0", TEXT, "{}"), agent("2.0.0", "{ type: string }", "{}")),
        // A pattern that nobody can compare is not proven to break anything.
        (agent("1.0.0", "{ pattern: \"^a+$\" }", "{}"), agent("1.0.1", "{ pattern: \"^[ab]+$\" }", "{}")),
    ] {
        assert_eq!(keeps_promise(&new, [&old]), Ok(()), "{old:?}");
    }
}

#[test]
fn a_broken_promise_is_refused_with_its_proof_and_the_number_to_take() {
    let strict = "{ type: object, required: [t, lang], properties: { t: { type: string }, lang: { type: string } } }";
    let refused = |old: Manifest, new: Manifest| keeps_promise(&new, [&old]).unwrap_err();
    let input = refused(agent("1.0.0", TEXT, "{}"), agent("1.1.0", strict, "{}"));
    assert_eq!(input.code, Code::BREAKING_CHANGE);
    assert_eq!(
        input.message,
        "agent a@1.1.0 breaks what a@1.0.0 promised: its input, at the top: \"lang\" is a required property (rule /required), \
         for example {\"t\":\"\"}"
    );
    assert_eq!(input.hint, "register it as 2.0.0, or make `kapelle diff -f FILE` find nothing breaking");
    let output = refused(
        agent("0.2.0", "{}", TEXT),
        agent("0.2.1", "{}", "{ type: object, properties: { t: { type: string } } }"),
    );
    assert!(output.message.contains("its output, at the top: \"t\" is a required property"), "{}", output.message);
    assert!(output.hint.starts_with("register it as 0.3.0"), "{}", output.hint);
}

#[test]
fn a_workflows_result_is_a_promise_too() {
    let workflow = |version: &str, result: &str| {
        let text = format!(
            "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: {{ name: w, version: {version}, owner: o }}\nspec:\n  \
             steps: [{{ id: a, agent: a }}]\n  output: 1\n  result: {{ schema: {result} }}\n"
        );
        parse("w.yaml", &text).unwrap().remove(0).manifest
    };
    let (number, integer) = ("{ type: number }", "{ type: integer }");
    assert_eq!(keeps_promise(&workflow("1.1.0", integer), [&workflow("1.0.0", number)]), Ok(()));
    let refused = keeps_promise(&workflow("1.1.0", number), [&workflow("1.0.0", integer)]).unwrap_err();
    assert!(
        refused.message.starts_with("workflow w@1.1.0 breaks what w@1.0.0 promised: its output, at the top: "),
        "{}",
        refused.message
    );
}
