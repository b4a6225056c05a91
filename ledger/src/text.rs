//! Spellings that every signed text shares: one for each value, or none.

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Decimal without sign or leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// RFC 4648 section 4 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// RFC 4648 section 4 with padding and zero trailing bits, nothing else.
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    (base64(&bytes) == text).then_some(bytes)
}

/// Base64 of exactly 32 bytes.
pub(crate) fn parse_base64_32(text: &str) -> Option<[u8; 32]> {
    parse_base64(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_have_one_spelling() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "18446744073709551616",
            "1e3",
        ] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
        assert_eq!(parse_base64("AQI=").as_deref(), Some(&[1, 2][..]));
        for text in ["AQI", "AQJ=", "AQI==", "AQI=\n", " AQI=", "AQ-_", "=AQI"] {
            assert_eq!(parse_base64(text), None, "{text:?}");
        }
        assert_eq!(parse_base64_32("AQI="), None);
    }
}
