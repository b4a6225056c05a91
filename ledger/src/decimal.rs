//! Decimal numbers as text with one spelling each, for settings such as a temperature.
//!
//! A binary float has many spellings, and which one a client prints depends on its language; two
//! clients would then miss each other's results. So a decimal enters a fingerprint as
//!
//! ```text
//! -?(0|[1-9][0-9]{0,17})(\.[0-9]{0,16}[1-9])?     at most 18 digits in all, and not -0
//! ```
//!
//! The server takes this and nothing else; an SDK rewrites what its user wrote. Neither rounds.

use core::fmt;

/// The most digits, on both sides of the point together; every such number fits in an `i64` of
/// units of its last digit.
pub const DIGITS_MAX: usize = 18;

/// The longest text that is looked at: a canonical one has 20 bytes, sign and point included, and
/// what has more zeros than this is no setting of a model.
pub const TEXT_LEN_MAX: usize = 64;

/// A decimal number, held as its canonical text.
///
/// Equal numbers are equal texts. There is no arithmetic, and no conversion from a binary float.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// Reads the canonical spelling, as the server does.
    ///
    /// # Errors
    /// For any other spelling of a number, and for what is no number.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let decimal = Self::normalise(text)?;
        if decimal.0 == text {
            return Ok(decimal);
        }
        Err(DecimalError::NotCanonical {
            found: text.to_owned(),
            canonical: decimal.0,
        })
    }

    /// Reads any decimal spelling, as an SDK does: `0.70`, `.7`, `+7e-1` and `0.7` are one number.
    ///
    /// # Errors
    /// For what is no decimal number (`NaN`, `inf`, hexadecimal, white space, nothing at all), and
    /// for numbers that need more than [`DIGITS_MAX`] digits: they are never rounded.
    pub fn normalise(text: &str) -> Result<Self, DecimalError> {
        if text.len() > TEXT_LEN_MAX {
            return Err(DecimalError::TooLong { len: text.len() });
        }
        let parts = Parts::of(text).ok_or_else(|| DecimalError::NotANumber(text.to_owned()))?;
        let number = parts
            .to_text()
            .ok_or_else(|| DecimalError::TooManyDigits(text.to_owned()))?;
        Ok(Self(number))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a decimal number here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not spell a decimal number.
    #[error("{0:?} is not a decimal number")]
    NotANumber(String),
    /// A number in another spelling than its canonical one.
    #[error("`{found}` must be written `{canonical}`")]
    NotCanonical {
        /// The text given.
        found: String,
        /// How it has to be written.
        canonical: String,
    },
    /// The text is longer than [`TEXT_LEN_MAX`].
    #[error("a number of `{len}` characters is longer than {TEXT_LEN_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The number cannot be written with [`DIGITS_MAX`] digits.
    #[error("`{0}` needs more than {DIGITS_MAX} digits, and is not rounded")]
    TooManyDigits(String),
}

/// A number as it was spelled: `[+-] whole [. fraction] [e exponent]`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// `None` when the text does not follow the grammar.
    fn of(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = sign(text);
        let (number, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let well_formed = digits().next().is_some() && digits().all(|byte| byte.is_ascii_digit());
        well_formed.then_some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    /// The canonical text; `None` when it has too many digits.
    fn to_text(&self) -> Option<String> {
        let all = format!("{}{}", self.whole, self.fraction);
        let significant = all.trim_start_matches('0');
        let leading = all.len() - significant.len();
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some("0".to_owned());
        }
        // Where the point stands, counted from the first digit of `digits`.
        let point = signed(self.whole.len())
            .checked_add(self.exponent)?
            .checked_sub(signed(leading))?;
        let number = place_point(digits, point)?;
        let sign = if self.negative { "-" } else { "" };
        Some(format!("{sign}{number}"))
    }
}

fn sign(text: &str) -> (bool, &str) {
    match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, text),
    }
}

/// `None` when this is no exponent. One beyond `i64` is as good as the greatest: the number is 0
/// or has too many digits with either.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -magnitude } else { magnitude })
}

/// Writes digits that neither start nor end with 0, with the point after the first `point` of
/// them, or so many zeros before or behind.
fn place_point(digits: &str, point: i64) -> Option<String> {
    let zeros = |count: i64| usize::try_from(count).ok().filter(|n| *n < DIGITS_MAX);
    let text = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(zeros(point.checked_neg()?)?))
    } else if point >= signed(digits.len()) {
        format!(
            "{digits}{}",
            "0".repeat(zeros(point - signed(digits.len()))?)
        )
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(point).ok()?);
        format!("{whole}.{fraction}")
    };
    let count = text.bytes().filter(u8::is_ascii_digit).count();
    (count <= DIGITS_MAX).then_some(text)
}

