//! Every subject that a part of Kapelle publishes to or subscribes to, in classes: what is allowed or denied together.
//!
//! The broker knows patterns of subjects, policies know classes. A subject is in one class only, so that what is
//! denied as one thing is not allowed as another; a test holds that, and another one runs Kapelle on a broker that lets
//! nothing else through. Parts of a pattern in `<…>` are filled from a [`crate::Place`].

use crate::Action;

/// Subjects that are allowed or denied together. `nats/<name>` is the action in policies.
#[derive(Debug)]
pub struct Class {
    /// Its name: what it is about, and what is done with it.
    pub name: &'static str,
    /// What has to be published for it. Consuming from a stream is asking for it, so publishing too.
    pub publish: &'static [&'static str],
    /// What has to be subscribed for it.
    pub subscribe: &'static [&'static str],
    /// Whether it is answering requests, on whatever subject they name for the answer.
    pub answers: bool,
}

impl Class {
    /// The action that policies decide about.
    #[must_use]
    pub fn action(&self) -> Action {
        Action::named(&format!("nats/{}", self.name))
    }
}

/// What is published.
const fn to(name: &'static str, publish: &'static [&'static str]) -> Class {
    Class { name, publish, subscribe: &[], answers: false }
}

/// What is listened to.
const fn from(name: &'static str, subscribe: &'static [&'static str]) -> Class {
    Class { name, publish: &[], subscribe, answers: false }
}

/// Every class. Patterns with `<runs>` stand for each partition's stream, those with `<agent>` or `<queue>` for each agent.
pub const CLASSES: &[Class] = &[
    // -- the run logs: only coordinators write `.control` and read; workers write `.report`
    to("control/publish", &["kapelle.run.*.*.control"]),
    to("reports/publish", &["kapelle.run.*.*.report"]),
    to(
        "logs/consume",
        &[
            "$JS.API.DIRECT.GET.<runs>",
            "$JS.API.STREAM.MSG.GET.<runs>",
            "$JS.API.CONSUMER.CREATE.<runs>",
            "$JS.API.CONSUMER.MSG.NEXT.<runs>.*",
            "$JS.API.CONSUMER.DELETE.<runs>.*",
        ],
    ),
    to("logs/purge", &["$JS.API.STREAM.PURGE.<runs>"]),
    to("timers/publish", &["kapelle.timer.*.*.*", "$JS.API.STREAM.PURGE.TIMERS"]),
    // -- the task queue: a worker takes from the queues of its agents, by name
    to("tasks/publish", &["kapelle.task.*.*.*.*.*"]),
    to(
        "tasks/consume",
        &["$JS.API.CONSUMER.MSG.NEXT.TASKS.<queue>", "$JS.ACK.TASKS.<queue>.>", "$JS.ACK.*.*.TASKS.<queue>.>"],
    ),
    to("tasks/stop", &["$JS.API.CONSUMER.PAUSE.TASKS.*"]),
    to("tasks/withdraw", &["$JS.API.STREAM.MSG.GET.TASKS", "$JS.API.STREAM.MSG.DELETE.TASKS"]),
    // Tasks that wait for their turn, and who holds the places of limits by key: whoever keeps these decides who is served.
    to(
        "turns/keep",
        &[
            "kapelle.waiting.*.*.*.*.*",
            "$JS.API.DIRECT.GET.WAITING",
            "$JS.API.STREAM.MSG.DELETE.WAITING",
            "$JS.API.STREAM.PURGE.WAITING",
            "$JS.API.CONSUMER.CREATE.WAITING",
            "$JS.API.CONSUMER.CREATE.WAITING.>",
            "$JS.API.CONSUMER.MSG.NEXT.WAITING.*",
            "$JS.API.CONSUMER.INFO.WAITING.*",
            "$JS.API.CONSUMER.DELETE.WAITING.*",
            "$JS.API.STREAM.MSG.GET.KV_turns",
            "$JS.API.CONSUMER.CREATE.KV_turns",
            "$JS.API.CONSUMER.MSG.NEXT.KV_turns.*",
            "$JS.API.CONSUMER.DELETE.KV_turns.*",
            "$JS.FC.KV_turns.>",
            "$KV.turns.>",
        ],
    ),
    to("queues/read", &["$JS.API.CONSUMER.INFO.TASKS.<queue>"]),
    to("queues/declare", &["$JS.API.CONSUMER.CREATE.TASKS.>"]),
    to("withdrawals/publish", &["kapelle.withdrawn.*.*"]),
    from("withdrawals/subscribe", &["kapelle.withdrawn.<agent>"]),
    // -- what models write, while they write it: said by the workers of an agent in its name, heard by coordinators alone
    to("words/publish", &["kapelle.words.<agent>.*"]),
    from("words/subscribe", &["kapelle.words.*.*.*"]),
    // -- jobs without gRPC
    to("submissions/publish", &["kapelle.submit.*"]),
    to(
        "submissions/consume",
        &[
            "$JS.API.CONSUMER.CREATE.SUBMIT.coordinators",
            "$JS.API.CONSUMER.INFO.SUBMIT.coordinators",
            "$JS.API.CONSUMER.MSG.NEXT.SUBMIT.coordinators",
            "$JS.ACK.SUBMIT.coordinators.>",
            "$JS.ACK.*.*.SUBMIT.coordinators.>",
        ],
    ),
    // -- dead letters and events
    to("dead-letters/publish", &["kapelle.dead.*.*.*.*"]),
    to(
        "dead-letters/consume",
        &[
            "$JS.API.CONSUMER.CREATE.DEAD",
            "$JS.API.CONSUMER.MSG.NEXT.DEAD.*",
            "$JS.API.CONSUMER.DELETE.DEAD.*",
            "$JS.API.STREAM.PURGE.DEAD",
        ],
    ),
    to("events/publish", &["kapelle.event.>"]),
    from("events/subscribe", &["kapelle.event.>"]),
    // What is told of approvals, by a consumer of each destination.
    to(
        "events/consume",
        &[
            "$JS.API.CONSUMER.CREATE.EVENTS.>",
            "$JS.API.CONSUMER.MSG.NEXT.EVENTS.*",
            "$JS.ACK.EVENTS.>",
            "$JS.ACK.*.*.EVENTS.>",
        ],
    ),
    // -- the audit trail: nobody deletes, purges or changes it
    to("audit/publish", &["kapelle.audit.*.*"]),
    to("audit/read", &["$JS.API.DIRECT.GET.AUDIT"]),
    // -- signs among coordinators
    to("settled/publish", &["kapelle.settled.*"]),
    from("settled/subscribe", &["kapelle.settled.*"]),
    to(
        "peers/publish",
        &[
            "kapelle.coordinator.alive",
            "kapelle.coordinator.list.*",
            "kapelle.coordinator.pinned.*",
            "kapelle.coordinator.outcomes.*",
        ],
    ),
    Class {
        name: "peers/subscribe",
        publish: &[],
        subscribe: &[
            "kapelle.coordinator.alive",
            "kapelle.coordinator.list.<id>",
            "kapelle.coordinator.pinned.<id>",
            "kapelle.coordinator.outcomes.<id>",
        ],
        answers: true,
    },
    // -- buckets; flow control is answered on a subject of its own
    to("catalog/read", &["$JS.API.DIRECT.GET.KV_registry.>"]),
    to("catalog/watch", &["$JS.API.CONSUMER.CREATE.KV_registry", "$JS.FC.KV_registry.>"]),
    // What is written is held against what the leader has.
    to("catalog/write", &["$JS.API.STREAM.MSG.GET.KV_registry", "$KV.registry.>"]),
    // Signing keys and hashes of tokens: whoever reads the first can speak for any task. No direct get of keys: what a replica
    // that lags does not have yet would look like a lost key.
    to("keys/keep", &["$JS.API.STREAM.MSG.GET.KV_keys", "$KV.keys.*"]),
    to(
        "tokens/keep",
        &[
            "$JS.API.STREAM.MSG.GET.KV_tokens",
            "$JS.API.CONSUMER.CREATE.KV_tokens",
            "$JS.API.CONSUMER.MSG.NEXT.KV_tokens.*",
            "$JS.API.CONSUMER.DELETE.KV_tokens.*",
            "$JS.FC.KV_tokens.>",
            "$KV.tokens.*",
        ],
    ),
    // Schedules: whoever writes these decides for whom runs are started.
    to(
        "schedules/keep",
        &[
            "$JS.API.DIRECT.GET.KV_schedules.>",
            "$JS.API.CONSUMER.CREATE.KV_schedules",
            "$JS.FC.KV_schedules.>",
            "$KV.schedules.*",
        ],
    ),
    // Approvals: whoever writes these decides in somebody's place.
    to(
        "approvals/keep",
        &[
            "$JS.API.DIRECT.GET.KV_approvals.>",
            "$JS.API.CONSUMER.CREATE.KV_approvals",
            "$JS.API.CONSUMER.MSG.NEXT.KV_approvals.*",
            "$JS.API.CONSUMER.DELETE.KV_approvals.*",
            "$JS.FC.KV_approvals.>",
            "$KV.approvals.>",
        ],
    ),
    // Whoever writes these says who may do what.
    to("policies/keep", &["$JS.API.DIRECT.GET.KV_policies", "$JS.API.STREAM.MSG.GET.KV_policies", "$KV.policies.>"]),
    to("cursors/write", &["$JS.API.DIRECT.GET.KV_cursors.>", "$KV.cursors.*"]),
    // How often an agent starts and what it spends, kept by its workers together.
    to("pace/keep", &["$JS.API.DIRECT.GET.KV_pace.$KV.pace.<agent>", "$KV.pace.<agent>"]),
    // How often a model is asked, kept together by the workers of all agents that ask it.
    to("models/keep", &["$JS.API.DIRECT.GET.KV_pace.$KV.pace._model.*", "$KV.pace._model.*"]),
    to("spending/keep", &["$JS.API.DIRECT.GET.SPEND.kapelle.spend.<agent>.*", "kapelle.spend.<agent>.*"]),
    // Workers that share credentials are told apart by what comes after the dot.
    to("presence/worker", &["$KV.presence.worker.<id>", "$KV.presence.worker.<id>.*"]),
    to("presence/coordinator", &["$KV.presence.coordinator.<id>"]),
    to("presence/read", &["$JS.API.DIRECT.GET.KV_presence"]),
    to(
        "payloads/read",
        // No consumer: one delivers to whatever subject its maker names, so making one is writing there.
        &[
            "$JS.API.DIRECT.GET.OBJ_payloads",
            "$JS.API.DIRECT.GET.OBJ_payloads.>",
            "$JS.API.STREAM.MSG.GET.OBJ_payloads",
        ],
    ),
    to("payloads/write", &["$O.payloads.>"]),
    // -- the broker's own state: of streams whose names and sizes tell nothing of runs, and of all others
    to("storage/open", &["$JS.API.STREAM.INFO.KV_registry", "$JS.API.STREAM.INFO.OBJ_payloads"]),
    to(
        "storage/inspect",
        &[
            "$JS.API.INFO",
            "$JS.API.STREAM.INFO.<runs>",
            "$JS.API.STREAM.INFO.TIMERS",
            "$JS.API.STREAM.INFO.TASKS",
            "$JS.API.STREAM.INFO.WAITING",
            "$JS.API.STREAM.INFO.KV_turns",
            "$JS.API.STREAM.INFO.SUBMIT",
            "$JS.API.STREAM.INFO.DEAD",
            "$JS.API.STREAM.INFO.EVENTS",
            "$JS.API.STREAM.INFO.AUDIT",
            "$JS.API.STREAM.INFO.SPEND",
            "$JS.API.STREAM.INFO.KV_pace",
            "$JS.API.STREAM.INFO.KV_keys",
            "$JS.API.STREAM.INFO.KV_tokens",
            "$JS.API.STREAM.INFO.KV_policies",
            "$JS.API.STREAM.INFO.KV_schedules",
            "$JS.API.STREAM.INFO.KV_approvals",
            "$JS.API.STREAM.INFO.KV_cursors",
            "$JS.API.STREAM.INFO.KV_presence",
        ],
    ),
    to(
        "storage/provision",
        &[
            "$JS.API.STREAM.CREATE.<runs>",
            "$JS.API.STREAM.CREATE.TIMERS",
            "$JS.API.STREAM.CREATE.TASKS",
            "$JS.API.STREAM.CREATE.WAITING",
            "$JS.API.STREAM.CREATE.KV_turns",
            "$JS.API.STREAM.CREATE.SUBMIT",
            "$JS.API.STREAM.CREATE.DEAD",
            "$JS.API.STREAM.CREATE.EVENTS",
            "$JS.API.STREAM.CREATE.AUDIT",
            "$JS.API.STREAM.CREATE.SPEND",
            "$JS.API.STREAM.CREATE.KV_pace",
            "$JS.API.STREAM.CREATE.KV_registry",
            "$JS.API.STREAM.CREATE.KV_keys",
            "$JS.API.STREAM.CREATE.KV_tokens",
            "$JS.API.STREAM.CREATE.KV_policies",
            "$JS.API.STREAM.CREATE.KV_schedules",
            "$JS.API.STREAM.CREATE.KV_approvals",
            "$JS.API.STREAM.CREATE.KV_cursors",
            "$JS.API.STREAM.CREATE.KV_presence",
            "$JS.API.STREAM.CREATE.OBJ_payloads",
        ],
    ),
    // -- where answers come: one's own inbox and nobody else's
    from("inbox/subscribe", &["<inbox>.>"]),
];
