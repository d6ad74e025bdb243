//! What crosses from the edges into the core of a namespace: one export and one import for each pattern of subjects that the
//! policies let anybody but coordinators use. What is in no class cannot even be asked for.

use kapelle_policy::{Agents, Place, Policies, covers, permissions};
use kapelle_types::Role;
use serde_json::{Value, json};

use crate::claims::caller;
use crate::record::Record;

/// How long the way back of a request stays open without an answer: longer than a pull stands with its heartbeats, and short
/// because each one that is open costs the broker memory.
const WAY_BACK_NANOS: u64 = 15_000_000_000;
/// Requests that are answered with many messages: pulls, and batched reads.
const MANY_ANSWERS: [&str; 2] = ["$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.DIRECT.GET."];
/// In an account that does not import this, the server answers calls of the API itself, and first: that the account has no
/// streams. Whether a user may ask it is said in the user's permissions.
const ANSWERED_INSIDE: &str = "$JS.API.INFO";
/// What inboxes begin with where they are left out again.
const INBOX: &str = "_INBOX";

/// One pattern of subjects.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crossing {
    subject: String,
    /// Whether it is news that comes out of the core, instead of a request that goes in.
    news: bool,
}

/// Everything that crosses for some roles. Each is asked for by itself: what is forbidden to one is not forbidden to all.
pub(crate) fn crossings(policies: &Policies, record: &Record, roles: &[Role]) -> Vec<Crossing> {
    let place = Place {
        namespace: record.name.clone(),
        id: "*".into(),
        inbox: INBOX.into(),
        partitions: record.partitions,
        agents: Agents::Any,
    };
    let mut all = vec![Crossing { subject: ANSWERED_INSIDE.into(), news: false }];
    for role in roles {
        let allowed = permissions(policies, &caller(record, [*role]), &place);
        let requests = allowed.publish.allow.into_iter().map(|subject| Crossing { subject, news: false });
        // Inboxes are the edge's own.
        let news = allowed.subscribe.allow.into_iter().filter(|subject| !subject.starts_with(INBOX));
        all.extend(requests.chain(news.map(|subject| Crossing { subject, news: true })));
    }
    all.sort();
    all.dedup();
    // The broker takes no account that exports a subject twice, and what covers another is an export of it too.
    let covered =
        |it: &Crossing| all.iter().any(|by| by != it && by.news == it.news && covers(&by.subject, &it.subject));
    let alone: Vec<bool> = all.iter().map(|it| !covered(it)).collect();
    let mut alone = alone.into_iter();
    all.retain(|_| alone.next().unwrap_or(true));
    all
}

impl Crossing {
    pub(crate) fn export(&self) -> Value {
        let mut export = json!({ "name": self.subject, "subject": self.subject, "type": self.kind() });
        if !self.news {
            let many = MANY_ANSWERS.iter().any(|api| self.subject.starts_with(api));
            export["response_type"] = json!(if many { "Stream" } else { "Singleton" });
            export["response_threshold"] = json!(WAY_BACK_NANOS);
        }
        export
    }

    pub(crate) fn import(&self, from: &str) -> Value {
        json!({ "name": self.subject, "subject": self.subject, "account": from, "type": self.kind() })
    }

    const fn kind(&self) -> &'static str {
        if self.news { "stream" } else { "service" }
    }
}
