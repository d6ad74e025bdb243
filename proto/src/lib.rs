//! The wire: what Kapelle writes to the broker and speaks over gRPC, and how it becomes domain values.
//!
//! ```text
//!   Entry, Task, Words, DeadLetterRecord ──encode──▶ bytes on a typed subject ──decode──▶ the same values, or a DecodeError
//! ```
//!
//! Whoever talks to the broker or over gRPC goes through here; domain types know nothing of protobuf. What is read may be
//! garbage or written by a newer release: both are errors of their own kind, nothing panics. This crate never does IO.

mod approval;
mod audit;
pub mod bucket;
mod dead_letter;
mod diagnosis;
mod entry;
mod error;
mod failure;
mod log;
mod payload;
mod status;
pub mod stream;
pub mod subject;
mod task;
mod token;
mod words;

pub use audit::{decode_audit, encode_audit};
pub use dead_letter::DeadLetterRecord;
pub use error::{DecodeError, WIRE_VERSION};
pub use log::{decode_record, encode_record};
pub use payload::INLINE_BYTES_ACCEPTED_MAX;
pub use task::Task;
pub use words::Words;

/// The messages and services as generated from `kapelle/v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    tonic::include_proto!("kapelle.v1");
}

/// The descriptors of everything in [`v1`], as a `FileDescriptorSet`: for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kapelle.bin"));
