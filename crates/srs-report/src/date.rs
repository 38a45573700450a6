//! Calendar days, in the form that waivers use.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Year, month and day; ordered as the calendar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date(u32, u32, u32);

impl Date {
    /// Reads `YYYY-MM-DD`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits| {
            let part = parts.next().filter(|it| it.len() == digits && it.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse().ok()
        };
        let date = Self(number(4)?, number(2)?, number(2)?);
        let valid = (1..=12).contains(&date.1) && (1..=days(date.0, date.1)).contains(&date.2);
        (valid && parts.next().is_none()).then_some(date)
    }

    /// The day it is now, UTC.
    pub(super) fn today() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::after_epoch(since.as_secs() / (24 * 60 * 60))
    }

    fn after_epoch(mut rest: u64) -> Self {
        let (mut year, mut month) = (1970, 1);
        while rest >= u64::from(days(year, month)) {
            rest -= u64::from(days(year, month));
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        Self(year, month, u32::try_from(rest).unwrap_or_default() + 1)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0, self.1, self.2)
    }
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        assert_eq!(Date::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
        for wrong in ["2023-02-29", "2024-13-01", "2024-1-01", "2024-01-00", "2024-01-01-01", "", "tomorrow"] {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_are_counted_from_the_epoch() {
        for (day, expected) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_454, "2026-01-01")] {
            assert_eq!(Date::after_epoch(day).to_string(), expected);
        }
    }
}
