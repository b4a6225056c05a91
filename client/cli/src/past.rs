//! What stood at a moment of the past.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use candor_client::{Historical, Moment, PastTrail, Then};
use candor_ledger::fold::{Effective, Held};
use candor_ledger::ids::Seq;
use candor_ledger::shown::shown;
use candor_ledger::time::Micros;
use serde_json::{Value, json};

use crate::cache::{MISSED, recorded_json};
use crate::output::{Lines, Output, write_data};

/// Reads a sequence number, a day, or a time in UTC with up to six digits of a fraction.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(seq) = text.parse() {
        return Ok(Moment::After(Seq(seq)));
    }
    Micros::parse_typed(text).map(Moment::At).map_err(|_| {
        "want an entry's number, or a time in UTC such as 2026-05-14T10:00:00Z".to_owned()
    })
}

/// What `candor get --as-of` answers: the value that was ACTIVE then on standard output, and on
/// standard error what it rests on and that it is of then.
pub(crate) fn answer(
    answer: &Historical,
    out: Option<&Path>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let value = match answer.then() {
        Then::Value(value) => Some(&value.bytes),
        Then::NotKept(_) | Then::Nothing(_) => None,
    };
    if let (Some(value), Some(path)) = (value, out) {
        std::fs::write(path, value)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if output == Output::Json {
        output.print(answer_json(answer, out), String::new)?;
    } else {
        if let (Some(value), None) = (value, out) {
            write_data(value, std::io::stdout().is_terminal())?;
        }
        eprint!("{}", answer_text(answer));
    }
    Ok(match value {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(MISSED),
    })
}

fn answer_text(answer: &Historical) -> String {
    let mut text = Lines::default();
    let then = match answer.then() {
        Then::Value(_) => "; not what a get answers now",
        Then::NotKept(_) => "; its value is not kept any more",
        Then::Nothing(_) => "",
    };
    let past = answer.past();
    text.push(format_args!(
        "as of {} (size {}): {}{then}",
        past.time,
        answer.size(),
        words(past)
    ));
    if let Some(seq) = past.next {
        text.push(format_args!(
            "  complete    entry {seq} is the next event, and names the last one before"
        ));
    }
    for caveat in answer.caveats() {
        text.push(format_args!("  not proved  {}", shown(&caveat)));
    }
    let seq = answer.read().seq();
    text.push(format_args!("  recorded    this question is entry {seq}"));
    text.into_text()
}

fn answer_json(answer: &Historical, out: Option<&Path>) -> Value {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let (outcome, value) = match answer.then() {
        Then::Value(value) => ("value", Some(value)),
        Then::NotKept(_) => ("not_kept", None),
        Then::Nothing(_) => ("miss", None),
    };
    let in_place = value.filter(|_| out.is_none());
    json!({
        "outcome": format!("historical_{outcome}"),
        "fingerprint": answer.fingerprint().to_string(),
        "size": answer.size().0,
        "as_of": json(answer.past()),
        "media_type": value.map(|value| value.media_type.as_str()),
        "value_base64": in_place.map(|value| BASE64_STANDARD.encode(&value.bytes)),
        "value_file": value.and(out).map(|path| path.display().to_string()),
        "value_len": value.map(|value| value.bytes.len()),
        "read": recorded_json(answer.read()),
        "caveats": answer.caveats(),
    })
}

/// The answer for people, as lines below the lifecycle.
pub(crate) fn text(past: &PastTrail) -> String {
    let mut text = Lines::default();
    text.push(format_args!("As of {}: {}", past.time, words(past)));
    if let Some(seq) = past.next {
        text.push(format_args!(
            "  complete    entry {seq} is the next event, and names the last one shown"
        ));
    }
    for caveat in past.caveats() {
        text.push(format_args!("  not proved  {}", shown(&caveat)));
    }
    text.into_text()
}

/// The answer for programs.
pub(crate) fn json(past: &PastTrail) -> Value {
    let state = past.past.as_ref().map(|past| &past.state);
    let held = state.and_then(held);
    let successor = match state {
        Some(Effective::Superseded(successor)) => Some(successor.to_string()),
        _ => None,
    };
    json!({
        "time": past.time.to_string(),
        "state": state.map(|state| state.state().as_str()),
        "version": held.map(|held| held.version),
        "output_hash": held.map(|held| format!("sha3-256:{}", hex::encode(held.output_hash))),
        "write_seq": held.map(|held| held.write_seq.0),
        "deadline": held.map(|held| held.deadline.to_string()),
        "successor": successor,
        "next_seq": past.next.map(|seq| seq.0),
        "model_gave_way_seq": past.gave_way.as_ref().map(|event| event.entry.seq.0),
        "caveats": past.caveats(),
    })
}

fn words(past: &PastTrail) -> String {
    let Some(past) = &past.past else {
        return "the events above".to_owned();
    };
    let state = past.state.state().as_str().to_uppercase();
    match &past.state {
        Effective::Active(held) => format!(
            "{state}, version {}, output sha3-256:{}, until {}",
            held.version,
            hex::encode(held.output_hash),
            held.deadline
        ),
        Effective::Expired(held) => {
            format!("{state} since {}, version {}", held.deadline, held.version)
        }
        Effective::Superseded(successor) => {
            format!("{state} by {}", shown(&successor.to_string()))
        }
        Effective::Absent | Effective::Revoked => state,
    }
}

fn held(state: &Effective) -> Option<&Held> {
    match state {
        Effective::Active(held) | Effective::Expired(held) => Some(held),
        Effective::Absent | Effective::Revoked | Effective::Superseded(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn a_moment_is_an_entry_a_day_or_a_time() {
        let at = |text| Moment::At(Micros::parse(text).unwrap());
        for (text, moment) in [
            ("0", Moment::After(Seq(0))),
            ("4711", Moment::After(Seq(4_711))),
            ("2026-05-14", at("2026-05-14T00:00:00.000000Z")),
            ("2026-05-14T10:00:00Z", at("2026-05-14T10:00:00.000000Z")),
            ("2026-05-14T10:00:00.25Z", at("2026-05-14T10:00:00.250000Z")),
        ] {
            assert_eq!(parse_moment(text), Ok(moment), "{text}");
        }
        for text in [
            "",
            "-1",
            "today",
            "2026-05-14T10:00:00",
            "2026-13-01",
            "2026-05-14T10:00:00.1234567Z",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }
}
