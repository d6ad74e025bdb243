//! Sizes as people write them: `64KiB`, `512MiB`, `2GiB`.

/// How sizes are written.
pub(crate) const HINT: &str = "write `64KiB`, `512MiB` or `2GiB`";
/// Units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a size; `None` if it is none.
pub(crate) fn parse(text: &str) -> Option<u64> {
    UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*factor))
}

/// Prints a size so that [`parse`] reads the same.
pub(crate) fn format(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}
