//! The names of the key-value buckets and of the object store.

/// Immutable manifests by kind, name and version.
pub const REGISTRY: &str = "registry";
/// How far each partition is done.
pub const CURSORS: &str = "cursors";
/// Living workers and coordinators, for people to see.
pub const PRESENCE: &str = "presence";
/// The object store of payloads above the inline limit, by SHA-256.
pub const PAYLOADS: &str = "payloads";
