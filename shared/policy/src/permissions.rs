//! NATS permissions, compiled from the policies: what `decide` allows is what the broker lets through.

use std::fmt;

use kapelle_types::{AgentVersion, Caller, Namespace, Partitions, Role};
use serde::Serialize;
use serde_json::{Value, json};

use crate::pattern::covers;
use crate::{CLASSES, Policies, Resource};

/// Where a connection stands: what fills the patterns of [`CLASSES`].
#[derive(Debug, Clone)]
pub struct Place {
    /// The namespace whose NATS account it is.
    pub namespace: Namespace,
    /// The part's own id, as in its presence record.
    pub id: String,
    /// What the connection's inboxes begin with; the client library's default is `_INBOX`, which everybody shares.
    pub inbox: String,
    /// The partitions that are provisioned.
    pub partitions: Partitions,
    /// The agents whose tasks it takes.
    pub agents: Agents,
}

/// Whose tasks a connection takes.
#[derive(Debug, Clone)]
pub enum Agents {
    /// Those of these agents.
    Named(Vec<AgentVersion>),
    /// Those that each user's own tags name: `queue:<name>-<version>` and `agent:<name>.<version>`. nats-server fills them in
    /// where these permissions are the template of a signing key.
    Tagged,
    /// Everybody's: what an account as a whole has to do with.
    Any,
}

impl Agents {
    /// Those of a connection with these roles: coordinators have to do with everybody's, whatever is named.
    #[must_use]
    pub fn of(mut roles: impl Iterator<Item = Role>, named: Self) -> Self {
        if roles.any(|role| role == Role::Coordinator) { Self::Any } else { named }
    }

    /// What stands for an agent in a subject; `separator` is between its name and its version.
    fn tokens(&self, separator: char, tag: &str, any: &str) -> Vec<String> {
        match self {
            Self::Named(agents) => {
                agents.iter().map(|a| format!("{}{separator}{}", a.name, a.version.token())).collect()
            }
            Self::Tagged => vec![format!("{{{{tag({tag})}}}}")],
            Self::Any => vec![any.to_owned()],
        }
    }
}

/// What the broker lets a connection do, in the shape of nats-server's `permissions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permissions {
    /// What it may publish to.
    pub publish: Rules,
    /// What it may subscribe to.
    pub subscribe: Rules,
    /// Whether it may answer a request on the subject that the request names for it.
    #[serde(rename = "allow_responses", serialize_with = "responses")]
    pub answers: bool,
}

/// Patterns of subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// What is let through.
    pub allow: Vec<String>,
    /// What is not. An empty `allow` means everything to nats-server, so nothing is said as a denial of all.
    pub deny: Vec<String>,
}

/// Compiles what the policies allow `caller` in a place.
#[must_use]
pub fn permissions(policies: &Policies, caller: &Caller, place: &Place) -> Permissions {
    let resource = Resource::of(place.namespace.clone());
    let allowed = CLASSES.iter().filter(|class| policies.decide(caller, &class.action(), &resource).allowed());
    let (mut publish, mut subscribe, mut answers) = (Vec::new(), Vec::new(), false);
    for class in allowed {
        publish.extend(class.publish.iter().flat_map(|pattern| place.fill(pattern)));
        subscribe.extend(class.subscribe.iter().flat_map(|pattern| place.fill(pattern)));
        answers |= class.answers;
    }
    Permissions { publish: Rules::allowing(publish), subscribe: Rules::allowing(subscribe), answers }
}

impl Place {
    /// The patterns that a pattern of the table stands for here.
    pub(crate) fn fill(&self, pattern: &str) -> Vec<String> {
        let each = |part: &str, values: Vec<String>| values.iter().map(|value| pattern.replace(part, value)).collect();
        if pattern.contains("<runs>") {
            return each("<runs>", self.partitions.all().map(|partition| format!("RUNS_{partition}")).collect());
        }
        if pattern.contains("<queue>") {
            return each("<queue>", self.agents.tokens('-', "queue", "*"));
        }
        if pattern.contains("<agent>") {
            return each("<agent>", self.agents.tokens('.', "agent", "*.*"));
        }
        vec![pattern.replace("<inbox>", &self.inbox).replace("<id>", &self.id)]
    }
}

impl Permissions {
    /// Whether the broker lets a message to this subject in.
    #[must_use]
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.let_through(subject)
    }

    /// Whether the broker lets messages of this subject out.
    #[must_use]
    pub fn may_subscribe(&self, subject: &str) -> bool {
        self.subscribe.let_through(subject)
    }
}

impl Rules {
    fn allowing(allow: Vec<String>) -> Self {
        let deny = if allow.is_empty() { vec![">".to_owned()] } else { Vec::new() };
        Self { allow, deny }
    }

    fn let_through(&self, subject: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| covers(pattern, subject));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// One answer a request, within two minutes: nats-server's own limits, said aloud.
fn responses<S: serde::Serializer>(answers: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    let said = if *answers { json!({ "max": 1, "expires": "2m" }) } else { Value::Bool(false) };
    said.serialize(serializer)
}

impl fmt::Display for Permissions {
    /// As nats-server reads it in its configuration: JSON is a part of that language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        write!(f, "permissions: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise what is denied as one thing would be allowed as another.
    #[test]
    fn a_subject_is_in_one_class() {
        let place = Place {
            namespace: Namespace::default(),
            id: "w1".into(),
            inbox: "_INBOX_w1".into(),
            partitions: Partitions::new(2).unwrap(),
            agents: Agents::Named(vec!["echo@1.0.0".parse().unwrap()]),
        };
        let filled = |patterns: &[&str]| -> Vec<String> { patterns.iter().flat_map(|p| place.fill(p)).collect() };
        for (n, class) in CLASSES.iter().enumerate() {
            for (m, other) in CLASSES.iter().enumerate().filter(|(m, _)| *m != n) {
                for (ours, theirs) in [(class.publish, other.publish), (class.subscribe, other.subscribe)] {
                    let theirs = filled(theirs);
                    for subject in filled(ours).iter().map(|pattern| pattern.replace('*', "x").replace('>', "y.z")) {
                        let shared = theirs.iter().find(|pattern| covers(pattern, &subject));
                        assert_eq!(shared, None, "{subject} is in {} ({n}) and {} ({m})", class.name, other.name);
                    }
                }
            }
        }
    }
}
