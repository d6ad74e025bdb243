//! What holds for every plan, every order of events and every crash: properties over random runs.
//!
//! `chaos` lets the world do its worst to random DAGs; `cut` cuts logs at every point; `garbage` feeds anything to any
//! state; `fork` begins again in the middle; `cost` counts operations.

mod chaos;
mod cost;
mod cut;
mod fork;
mod garbage;
