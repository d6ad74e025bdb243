//! Quotas as people write and read them.

use kapelle_accounts::{Quotas, Record};
use kapelle_types::limits;

use super::inside::Used;
use crate::failure::Failure;

/// Quotas to set; what is not named stays.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Its streams on disk, every replica counted, such as 10GiB. Default: 10GiB, or as it is
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    storage: Option<u64>,
    /// Its streams in memory, every replica counted. Default: 1GiB, or as it is
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<u64>,
    /// Connections of its coordinators, and as many again of all others. Default: 1000, or as it is
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// Streams. Default: 300, or as it is
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    streams: Option<u32>,
    /// Consumers, one an agent version and some a coordinator. Default: 10000, or as it is
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    consumers: Option<u32>,
}

impl Wanted {
    /// What is wanted, over what is there.
    pub(super) fn over(self, there: Quotas) -> Result<Quotas, Failure> {
        Ok(Quotas {
            storage_bytes: self.storage.unwrap_or(there.storage_bytes),
            memory_bytes: self.memory.unwrap_or(there.memory_bytes),
            connections: self.connections.unwrap_or(there.connections),
            streams: self.streams.unwrap_or(there.streams),
            consumers: self.consumers.unwrap_or(there.consumers),
        })
    }
}

/// Streams that name their size reserve it: a namespace with less could not be provisioned.
pub(super) fn check_room(quotas: &Quotas) -> Result<(), Failure> {
    if quotas.storage_bytes >= limits::NAMESPACE_STORAGE_MIN {
        return Ok(());
    }
    let least = size(limits::NAMESPACE_STORAGE_MIN);
    let message = format!("A namespace needs {least} of storage: events and submissions reserve theirs.");
    Err(Failure::usage(message, format!("Give it `--storage {least}` or more, and so much for each replica.")))
}

/// A namespace for people.
pub(super) fn page(record: &Record, used: Option<&Used>) -> String {
    let q = &record.quotas;
    let line = |name: &str, value: String| format!("{name:<12} {value}\n");
    let of = |used: Option<String>, all: String| used.map_or_else(|| all.clone(), |used| format!("{used} of {all}"));
    let mut text =
        line("namespace", record.name.to_string()) + &line("partitions", record.partitions.count().to_string());
    text += &line("storage", of(used.map(|u| size(u.storage_bytes)), size(q.storage_bytes)));
    text += &line("memory", of(used.map(|u| size(u.memory_bytes)), size(q.memory_bytes)));
    text += &line("streams", of(used.map(|u| u.streams.to_string()), q.streams.to_string()));
    text += &line("consumers", of(used.map(|u| u.consumers.to_string()), q.consumers.to_string()));
    text += &line("connections", q.connections.to_string());
    text += &line("core", record.core.clone());
    text += &line("edge", record.edge.clone());
    text += &line("workers", record.workers.clone());
    text.trim_end().to_owned()
}

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A number of bytes in the largest unit that loses nothing, or in MiB.
pub(super) fn size(bytes: u64) -> String {
    match UNITS.iter().find(|(_, bits)| bytes > 0 && bytes.trailing_zeros() >= *bits) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => format!("{}MiB", bytes >> 20),
    }
}

/// Reads a size such as `10GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let found = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = found.ok_or("a whole number with KiB, MiB, GiB or TiB is expected")?;
    let number: u64 = number.trim().parse().map_err(|_| "a whole number with KiB, MiB, GiB or TiB is expected")?;
    // nats-server counts in signed numbers, and takes zero for no limit at all.
    number
        .checked_mul(1 << bits)
        .filter(|n| (1..=1 << 60).contains(n))
        .ok_or_else(|| "1KiB to 1EiB are possible".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_in_units() {
        for (text, number) in [("10GiB", 10 << 30), ("1MiB", 1 << 20), ("3TiB", 3 << 40), ("1536KiB", 1_536 << 10)] {
            assert_eq!(bytes(text), Ok(number));
            assert_eq!(size(number), text);
        }
        assert_eq!(size((1 << 30) + 5), "1024MiB");
        for bad in ["", "10", "GiB", "0GiB", "-1MiB", "1.5GiB", "10GB", "99999999TiB", "99999999999999999999MiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
