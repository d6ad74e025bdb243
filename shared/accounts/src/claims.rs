//! What is signed: the claims of operator, accounts and users, in the shape that nats-server reads.

use kapelle_policy::{Agents, Permissions, Place, Policies, permissions};
use kapelle_types::{Caller, Principal, Role, Timestamp};
use serde_json::{Map, Value, json};

use crate::crossing::{self, Crossing};
use crate::jwt::seconds;
use crate::record::{Issued, Record};

/// nats-server's word for "as much as there is".
const NO_LIMIT: i64 = -1;
/// The version of the claims' own format.
const VERSION: u32 = 2;

pub(crate) fn operator(name: &str, key: &str, system: &str) -> Value {
    let nats = json!({ "type": "operator", "version": VERSION, "system_account": system });
    json!({ "name": name, "sub": key, "nats": nats })
}

/// The system account: for those who push accounts, and for nothing else.
pub(crate) fn system(key: &str) -> Value {
    let nats = json!({ "type": "account", "version": VERSION, "limits": limits(i64::from(SYSTEM_CONNECTIONS_MAX)) });
    json!({ "name": "system", "sub": key, "nats": nats })
}

/// Connections to the system account: administrators and their scripts.
const SYSTEM_CONNECTIONS_MAX: u32 = 64;

