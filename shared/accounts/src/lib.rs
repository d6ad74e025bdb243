//! Accounts at the broker: an operator, three NATS accounts for each namespace, and the credentials of whoever connects.
//!
//! ```text
//!   operator ──signs──▶ namespace ┬─ core   streams, quotas; coordinators alone
//!   (a folder of keys)            │    ▲ exports, by subject: what the policies let anybody but coordinators do
//!                                 ├─ workers        no streams, and nothing but its imports
//!                                 └─ edge           the same for publishers and people
//!                                      │
//!                                      └─ one signing key a role, whose template the policies make ──signs──▶ user
//! ```
//!
//! Why three: a broker checks what a connection publishes to, not the subject that it asks answers to be sent to. In one account
//! a worker could have a payload that it stored delivered into a run's log, or as news to people. An answer from the core finds
//! its way back to the account of workers only, where no stream and no person listens (docs/adr/0017).
//!
//! What an account may do is never stored: it is made from the record and the policies whenever it is signed. This crate
//! keeps the folder, signs, and tells the broker. It never starts a server and decides about no call.

mod broker;
mod claims;
mod crossing;
mod error;
mod folder;
mod issue;
mod jwt;
mod operator;
mod record;

pub use broker::{push, remove};
pub use error::Error;
pub use issue::Wanted;
pub use operator::Operator;
pub use record::{Issued, Quotas, Record, State};
