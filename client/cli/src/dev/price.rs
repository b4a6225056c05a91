//! Prices in whole millionths, so that no binary float touches money.

use std::fmt;
use std::str::FromStr;

/// A price of a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    /// Millionths of the currency.
    micros: u64,
}

/// An amount of money in the currency that the prices are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    micros: u128,
}

/// Decimal places of a price.
const PLACES: usize = 6;
const MILLION: u128 = 1_000_000;

impl Price {
    /// What so many tokens cost, rounded down to a millionth.
    pub(crate) fn of(self, tokens: u64) -> Money {
        Money {
            micros: u128::from(self.micros) * u128::from(tokens) / MILLION,
        }
    }
}

impl Money {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            micros: self.micros.saturating_add(other.micros),
        }
    }
}

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let want = || format!("`{text}` is no price: want a number such as `0.15`");
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > PLACES {
            return Err(want());
        }
        let micros = format!("{whole}{part:0<PLACES$}")
            .parse()
            .map_err(|_| want())?;
        Ok(Self { micros })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money {
            micros: self.micros.into(),
        }
        .fmt(f)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{}.{:0>PLACES$}",
            self.micros / MILLION,
            self.micros % MILLION
        );
        let least = text.find('.').map_or(text.len(), |point| point + 3);
        let shown = text.trim_end_matches('0').len().max(least);
        f.write_str(text.get(..shown).unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn money_is_counted_in_whole_millionths() {
        let price: Price = "0.15".parse().unwrap();
        assert_eq!(price.to_string(), "0.15");
        assert_eq!(price.of(2_000_000).to_string(), "0.30");
        assert_eq!(price.of(10).to_string(), "0.000001");
        assert_eq!(
            "3".parse::<Price>().unwrap().of(1_500_000).to_string(),
            "4.50"
        );
        for text in ["", "-1", "1e3", ".5", "1.", "0.1234567", "1,5"] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
    }
}
