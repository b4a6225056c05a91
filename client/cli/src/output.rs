//! How results are printed: data on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

/// Version of the JSON that is printed: raised when a field changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// Who reads the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A program: one JSON object.
    Json,
    /// A person.
    Table,
}

impl Output {
    /// Prints a result: `fields` as one JSON object with its schema version, or the text.
    pub(crate) fn print(
        self,
        fields: Value,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<ExitCode> {
        let text = match self {
            Self::Json => serde_json::to_string_pretty(&with_version(fields))?,
            Self::Table => text(),
        };
        write_data(text.trim_end_matches('\n').as_bytes(), true)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes to standard output. A reader that has gone away is no error of ours.
pub(crate) fn write_data(bytes: &[u8], line_feed: bool) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let end: &[u8] = if line_feed { b"\n" } else { b"" };
    let written = stdout
        .write_all(bytes)
        .and_then(|()| stdout.write_all(end))
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn with_version(fields: Value) -> Value {
    let mut object = Map::new();
    object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    match fields {
        Value::Object(fields) => object.extend(fields),
        other => drop(object.insert("result".to_owned(), other)),
    }
    Value::Object(object)
}

/// Text that grows line by line.
#[derive(Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds a line.
    pub(crate) fn push(&mut self, line: impl fmt::Display) {
        fmt::Write::write_fmt(&mut self.0, format_args!("{line}\n"))
            .expect("invariant: a string takes all");
    }

    /// All lines, each with its LF.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// A bar on standard error; nothing at all where that is no terminal.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target)
        .with_style(style)
        .with_message(what)
}

/// A duration as people say it: `850 us`, `12.3 ms`, `4.56 s`, `9 min 32 s`.
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.0.as_secs(), self.0.subsec_micros());
        match s {
            0 if us < 1_000 => write!(f, "{us} us"),
            0 if us < 100_000 => write!(f, "{}.{} ms", us / 1_000, us / 100 % 10),
            0 => write!(f, "{} ms", us / 1_000),
            1..120 => write!(f, "{s}.{} s", us / 100_000),
            _ => write!(f, "{} min {} s", s / 60, s % 60),
        }
    }
}

/// A number with a comma between thousands.
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_as_people_say_them() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(Count(number).to_string(), text);
        }
        for (us, text) in [
            (850, "850 us"),
            (12_340, "12.3 ms"),
            (456_000, "456 ms"),
            (4_560_000, "4.5 s"),
            (572_000_000, "9 min 32 s"),
        ] {
            assert_eq!(Took(Duration::from_micros(us)).to_string(), text);
        }
    }

    #[test]
    fn every_json_object_names_its_schema() {
        let object = with_version(serde_json::json!({ "seq": 3 }));
        assert_eq!(object, serde_json::json!({ "schema_version": 1, "seq": 3 }));
    }
}
