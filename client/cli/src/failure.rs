//! Errors as they leave the program: one line on standard error, and the exit status.

use std::process::ExitCode;

use candor_client::{ConfigError, Error};
use candor_ledger::fingerprint::FieldError;
use candor_ledger::shown::shown;
use serde_json::json;

use crate::output::{Output, SCHEMA_VERSION};

/// The caller gave something that cannot be used: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A sentence, and what another program wrote that explains it.
#[cfg(feature = "server")]
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct WithLines {
    pub(crate) message: String,
    pub(crate) lines: Vec<String>,
}

/// Exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;
const FAILED: u8 = 1;

/// Says what went wrong and returns the exit status.
pub(crate) fn report(problem: &anyhow::Error, output: Output) -> ExitCode {
    let (code, status) = classify(problem);
    let text = format!("{problem:#}");
    let text = shown(&text);
    match output {
        Output::Json => {
            let error = json!({ "code": code, "message": text.to_string() });
            eprintln!(
                "{}",
                json!({ "schema_version": SCHEMA_VERSION, "error": error })
            );
        }
        Output::Table => eprintln!("candor: {text}"),
    }
    say_more(problem);
    ExitCode::from(status)
}

/// Says what went wrong where the program goes on.
#[cfg(feature = "server")]
pub(crate) fn say(problem: &anyhow::Error) {
    eprintln!("{}", shown(&format!("{problem:#}")));
    say_more(problem);
}

fn say_more(problem: &anyhow::Error) {
    for line in more(problem) {
        eprintln!("  {}", shown(&line));
    }
}

fn classify(problem: &anyhow::Error) -> (&str, u8) {
    if problem.is::<Usage>() {
        return ("USAGE", USAGE);
    }
    if problem.is::<FieldError>() {
        return ("INVALID_FIELD", USAGE);
    }
    if problem.is::<ConfigError>() {
        return ("CONFIG", FAILED);
    }
    match problem.downcast_ref::<Error>() {
        Some(error @ (Error::Field(_) | Error::Ambiguous { .. })) => (error.code(), USAGE),
        Some(error) => (error.code(), FAILED),
        None => ("FAILED", FAILED),
    }
}

/// What a person needs beside the sentence.
fn more(problem: &anyhow::Error) -> Vec<String> {
    #[cfg(feature = "server")]
    if let Some(WithLines { lines, .. }) = problem.downcast_ref() {
        return lines.clone();
    }
    match problem.downcast_ref::<Error>() {
        Some(Error::Ambiguous { candidates, .. }) => {
            candidates.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}
