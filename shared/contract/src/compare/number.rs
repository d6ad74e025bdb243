//! Numbers: exact arithmetic on what schemas say of them, and a number that fulfils it.

use serde_json::{Number, Value};

use super::rules::Rules;

/// Digits behind the point that are calculated with; more is not taken apart.
const SCALE_MAX: u32 = 12;
/// The largest number that is calculated with, in units of the last digit: products of two still fit.
const UNITS_MAX: i128 = 1_000_000_000_000_000_000_000_000_000;
/// Multiples that are tried one by one.
const TRIED_MAX: i128 = 10_000;

/// `units` divided by ten to the power of `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    units: i128,
    scale: u32,
}

/// What is known of the numbers that fulfil some rules.
#[derive(Debug)]
pub(super) enum Numbers {
    /// There is none.
    None,
    /// These are worth a try, and one of them fits if no rule is missing.
    Some(Vec<Value>),
    /// More is not known.
    Unsure,
}

impl Decimal {
    /// The number as it is written; `None` if it has too many digits.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let text = value.as_number()?.to_string();
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let shift = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        let units: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = u32::try_from(-shift.min(0)).ok()?;
        let units = units.checked_mul(10_i128.checked_pow(u32::try_from(shift.max(0)).ok()?)?)?;
        (scale <= SCALE_MAX && units.abs() <= UNITS_MAX).then_some(Self { units, scale })
    }

    /// The number, if it is whole and not negative.
    pub(super) fn whole(self) -> Option<u64> {
        let one = 10_i128.pow(self.scale);
        (self.units % one == 0).then(|| u64::try_from(self.units / one).ok()).flatten()
    }

    fn at(self, scale: u32) -> Option<i128> {
        let units = self.units.checked_mul(10_i128.checked_pow(scale.checked_sub(self.scale)?)?)?;
        (units.abs() <= UNITS_MAX).then_some(units)
    }
}

/// The rules in units of one scale.
struct Scaled {
    scale: u32,
    lower: Option<(i128, bool)>,
    upper: Option<(i128, bool)>,
    multiples: Vec<i128>,
    others: Vec<i128>,
    excluded: Vec<i128>,
}

/// Numbers that fulfil the rules: integers, or those that are none.
pub(super) fn numbers(rules: &Rules<'_>, integers: bool) -> Numbers {
    let Some(mut scaled) = Scaled::of(rules) else { return Numbers::Unsure };
    let one = 10_i128.pow(scaled.scale);
    if integers {
        scaled.multiples.push(one)
    } else {
        scaled.others.push(one)
    }
    match scaled.multiples.iter().try_fold(1, |all, it| lcm(all, *it)) {
        Some(step) if !scaled.multiples.is_empty() => scaled.multiples_of(step),
        Some(_) => scaled.between(),
        None => Numbers::Unsure,
    }
}

impl Scaled {
    fn of(rules: &Rules<'_>) -> Option<Self> {
        let excluded: Option<Vec<Decimal>> =
            rules.excluded.iter().filter(|it| it.is_number()).map(|it| Decimal::of(it)).collect();
        let excluded = excluded?;
        let bounds = rules.lower.iter().chain(&rules.upper).map(|(bound, _)| bound);
        let all = bounds.chain(&rules.multiples).chain(&rules.no_multiples).chain(&excluded);
        let scale = all.map(|it| it.scale).max().unwrap_or(0);
        let many = |numbers: &[Decimal]| numbers.iter().map(|it| it.at(scale)).collect::<Option<Vec<_>>>();
        let bound = |bounds: &[(Decimal, bool)], sign: i128| -> Option<Option<(i128, bool)>> {
            let bounds: Option<Vec<_>> = bounds.iter().map(|(it, more)| Some((it.at(scale)? * sign, *more))).collect();
            Some(bounds?.into_iter().max().map(|(it, more)| (it * sign, more)))
        };
        Some(Self {
            scale,
            lower: bound(&rules.lower, 1)?,
            upper: bound(&rules.upper, -1)?,
            multiples: many(&rules.multiples)?,
            others: many(&rules.no_multiples)?,
            excluded: many(&excluded)?,
        })
    }

