//! What is wrong with policies, as people see it.

use kapelle_policy::Policies;
use kapelle_types::Role;

/// The problems of one file in their frames.
fn shown(text: &str) -> String {
    let invalid = Policies::load(&[("mine.cedar", text)]).unwrap_err();
    invalid.0.iter().map(|problem| problem.render(false)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_mistake_is_shown_where_it_is() {
    let good = r#"@id("a") @mode("enforce") @why("w")"#;
    for (name, text) in [
        ("syntax", format!("{good}\npermit (principal, action resource);")),
        (
            "unknown_action",
            format!("{good}\npermit (principal, action == Action::\"kapelle.v1.RunService/Gett\", resource);"),
        ),
        ("unknown_role", format!("{good}\npermit (principal in Role::\"root\", action, resource);")),
        (
            "unknown_attribute",
            format!("{good}\npermit (principal, action, resource) when {{ principal.email == \"a\" }};"),
        ),
        (
            "unchecked_attribute",
            format!("{good}\npermit (principal, action, resource) when {{ principal.person == \"a\" }};"),
        ),
        ("never_matches", format!("{good}\nforbid (principal, action, resource) when {{ false }};")),
        ("no_id", "permit (principal, action, resource);".to_owned()),
        ("no_why", "@id(\"a\")\n@mode(\"enforce\")\npermit (principal, action, resource);".to_owned()),
        ("wrong_mode", "@id(\"a\") @mode(\"off\") @why(\"w\")\npermit (principal, action, resource);".to_owned()),
        ("wrong_id", "@id(\"A b\") @mode(\"enforce\") @why(\"w\")\npermit (principal, action, resource);".to_owned()),
        (
            "reserved_id",
            "@id(\"default_deny\") @mode(\"enforce\") @why(\"w\")\npermit (principal, action, resource);".to_owned(),
        ),
        ("misspelt_annotation", format!("{good} @moed(\"x\")\npermit (principal, action, resource);")),
        (
            "twice",
            format!("{good}\npermit (principal, action, resource);\n\n{good}\nforbid (principal, action, resource);"),
        ),
        ("template", format!("{good}\npermit (principal == ?principal, action, resource);")),
    ] {
        insta::assert_snapshot!(name, shown(&text));
    }
}

#[test]
fn all_files_are_looked_through() {
    let invalid = Policies::load(&[("a.cedar", "permit"), ("b.cedar", "nonsense")]).unwrap_err();
    let files: Vec<_> = invalid.0.iter().map(|problem| problem.file.as_str()).collect();
    assert!(files.contains(&"a.cedar") && files.contains(&"b.cedar"), "{files:?}");
    let diagnosis = kapelle_types::Diagnosis::from(invalid);
    assert_eq!(diagnosis.code, kapelle_types::Code::POLICY_INVALID);
    assert!(diagnosis.message.starts_with("a.cedar:1:"), "{}", diagnosis.message);
}

#[test]
fn there_is_a_limit() {
    let one = |n| format!("@id(\"p{n}\") @mode(\"enforce\") @why(\"w\") permit (principal, action, resource);\n");
    let text: String = (0..=kapelle_types::limits::POLICIES_MAX).map(one).collect();
    let invalid = Policies::load(&[("many.cedar", text)]).unwrap_err();
    assert_eq!(invalid.0.len(), 1);
    assert!(invalid.to_string().contains("more than 500 policies"), "{invalid}");
}

/// Whatever nests or chains, up to the bounds and beyond: refused or read, but the stack holds.
#[test]
fn no_text_makes_it_panic() {
    let when = |condition: String| {
        format!(
            "@id(\"a\") @mode(\"enforce\") @why(\"w\") permit (principal, action, resource) when {{ {condition} }};"
        )
    };
    let within = |piece: &str| (kapelle_types::limits::POLICY_BYTES_MAX - 200) / piece.len();
    let chained = |open: &str, middle: &str, close: &str| {
        let n = within(&format!("{open}{close}"));
        when(format!("{}{middle}{}", open.repeat(n), close.repeat(n)))
    };
    let mut texts: Vec<String> =
        ["\0", "@id", "permit(", "🦀", "//", "\"", "@id(\"a\")@id(\"b\")permit(principal,action,resource);"]
            .map(str::to_owned)
            .into();
    for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}"), ("!(", ")"), ("if (", ") then true else false")] {
        texts.push(when(format!("{}true{}", open.repeat(5_000), close.repeat(5_000))));
        for depth in [20, 22, 23, 24] {
            texts.push(when(format!("{}true{}", open.repeat(depth), close.repeat(depth))));
        }
    }
    for (open, middle, close) in [
        ("true&&", "true", ""),
        ("false||", "true", ""),
        ("1+", "1", ""),
        ("1*", "1", ""),
        ("if true then ", "true", " else true"),
        ("", "principal", ".a"),
        ("", "principal", " has a"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("a::", "\"b\"", ""),
        ("1,", "1", ""),
    ] {
        texts.push(chained(open, middle, close));
    }
    for text in texts {
        // Half of what a thread of the runtime has: room for whoever calls.
        let read = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
            if let Ok(policies) = Policies::load(&[("x.cedar", &text)]) {
                crate::decisions::get(&policies, &crate::caller(&[Role::Viewer]));
            }
        });
        read.unwrap().join().unwrap();
    }
}