/// A user of the system account; its key signs for it, so that no other key may.
pub(crate) fn system_user(key: &str) -> Value {
    let nats = json!({ "type": "user", "version": VERSION, "subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT });
    json!({ "name": "operator", "sub": key, "nats": nats })
}

/// The account that has the streams: quotas, and what the edges may ask it for.
pub(crate) fn core(record: &Record, policies: &Policies, now: Timestamp) -> Value {
    let quotas = &record.quotas;
    let mut limits = limits(i64::from(quotas.connections));
    limits["mem_storage"] = json!(quotas.memory_bytes);
    limits["disk_storage"] = json!(quotas.storage_bytes);
    limits["streams"] = json!(quotas.streams);
    limits["consumer"] = json!(quotas.consumers);
    let everybody = [PEOPLE.as_slice(), &WORKERS].concat();
    let exports: Vec<Value> = crossing::crossings(policies, record, &everybody).iter().map(Crossing::export).collect();
    account(record, &record.core, record.name.as_str(), &[Role::Coordinator], policies, now, |nats| {
        nats.insert("limits".into(), limits);
        nats.insert("exports".into(), json!(exports));
    })
}

/// The account of publishers and people: no streams, no exports.
pub(crate) fn people(record: &Record, policies: &Policies, now: Timestamp) -> Value {
    edge(record, &record.edge, "edge", &PEOPLE, policies, now)
}

/// The account of workers, like the one of people and apart from it: the broker sends its answers to whatever subject of an
/// account whoever asks names, and what workers store is sent back as it is. Nobody else shall hear it.
pub(crate) fn workers(record: &Record, policies: &Policies, now: Timestamp) -> Value {
    edge(record, &record.workers, "workers", &WORKERS, policies, now)
}

fn edge(record: &Record, key: &str, kind: &str, roles: &[Role], policies: &Policies, now: Timestamp) -> Value {
    let imports = crossing::crossings(policies, record, roles);
    let imports: Vec<Value> = imports.iter().map(|crossing| crossing.import(&record.core)).collect();
    let name = format!("{}-{kind}", record.name);
    account(record, key, &name, roles, policies, now, |nats| {
        nats.insert("limits".into(), limits(i64::from(record.quotas.connections)));
        nats.insert("imports".into(), json!(imports));
    })
}

/// Who connects to the edge.
const PEOPLE: [Role; 6] = [Role::Viewer, Role::Publisher, Role::Operator, Role::Approver, Role::Auditor, Role::Admin];
/// Who connects to the account of workers.
const WORKERS: [Role; 1] = [Role::Worker];

fn account(
    record: &Record,
    key: &str,
    name: &str,
    roles: &[Role],
    policies: &Policies,
    now: Timestamp,
    more: impl FnOnce(&mut Map<String, Value>),
) -> Value {
    let signers =
        roles.iter().filter_map(|role| record.signers.get(role).map(|key| signer(record, *role, key, policies)));
    let revoked = record.credentials.iter().filter(|c| roles.contains(&c.role) && c.expires_at > now);
    let revoked = revoked.filter_map(|c| Some((c.public_key.clone(), json!(seconds(c.revoked_at?)))));
    let mut nats = Map::new();
    nats.insert("type".into(), json!("account"));
    nats.insert("version".into(), json!(VERSION));
    nats.insert("signing_keys".into(), Value::Array(signers.collect()));
    nats.insert("revocations".into(), Value::Object(revoked.collect()));
    more(&mut nats);
    json!({ "name": name, "sub": key, "nats": nats })
}

/// A key that may sign users of one role and no others: what they may do stands here, and nothing of it in their JWTs. So a
/// change of the policies reaches everybody when the account is pushed, and a stolen signing key makes no coordinators.
fn signer(record: &Record, role: Role, key: &str, policies: &Policies) -> Value {
    let place = Place {
        namespace: record.name.clone(),
        id: "{{name()}}".into(),
        inbox: "_INBOX_{{name()}}".into(),
        partitions: record.partitions,
        agents: Agents::of([role].into_iter(), Agents::Tagged),
    };
    let mut template = rules(&permissions(policies, &caller(record, [role]), &place));
    template["subs"] = json!(NO_LIMIT);
    template["data"] = json!(NO_LIMIT);
    template["payload"] = json!(NO_LIMIT);
    // No leaf nodes, no web sockets: a server behind one would speak for everybody behind it.
    template["allowed_connection_types"] = json!(["STANDARD"]);
    json!({ "kind": "user_scope", "key": key, "role": role.as_str(), "template": template })
}

/// A user: a name, and the agents that its role's template is filled with.
pub(crate) fn user(record: &Record, issued: &Issued) -> Value {
    let account = match issued.role {
        Role::Coordinator => &record.core,
        Role::Worker => &record.workers,
        _ => &record.edge,
    };
    let queues = issued.agents.iter().map(|a| format!("queue:{}-{}", a.name, a.version.token()));
    let topics = issued.agents.iter().map(|a| format!("agent:{}.{}", a.name, a.version.token()));
    // Its holder, too, has to know whose it is: a coordinator serves the namespace that it has credentials of.
    let tags: Vec<String> = [format!("namespace:{}", record.name)].into_iter().chain(queues).chain(topics).collect();
    let nats = json!({ "type": "user", "version": VERSION, "issuer_account": account, "tags": tags });
    json!({ "name": issued.name, "sub": issued.public_key, "exp": seconds(issued.expires_at), "nats": nats })
}

/// What takes accounts away: their keys, said by the operator.
pub(crate) fn removal(operator: &str, accounts: &[&str]) -> Value {
    json!({ "sub": operator, "nats": { "type": "generic", "version": VERSION, "accounts": accounts } })
}

/// A caller of a namespace with these roles, as policies judge it.
pub(crate) fn caller(record: &Record, roles: impl IntoIterator<Item = Role>) -> Caller {
    Caller {
        principal: Principal("broker".into()),
        person: None,
        roles: roles.into_iter().collect(),
        namespace: Some(record.name.clone()),
        sees_payloads: false,
        groups: Default::default(),
    }
}

/// Permissions as a JWT has them.
fn rules(permissions: &Permissions) -> Value {
    let mut said = json!({ "pub": permissions.publish, "sub": permissions.subscribe });
    if permissions.answers {
        // One answer a request, within two minutes: nats-server's own limits, said aloud.
        said["resp"] = json!({ "max": 1, "ttl": 120_000_000_000_u64 });
    }
    said
}

fn limits(connections: i64) -> Value {
    json!({
        "subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT, "imports": NO_LIMIT, "exports": NO_LIMIT,
        "wildcards": true, "conn": connections, "leaf": 0,
    })
}
