//! The names of the key-value buckets and of the object store.

/// Immutable manifests by kind, name and version.
pub const REGISTRY: &str = "registry";
/// The signing keys of task tokens; only coordinators may read it.
pub const KEYS: &str = "keys";
/// How far each partition is done.
pub const CURSORS: &str = "cursors";
/// Living workers and coordinators, for people to see.
pub const PRESENCE: &str = "presence";
/// When the next task of an agent with a `rate` may start.
pub const PACE: &str = "pace";
/// Agent versions whose tasks take turns, and who holds the places that limits by key give.
pub const TURNS: &str = "turns";
/// API tokens by their ids: hashes, never secrets.
pub const TOKENS: &str = "tokens";
/// The policies that are served, set after set, and what is proposed.
pub const POLICIES: &str = "policies";
/// Schedules by name, each with what it has done.
pub const SCHEDULES: &str = "schedules";
/// What is kept of approvals beside the run logs: questions that are open, what was agreed to last, and delegations.
pub const APPROVALS: &str = "approvals";
/// The object store of payloads above the inline limit, by SHA-256.
pub const PAYLOADS: &str = "payloads";