/// Lengths here are at most [`TEXT_LEN_MAX`].
fn signed(len: usize) -> i64 {
    i64::try_from(len).expect("invariant: the text was found to be short")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_number_becomes_its_canonical_one() {
        for (canonical, spellings) in [
            (
                "0.7",
                &["0.70", ".7", "+7e-1", "07e-1", "0.07E+1", "7.E-1"][..],
            ),
            (
                "0",
                &["0.0", "-0", "-0.0", "+0", "0e99999999999999999999", "0."],
            ),
            ("0.00001", &["1e-05", "1E-5", "0.1e-4", "0.0000100"]),
            ("1", &["+1.0", "1.", "001", "10e-1"]),
            ("-1.5", &["-1.50", "-15e-1", "-0.15E1"]),
            ("100", &["1E2", "1e+2", "100.000"]),
            (
                "999999999999999999",
                &["999999999999999999.0", "9.99999999999999999e17"],
            ),
            ("0.00000000000000001", &["1e-17"]),
            ("100000000000000000", &["1e17"]),
        ] {
            assert_eq!(Decimal::parse(canonical).unwrap().as_str(), canonical);
            for spelling in spellings {
                assert_eq!(Decimal::normalise(spelling).unwrap().as_str(), canonical);
                let refused = Decimal::parse(spelling).unwrap_err();
                let found = (*spelling).to_owned();
                let canonical = canonical.to_owned();
                assert_eq!(refused, DecimalError::NotCanonical { found, canonical });
            }
        }
    }

    #[test]
    fn refuses_what_is_no_number_or_would_have_to_be_rounded() {
        for text in [
            "",
            "+",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "1e1.5",
            "NaN",
            "nan",
            "inf",
            "-Infinity",
            "0x10",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            "1\n",
            "--1",
            "+-1",
            "1.2.3",
            "1e5e5",
            "٣",
            "1f",
            "½",
        ] {
            let refused = Decimal::normalise(text).unwrap_err();
            assert_eq!(refused, DecimalError::NotANumber(text.to_owned()));
            assert!(Decimal::parse(text).is_err(), "{text:?}");
        }
        for text in [
            "1e18",
            "1e-18",
            "1234567890.123456789",
            "0.123456789012345678",
            "1000000000000000000",
            "1e99999999999999999999",
            "1e-9223372036854775808",
            "0.1e-9223372036854775807",
        ] {
            let refused = Decimal::normalise(text).unwrap_err();
            assert_eq!(refused, DecimalError::TooManyDigits(text.to_owned()));
        }
        let len = TEXT_LEN_MAX + 1;
        let refused = Decimal::normalise(&"0".repeat(len)).unwrap_err();
        assert_eq!(refused, DecimalError::TooLong { len });
        assert_eq!(
            Decimal::normalise(&"0".repeat(TEXT_LEN_MAX))
                .unwrap()
                .as_str(),
            "0"
        );
    }

    /// The rule of the module's documentation, read digit by digit.
    fn follows_the_grammar(text: &str) -> bool {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (unsigned, None),
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let count = whole.len() + fraction.unwrap_or("").len();
        digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(|fraction| digits(fraction) && !fraction.ends_with('0'))
            && count <= 18
            && text != "-0"
    }

    proptest! {
        #[test]
        fn exactly_the_grammar_is_canonical(
            text in prop_oneof![
                "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{0,17}[0-9])?",
                "[-+.eE0-9]{0,7}",
            ],
        ) {
            prop_assert_eq!(Decimal::parse(&text).is_ok(), follows_the_grammar(&text));
            if let Ok(decimal) = Decimal::normalise(&text) {
                prop_assert!(follows_the_grammar(decimal.as_str()), "{}", decimal);
                prop_assert_eq!(Decimal::parse(decimal.as_str()), Ok(decimal.clone()));
                // Binary floats are near enough to see a digit lost or a point moved.
                let (given, canonical): (f64, f64) =
                    (text.parse().unwrap(), decimal.as_str().parse().unwrap());
                prop_assert!((given - canonical).abs() <= given.abs() * 1e-15);
            }
        }
    }
}