    fn fits(&self, number: i128) -> bool {
        !self.excluded.contains(&number) && self.others.iter().all(|it| number % it != 0)
    }

    /// Of the multiples of `step` that lie within the bounds, the first few that fit.
    fn multiples_of(&self, step: i128) -> Numbers {
        let first = self.lower.map(|(it, more)| it.div_euclid(step) + i128::from(more || it.rem_euclid(step) != 0));
        let last = self.upper.map(|(it, more)| it.div_euclid(step) - i128::from(more && it.rem_euclid(step) == 0));
        let (start, way) = match (first, last) {
            (Some(first), _) => (first, 1),
            (None, Some(last)) => (last, -1),
            (None, None) => (0, 1),
        };
        let there = match (first, last) {
            (Some(first), Some(last)) => (last - first + 1).max(0),
            _ => i128::MAX,
        };
        // What is no multiple of the others comes again after a period; each excluded number spoils one period at most.
        let period = self.others.iter().try_fold(1, |all, it| lcm(all, it / gcd(*it, step)));
        let enough =
            period.and_then(|it| it.checked_mul(self.excluded.len() as i128 + 1)).unwrap_or(i128::MAX).min(there);
        let tried = enough.min(TRIED_MAX);
        let found = (0..tried).map(|n| (start + way * n) * step).find(|it| self.fits(*it));
        match found {
            Some(number) => Numbers::Some(vec![value(number, self.scale)]),
            None if tried == enough => Numbers::None,
            None => Numbers::Unsure,
        }
    }

    /// Any number between the bounds.
    fn between(&self) -> Numbers {
        // Three digits more than the rules have: no rule meets all of the numbers between.
        const FINER: i128 = 1_000;
        let one = 10_i128.pow(self.scale);
        let (lower, upper) = match (self.lower, self.upper) {
            (Some((lower, a)), Some((upper, b))) if lower > upper || (lower == upper && (a || b)) => {
                return Numbers::None;
            }
            (Some((lower, _)), Some((upper, _))) if lower == upper => {
                return if self.fits(lower) { Numbers::Some(vec![value(lower, self.scale)]) } else { Numbers::None };
            }
            (Some((lower, _)), Some((upper, _))) => (lower, upper),
            (Some((lower, _)), None) => (lower, lower + one),
            (None, Some((upper, _))) => (upper - one, upper),
            (None, None) => (0, one),
        };
        let width = upper - lower;
        let tried = [500, 250, 123, 371, 617, 779, 901, 7, 993].map(|thousandth| lower * FINER + width * thousandth);
        let hit = |list: &[i128], meets: &dyn Fn(i128) -> bool| list.iter().any(|it| meets(it * FINER));
        let fits =
            |number: i128| !hit(&self.excluded, &|it| it == number) && !hit(&self.others, &|it| number % it == 0);
        let found: Vec<Value> = tried.into_iter().filter(|it| fits(*it)).map(|it| value(it, self.scale + 3)).collect();
        if found.is_empty() { Numbers::Unsure } else { Numbers::Some(found) }
    }
}

fn value(units: i128, scale: u32) -> Value {
    let one = 10_i128.pow(scale);
    let whole = units / one;
    if units % one == 0 {
        if let Ok(whole) = i64::try_from(whole) {
            return whole.into();
        }
        if let Ok(whole) = u64::try_from(whole) {
            return whole.into();
        }
    }
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:0>width$}", whole.abs(), (units % one).abs(), width = scale as usize);
    text.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn lcm(a: i128, b: i128) -> Option<i128> {
    let divisor = gcd(a, b);
    if divisor == 0 { None } else { (a / divisor).checked_mul(b).filter(|it| it.abs() <= UNITS_MAX) }
}
