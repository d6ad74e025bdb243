//! One cron line: five fields, names of months and days, `L`, `W` and `#`; read and searched by `croner`.
//!
//! A line speaks of what clocks show. Here it is searched over that alone; what happens when clocks are changed is decided in
//! [`crate::timetable`], the same way for every line.

use std::fmt;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

use crate::Invalid;

/// Characters of a line: many times what anybody writes.
const CHARS_MAX: usize = 256;
/// How lines are written.
const HINT: &str = "write minute, hour, day of month, month, day of week: `30 6 * * MON-FRI`";
/// A line whose next time is further away never runs: leap years that fall on a given weekday repeat within 40 years.
const YEARS_MAX: i64 = 41;
/// When lines are tried: any time does, as their times repeat.
const TRIED_AT: i64 = 1_767_225_600;

/// A cron line that has times.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    cron: croner::Cron,
}

impl Cron {
    /// Reads a line.
    ///
    /// # Errors
    /// It is none, or it has no times.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let wrong = |why: String| Invalid::new(format!("`{text}` is not a cron line: {why}"), HINT);
        if text.chars().count() > CHARS_MAX {
            return Err(Invalid::new(format!("a cron line has {CHARS_MAX} characters at most"), HINT));
        }
        if text.starts_with('@') {
            return Err(wrong("it has to have five fields".into()));
        }
        if text.split_whitespace().count() != 5 {
            return Err(wrong(format!("it has {} fields, not five", text.split_whitespace().count())));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| wrong(error.to_string()))?;
        let cron = Self { text: text.to_owned(), cron };
        if cron.after(TRIED_AT).is_none() {
            return Err(Invalid::new(format!("`{text}` never occurs"), "there is no such day in any year"));
        }
        Ok(cron)
    }

    /// The first second after this one at which it occurs, both as clocks show them.
    pub(crate) fn after(&self, shown: i64) -> Option<i64> {
        let start = DateTime::<Utc>::from_timestamp(shown, 0)?;
        let next = self.cron.find_next_occurrence(&start, false).ok()?.timestamp();
        (next - shown < YEARS_MAX * 366 * 86_400).then_some(next)
    }

    /// Whether its minutes or hours are written with `*`: it follows the clocks, instead of naming times of a day.
    pub(crate) fn follows_the_clock(&self) -> bool {
        self.text.split_whitespace().take(2).any(|field| field.contains('*'))
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
