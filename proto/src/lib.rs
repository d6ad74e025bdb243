//! The wire.
pub mod v1 { #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] tonic::include_proto!("kapelle.v1"); }
