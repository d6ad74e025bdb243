//! Durations as people write them: `200ms`, `20s`, `2m`, `1h30m`.

use std::time::Duration;

/// How durations are written.
pub const HINT: &str = "write `200ms`, `20s`, `2m` or `1h30m`";
/// Units, the longest first.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// No duration is longer: a year and a day.
const MILLIS_MAX: u64 = 366 * 86_400_000;

/// Reads a duration above zero.
///
/// # Errors
/// Why it is none, in words.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty");
    }
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_len = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (number, unit) = (&rest[..digits], &rest[digits..digits + unit_len]);
        let number: u64 = match number {
            "" => return Err("a number is expected before the unit"),
            digits => digits.parse().map_err(|_| "it is too long")?,
        };
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(match unit {
            "" => "its unit is missing",
            _ => "its units are `ms`, `s`, `m`, `h` and `d`",
        })?;
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .filter(|sum| *sum <= MILLIS_MAX)
            .ok_or("it is longer than a year")?;
        rest = &rest[digits + unit_len..];
    }
    if millis == 0 {
        return Err("it has to be longer than zero");
    }
    Ok(Duration::from_millis(millis))
}

/// Prints a duration so that [`parse`] reads the same.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if millis >= *factor {
            text.push_str(&format!("{}{unit}", millis / factor));
            millis %= factor;
        }
    }
    if text.is_empty() { "0ms".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        for (text, millis) in
            [("200ms", 200), ("20s", 20_000), ("2m", 120_000), ("1h30m", 5_400_000), ("72h", 259_200_000)]
        {
            let duration = parse(text).unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
        assert_eq!(format(Duration::from_millis(90_061_001)), "1d1h1m1s1ms");
    }

    #[test]
    fn says_why_not() {
        for (text, why) in [
            ("", "it is empty"),
            ("20", "its unit is missing"),
            ("s", "a number is expected before the unit"),
            ("-2s", "a number is expected before the unit"),
            ("2 s", "its units are `ms`, `s`, `m`, `h` and `d`"),
            ("1.5s", "its units are `ms`, `s`, `m`, `h` and `d`"),
            ("0s", "it has to be longer than zero"),
            ("400d", "it is longer than a year"),
            ("99999999999999999999s", "it is too long"),
            ("1min", "its units are `ms`, `s`, `m`, `h` and `d`"),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }
}
