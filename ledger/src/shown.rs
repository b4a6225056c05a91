//! Text of others made safe to show.
//!
//! Entry fields, tenants, origins and key names come from clients and logs; a verdict is the
//! verifier's own. So nothing of theirs may move the cursor, start a line, reverse the reading
//! direction or hide: everything but printable characters is written as an escape.

use core::fmt::{self, Write as _};

/// Shows a text with every control, format, bidirectional, zero-width and line-separating
/// character, and the backslash, as `\n`, `\r`, `\t`, `\\` or `\u{<hex>}`.
///
/// The result holds no line end, reads from left to right and takes as much room as it seems to;
/// two different texts never give the same result. Letters that merely look alike are left as
/// they are: names in entries are ASCII ([`crate::fingerprint`]).
pub fn shown(text: &str) -> Shown<'_> {
    Shown(text)
}

/// Displays a text escaped; see [`shown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                hidden if is_hidden(hidden) => write!(f, "\\u{{{:x}}}", u32::from(hidden))?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Characters without ink of their own, and those that change how others are laid out.
///
/// Unicode general categories Cc, Cf, Zl, Zp, Co and the noncharacters, the spaces that are not
/// U+0020, and what else has the property `Default_Ignorable_Code_Point`.
fn is_hidden(char: char) -> bool {
    matches!(u32::from(char),
        // Cc
        0x00..=0x1f | 0x7f..=0x9f
        // Spaces that are not U+0020
        | 0xa0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000
        // Soft hyphen, Arabic and Syriac format characters
        | 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
        // Combining grapheme joiner, Hangul and Khmer fillers, Mongolian selectors
        | 0x34f | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x3164 | 0xffa0
        // Zero width, bidi marks, line and paragraph separators, embeddings, isolates
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        // Braille blank, variation selectors, byte order mark, annotations, replacement
        | 0x2800 | 0xfe00..=0xfe0f | 0xfeff | 0xfff0..=0xfffb
        // Private use and noncharacters of the basic plane
        | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfffe..=0xffff
        // Kaithi, hieroglyph, shorthand and musical format characters
        | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
        // Tags, selectors, private planes
        | 0xe0000..=0x0010_ffff
    ) || u32::from(char) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_start_a_line_move_the_cursor_turn_around_or_hide() {
        for (text, safe) in [
            (
                "plain text, ünïcode and 漢字",
                "plain text, ünïcode and 漢字",
            ),
            ("ok\nVERDICT proved", "ok\\nVERDICT proved"),
            ("a\rb\tc\\n", "a\\rb\\tc\\\\n"),
            ("\u{1b}[2K\u{1b}[32mproved", "\\u{1b}[2K\\u{1b}[32mproved"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}devorp\u{2066}", "\\u{202e}devorp\\u{2066}"),
            (
                "a\u{200b}b\u{feff}c\u{2060}d\u{ad}e",
                "a\\u{200b}b\\u{feff}c\\u{2060}d\\u{ad}e",
            ),
            (
                "a\u{2028}b\u{2029}c\u{85}d",
                "a\\u{2028}b\\u{2029}c\\u{85}d",
            ),
            (
                "\u{e0041}\u{fe0f}\u{1fffe}\u{3164}",
                "\\u{e0041}\\u{fe0f}\\u{1fffe}\\u{3164}",
            ),
            ("a\u{a0}b\u{3000}c", "a\\u{a0}b\\u{3000}c"),
        ] {
            assert_eq!(shown(text).to_string(), safe);
        }
    }

    #[test]
    fn no_whitespace_or_control_of_unicode_passes_but_the_space() {
        let suspect = |c: &char| c.is_control() || (c.is_whitespace() && *c != ' ');
        let passing: Vec<char> = (char::MIN..=char::MAX)
            .filter(suspect)
            .filter(|c| !is_hidden(*c))
            .collect();
        assert!(passing.is_empty(), "{passing:?}");
    }
}
