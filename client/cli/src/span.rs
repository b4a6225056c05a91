//! Spans of time as they are typed: `1h`, `90s`, `1h30m`, `250ms`, `7d`.

use std::time::Duration;

/// Reads a span: one or more whole numbers, each with its unit `d`, `h`, `m`, `s` or `ms`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut left = text.trim();
    let mut total_ms: u64 = 0;
    if left.is_empty() {
        return Err(format!("want {WANT}"));
    }
    while !left.is_empty() {
        let (digits, rest) = split(left, |c| c.is_ascii_digit());
        let (unit, rest) = split(rest, |c| c.is_ascii_alphabetic());
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{left}` does not start with a whole number; want {WANT}"))?;
        let unit_ms = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" | "min" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            "" => return Err(format!("`{digits}` has no unit; want {WANT}")),
            other => return Err(format!("`{other}` is no unit; want {WANT}")),
        };
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| format!("`{text}` is too long"))?;
        left = rest.trim_start();
    }
    Ok(Duration::from_millis(total_ms))
}

/// As [`parse`], and longer than nothing.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("want more than nothing".to_owned()),
        span => Ok(span),
    }
}

const WANT: &str = "a span such as `1h`, `90s`, `1h30m`, `250ms` or `7d`";

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn spans_add_up_and_what_is_none_is_refused() {
        for (text, ms) in [
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in [
            "",
            "h",
            "1",
            "1.5h",
            "-1h",
            "1y",
            "1h30",
            "99999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0s").is_err());
    }
}
