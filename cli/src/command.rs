//! The commands, one module each: its arguments, what it does, what it prints.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod coordinator;
pub(crate) mod credentials;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod lineage;
pub(crate) mod namespace;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod run;
pub(crate) mod sandbox_exec;
pub(crate) mod schedule;
pub(crate) mod token;
pub(crate) mod worker;
