//! The scenarios, by what they are about. Each waits for conditions only and leaves its run over and marked.

pub(super) mod closings;
pub(super) mod contracts;
pub(super) mod fan_outs;
pub(super) mod faults;
pub(super) mod flows;
pub(super) mod handoffs;
pub(super) mod kinds;
pub(super) mod latecomers;
pub(super) mod limits;
pub(super) mod noise;
pub(super) mod payloads;
pub(super) mod people;
pub(super) mod requests;
pub(super) mod retries;
pub(super) mod stalls;
