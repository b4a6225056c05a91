//! Ledger time: microseconds, written one way only.

use core::fmt;

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Text form: `YYYY-MM-DDThh:mm:ss.ffffffZ`, always 27 characters; years 1970 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

/// A text that is not a ledger time in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time of the form YYYY-MM-DDThh:mm:ss.ffffffZ")]
pub struct TimeError(pub String);

impl Micros {
    /// The last time that the text form can write: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From milliseconds since the epoch, saturating at [`Micros::MAX`].
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000)).min(Self::MAX)
    }

    /// Whole milliseconds since the epoch.
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds since the epoch, as in a cosignature's time.
    pub fn as_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This time plus a duration, saturating at [`Micros::MAX`].
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000))).min(Self::MAX)
    }

    /// Reads the text form and nothing else.
    ///
    /// # Errors
    /// [`TimeError`] for any other spelling, including dates that do not exist.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let micros = parse_fields(text).ok_or_else(|| TimeError(text.to_owned()))?;
        // Writing it again catches the 31st of June and every other date that does not exist.
        if Self(micros).to_string() == text {
            Ok(Self(micros))
        } else {
            Err(TimeError(text.to_owned()))
        }
    }

    /// Reads a time in UTC as people write it: `2026-05-14T10:00:00Z` with up to six digits of a
    /// fraction, or a day, which means its beginning.
    ///
    /// # Errors
    /// [`TimeError`] for any other spelling.
    pub fn parse_typed(text: &str) -> Result<Self, TimeError> {
        let whole = match text.strip_suffix('Z') {
            None => format!("{text}T00:00:00.000000Z"),
            Some(time) => {
                let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
                format!("{seconds}.{fraction:0<FRACTION_DIGITS$}Z")
            }
        };
        Self::parse(&whole).map_err(|_| TimeError(text.to_owned()))
    }

    /// The same for the end of a range: a day means its last microsecond.
    ///
    /// # Errors
    /// As [`Micros::parse_typed`].
    pub fn parse_typed_end(text: &str) -> Result<Self, TimeError> {
        let start = Self::parse_typed(text)?;
        Ok(match text.strip_suffix('Z') {
            None => Self(start.0 + DAY_MICROS - 1),
            Some(_) => start,
        })
    }
}

/// Digits of a second that the ledger counts.
const FRACTION_DIGITS: usize = 6;
const DAY_MICROS: u64 = 86_400 * 1_000_000;

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.min(Self::MAX.0);
        let seconds = micros / 1_000_000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60,
            micros % 1_000_000
        )
    }
}

fn parse_fields(text: &str) -> Option<u64> {
    let shape = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    let fits = |(byte, shape): (u8, &u8)| match *shape {
        b'd' => byte.is_ascii_digit(),
        fixed => byte == fixed,
    };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = days
        .checked_mul(86_400)?
        .checked_add(number(11, 13)?.checked_mul(3_600)?)?
        .checked_add(number(14, 16)?.checked_mul(60)?)?
        .checked_add(number(17, 19)?)?;
    seconds.checked_mul(1_000_000)?.checked_add(number(20, 26)?)
}

/// Days since 1970-01-01 of a proleptic Gregorian date; months count from March so that the leap
/// day comes last, and 719,468 is the day number of 1970-01-01 counted from 0000-03-01.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn known_instants_have_their_one_spelling() {
        // Seconds from `date -u -d ... +%s`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_747_216_861, "2025-05-14T10:01:01.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(Micros(seconds * 1_000_000).to_string(), text);
            assert_eq!(Micros::parse(text).unwrap(), Micros(seconds * 1_000_000));
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        for text in [
            "",
            "2025-05-14T10:01:01Z",
            "2025-05-14t10:01:01.000000Z",
            "2025-02-29T00:00:00.000000Z",
            "2025-06-31T00:00:00.000000Z",
            "2025-13-01T00:00:00.000000Z",
            "2025-01-01T24:00:00.000000Z",
            "2025-01-01T00:60:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "+025-01-01T00:00:00.000000Z",
            "2025-01-01T00:00:00.000000z",
        ] {
            assert!(Micros::parse(text).is_err(), "{text}");
        }
    }
}
