//! Money: whole millionths of a US dollar, so that sums are exact and the same on every machine.

use std::fmt;
use std::iter::Sum;

use serde::{Serialize, Serializer};

/// Millionths of a dollar in one dollar.
const MICROS: u64 = 1_000_000;
/// Decimal places of [`MICROS`].
const PLACES: usize = 6;

/// An amount of US dollars, never negative. Adding saturates: an amount that no longer fits is more than any limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that may be written down, a thousand million dollars: up to here decimals survive JSON's numbers.
    pub const WRITTEN_MAX: Self = Self(1_000_000_000 * MICROS);

    /// So many millionths of a dollar.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The amount in millionths of a dollar.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Reads what a person wrote: `20`, `0.05`.
    ///
    /// # Errors
    /// Why it is no amount that may be written down.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(places) {
            return Err("an amount is a decimal number of US dollars, such as `0.05`");
        }
        let places = places.trim_end_matches('0');
        if places.len() > PLACES {
            return Err("an amount has at most 6 decimal places");
        }
        let too_much = "an amount is a thousand million dollars at most";
        let amount = amount(whole, places).filter(|it| *it <= Self::WRITTEN_MAX);
        amount.ok_or(too_much)
    }

    /// What an agent says that it cost. A part of a millionth counts as a whole one, so that many small amounts are not
    /// none; `None` if it is no amount of money.
    #[must_use]
    pub fn reported(usd: f64) -> Option<Self> {
        if !usd.is_finite() || usd < 0.0 {
            return None;
        }
        // The shortest decimal that means this number is what was written, and prints the same everywhere.
        let text = usd.abs().to_string();
        let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
        let (kept, rest) = places.split_at(places.len().min(PLACES));
        let part = u64::from(rest.chars().any(|c| c != '0'));
        Some(amount(whole, kept).map_or(Self(u64::MAX), |Self(micros)| Self(micros.saturating_add(part))))
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it; nothing if more is taken away than there is.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The amount as a floating-point number, for metrics and for JSON; nothing is decided by it.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // exact to the sixth place up to `WRITTEN_MAX`
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }
}

/// An amount from its digits before and behind the point, of which there are at most [`PLACES`].
fn amount(whole: &str, places: &str) -> Option<Usd> {
    let whole: u64 = whole.parse().ok()?;
    let places: u64 = format!("{places:0<PLACES$}").parse().ok()?;
    Some(Usd(whole.checked_mul(MICROS)?.checked_add(places)?))
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// `0.05 USD`; no digits that say nothing.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / MICROS, format!("{:0PLACES$}", self.0 % MICROS));
        match places.trim_end_matches('0') {
            "" => write!(f, "{whole} USD"),
            places => write!(f, "{whole}.{places} USD"),
        }
    }
}

/// As a number, the way that manifests have it.
impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(MICROS) { s.serialize_u64(self.0 / MICROS) } else { s.serialize_f64(self.as_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_and_printed() {
        for (text, micros, printed) in [
            ("20", 20_000_000, "20 USD"),
            ("0.05", 50_000, "0.05 USD"),
            ("0.000001", 1, "0.000001 USD"),
            ("1.50", 1_500_000, "1.5 USD"),
            ("0.0500000000", 50_000, "0.05 USD"),
            ("1000000000", 1_000_000_000_000_000, "1000000000 USD"),
        ] {
            let amount = Usd::parse(text).unwrap();
            assert_eq!((amount.micros(), amount.to_string().as_str()), (micros, printed));
        }
        for text in ["", ".5", "5.", "-1", "1e3", "0.0000001", "1000000000.000001", "99999999999999999999", "1.2.3"] {
            assert!(Usd::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_agents_say_is_rounded_up_and_what_is_no_money_is_refused() {
        for (said, micros) in [(0.05, 50_000), (0.1 + 0.2, 300_001), (1e-9, 1), (0.0, 0), (-0.0, 0), (1e300, u64::MAX)]
        {
            assert_eq!(Usd::reported(said), Some(Usd(micros)), "{said}");
        }
        for said in [f64::NAN, f64::INFINITY, -0.01] {
            assert_eq!(Usd::reported(said), None);
        }
    }

    proptest! {
        /// What a manifest says is the same after any number of ways through JSON.
        #[test]
        fn amounts_survive_json(micros in 0..=Usd::WRITTEN_MAX.0) {
            let json = serde_json::to_value(Usd(micros)).unwrap();
            let number = json.as_f64().unwrap();
            prop_assert_eq!(Usd::parse(&number.to_string()), Ok(Usd(micros)));
            prop_assert_eq!(Usd::reported(number), Some(Usd(micros)));
        }
    }
}
