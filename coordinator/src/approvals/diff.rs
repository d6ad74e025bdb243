//! What is different between two payloads, by place.

use kapelle_proto::v1::ApprovalChange;
use serde_json::Value;

/// Differences that are shown: who has to read more than that has to read the whole anyway.
const CHANGES_MAX: usize = 200;

/// What changed from one payload to another, in the order of the second; what is gone comes last at each place.
pub(super) fn diff(before: &Value, after: &Value) -> Vec<ApprovalChange> {
    let mut changes = Vec::new();
    compare("", Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<ApprovalChange>) {
    if before == after || changes.len() >= CHANGES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for (name, value) in new {
                compare(&below(path, name), old.get(name), Some(value), changes);
            }
            for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                compare(&below(path, name), Some(value), None, changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&below(path, &index.to_string()), old.get(index), new.get(index), changes);
            }
        }
        _ => {
            let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default().into();
            changes.push(ApprovalChange { path: path.to_owned(), before: text(before), after: text(after) });
        }
    }
}

/// The pointer one level further (RFC 6901).
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let text = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
        diff(before, after).iter().map(|it| format!("{} {}>{}", it.path, text(&it.before), text(&it.after))).collect()
    }

    #[test]
    fn what_was_added_changed_and_taken_away_is_told_by_place() {
        let before = json!({ "to": "x", "lines": [1, 2], "a/b~c": { "d": null }, "gone": [] });
        let after = json!({ "to": "y", "lines": [1, 3, 4], "a/b~c": { "d": 0 }, "new": {} });
        let expected = ["/to \"x\">\"y\"", "/lines/1 2>3", "/lines/2 >4", "/a~1b~0c/d null>0", "/new >{}", "/gone []>"];
        assert_eq!(told(&before, &after), expected);
        assert_eq!(told(&after, &after), Vec::<String>::new());
        assert_eq!(told(&json!(1), &json!([1])), [" 1>[1]"], "the whole is a place too");
    }

    #[test]
    fn no_payload_makes_a_page_that_nobody_reads() {
        let many: Vec<u32> = (0..1_000).collect();
        assert_eq!(diff(&json!([]), &json!(many)).len(), CHANGES_MAX);
    }
}
