#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use candor_client::Error;
use candor_node::grpc::status::ErrorCode;
use candor_proto::Effect;

use super::*;

fn event(index: u64, process: Process, what: What) -> Event {
    Event {
        index,
        time_ns: index * 1_000,
        process,
        node: index.is_multiple_of(2).then_some(index % 3 + 1),
        what,
    }
}

fn key() -> String {
    "acme/9f".to_owned()
}

/// One of every question.
fn questions() -> Vec<Asked> {
    let output = || "51".to_owned();
    vec![
        Asked::Attest { key: key() },
        Asked::Get { key: key() },
        Asked::Receipt { seq: 7 },
        Asked::Reinstate {
            key: key(),
            output: output(),
        },
        Asked::Revoke {
            key: key(),
            output: output(),
        },
        Asked::Set {
            key: key(),
            output: output(),
            ttl_ms: 60_000,
        },
        Asked::Supersede {
            key: key(),
            successor: "acme/\"odd\"\n\u{1}\u{e4}".to_owned(),
        },
    ]
}

/// One of every answer.
fn answers() -> Vec<Found> {
    let output = || "51".to_owned();
    vec![
        Found::Attested,
        Found::Conflict { held: output() },
        Found::Hit {
            output: output(),
            version: 2,
            write_seq: 4,
        },
        Found::Missed(Miss::Absent),
        Found::Missed(Miss::Erased),
        Found::Missed(Miss::Expired),
        Found::Missed(Miss::Revoked),
        Found::Missed(Miss::Superseded("acme/0a".to_owned())),
        Found::Proved,
        Found::Refused {
            reason: "superseded".to_owned(),
            successor: Some("acme/0a".to_owned()),
        },
        Found::Reinstated { version: 1 },
        Found::Revoked { version: 1 },
        Found::Superseded,
        Found::Written {
            version: 3,
            renewed: true,
            expires_us: 1_778_752_800_000_000,
        },
    ]
}

/// One of everything that a history can say.
fn everything() -> History {
    let trouble = |request: Option<&str>| Trouble {
        f: F::Set,
        error: "OUTCOME_UNKNOWN".to_owned(),
        request: request.map(str::to_owned),
    };
    let answered = |(at, found): (usize, Found)| What::Answered {
        f: F::Get,
        answer: Answer {
            seq: 9,
            time_us: at.is_multiple_of(2).then_some(17),
            request: at.is_multiple_of(3).then(|| "018f".to_owned()),
            replayed: at % 2 == 1,
            size: at.is_multiple_of(4).then_some(12),
            found,
        },
    };
    let mut whats: Vec<What> = questions().into_iter().map(What::Asked).collect();
    whats.extend(answers().into_iter().enumerate().map(answered));
    whats.push(What::Failed(trouble(None)));
    whats.push(What::Unknown(trouble(Some("018f"))));
    let mut events: Vec<Event> = (0..)
        .zip(whats)
        .map(|(at, what)| event(at, Process::Client(3), what))
        .collect();
    for step in [Step::Start, Step::Stop] {
        let fault = Fault {
            name: "partition".to_owned(),
            step,
            nodes: vec![1, 3],
        };
        let at = u64::try_from(events.len()).unwrap();
        events.push(event(at, Process::Nemesis, What::Fault(fault)));
    }
    History { events }
}

#[test]
fn a_history_reads_back_as_it_was_written_in_both_forms() {
    let history = everything();
    assert_eq!(History::parse_edn(&history.to_edn()).unwrap(), history);
    assert_eq!(History::parse_jsonl(&history.to_jsonl()).unwrap(), history);
    let first = history.to_edn();
    assert_eq!(
        first.lines().next().unwrap(),
        "{:index 0, :time 0, :process 3, :type :invoke, :f :attest, :value {:key \"acme/9f\"}, :node 1}"
    );
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let good = everything().to_edn();
    let second = good.lines().nth(1).unwrap();
    for (what, with, problem) in [
        (":f :get", ":f :fetch", "operation `fetch` is unknown"),
        (":type :invoke", ":type :maybe", "type `maybe` is unknown"),
        (":key \"acme/9f\"", "", "`key` is missing"),
        ("\"acme/9f\"", "9", "`key` is of another kind"),
        (
            ":process 3",
            ":process :someone",
            "process `:someone` is unknown",
        ),
        ("\"acme/9f\"", "\"acme/9f\", :also 1", "says more or less"),
        (":index 1", ":index -1", "`-1` is no term"),
        (":index 1", ":index 1 :index 2", "`:index` a second time"),
        ("}", "", "a map wants a keyword"),
    ] {
        let damaged = good.replacen(second, &second.replacen(what, with, 1), 1);
        let error = History::parse_edn(&damaged).unwrap_err();
        assert!(
            error.line == 2 && error.problem.contains(problem),
            "{what}: {error}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(Term::parse_edn(&deep).is_err(), "no stack is exhausted");
}

#[test]
fn a_history_that_no_processes_can_have_made_is_malformed() {
    let ask = |at, process| {
        event(
            at,
            Process::Client(process),
            What::Asked(Asked::Get { key: key() }),
        )
    };
    let trouble = |f| Trouble {
        f,
        error: "UNAVAILABLE".to_owned(),
        request: None,
    };
    let unknown = |at, f| event(at, Process::Client(0), What::Unknown(trouble(f)));
    let judge = |events: Vec<Event>| History { events }.operations().map_err(|e| e.problem);
    let told = |events, problem: &str| {
        let found = judge(events).unwrap_err();
        assert!(found.contains(problem), "{found}");
    };
    told(
        vec![ask(0, 0), unknown(1, F::Get), ask(2, 0)],
        "speaks again after `:info`",
    );
    told(vec![ask(0, 0), ask(1, 0)], "still waits");
    told(vec![unknown(0, F::Get)], "asked nothing");
    told(vec![ask(0, 0), unknown(1, F::Set)], "asked was `get`");
    told(vec![ask(1, 0)], "stands at place 0");
    let mut late = ask(0, 0);
    late.time_ns = 2_000;
    told(
        vec![late, unknown(1, F::Get)],
        "is earlier than the one before",
    );
    let fine = judge(vec![ask(0, 0), ask(1, 1), unknown(2, F::Get)]).unwrap();
    let ends: Vec<_> = fine
        .iter()
        .map(|operation| operation.completed_ns)
        .collect();
    assert_eq!(
        ends,
        [Some(2_000), None],
        "the second never came back: unknown"
    );
    assert!(fine.iter().all(Operation::is_unknown));
}

#[test]
fn a_change_that_was_sent_again_is_asked_once_and_is_the_best_that_is_known_of_it() {
    let trouble = || Trouble {
        f: F::Set,
        error: "UNAVAILABLE".to_owned(),
        request: Some("018f".to_owned()),
    };
    let written = |expires_us| {
        let (version, renewed) = (1, false);
        let found = Found::Written {
            version,
            renewed,
            expires_us,
        };
        let request = Some("018f".to_owned());
        let answer = Answer::new(expires_us, found);
        Outcome::Ok(Answer { request, ..answer })
    };
    let failed = || Outcome::Failed(trouble());
    let unknown = || Outcome::Unknown(Some(trouble()));
    let of = |at: u64, outcome: &Outcome| Operation {
        index: at,
        process: at,
        node: None,
        asked: questions()[5].clone(),
        invoked_ns: at,
        completed_ns: Some(10 - at),
        outcome: outcome.clone(),
    };
    for (first, second, best) in [
        (failed(), unknown(), 2),
        (unknown(), failed(), 1),
        (failed(), written(7), 2),
        (written(7), failed(), 1),
        (unknown(), written(7), 2),
        (written(7), unknown(), 1),
        // The one that was answered first.
        (written(7), written(8), 2),
    ] {
        let once = once_each(&[of(1, &first), of(2, &second)]);
        let best = if best == 1 {
            of(1, &first)
        } else {
            of(2, &second)
        };
        let kept: Vec<_> = once
            .iter()
            .map(|one| (&one.outcome, one.completed_ns))
            .collect();
        assert_eq!(kept, [(&best.outcome, best.completed_ns)]);
        assert_eq!(
            once.iter().map(|one| one.invoked_ns).collect::<Vec<_>>(),
            [1]
        );
    }
}

#[test]
fn only_what_is_proved_to_have_made_no_entry_fails() {
    let rejected = |code: &str| Error::Rejected {
        code: code.to_owned(),
        message: String::new(),
        field: None,
        endpoint: String::new(),
    };
    let set = |error: &Error| class_of(error, F::Set, Tries::Many);
    assert_eq!(set(&rejected("INVALID_FIELD")), Class::Fail);
    assert_eq!(
        set(&rejected("STORAGE_DAMAGED")),
        Class::Info,
        "the entry may be committed"
    );
    assert_eq!(set(&rejected("CODE_OF_A_NEWER_NODE")), Class::Info);
    let lookup = |tries| class_of(&rejected("INVALID_FIELD"), F::Get, tries);
    assert_eq!(
        (lookup(Tries::One), lookup(Tries::Many)),
        (Class::Fail, Class::Info)
    );
    let unavailable = Error::Unavailable {
        last: "NO_LEADER".to_owned(),
    };
    assert_eq!(set(&unavailable), Class::Info);
    let doubtful = |code: &&ErrorCode| class_of_code(**code) == Class::Info;
    let doubtful: Vec<_> = ErrorCode::ALL
        .iter()
        .filter(doubtful)
        .map(|c| c.as_str())
        .collect();
    assert_eq!(
        doubtful,
        [
            "BEHIND",
            "INTERNAL",
            "NOT_SEALED",
            "OUTCOME_UNKNOWN",
            "STORAGE_DAMAGED"
        ]
    );
}

/// `Error` and `ErrorCode` may grow, so no compiler demands that these are complete.
#[test]
fn every_error_and_code_is_classified_in_the_code_and_in_the_document() {
    let document = include_str!("../../SEMANTICS.md");
    let code = include_str!("classify.rs");
    let source = include_str!("../../../client/src/error.rs");
    let (_, source) = source.split_once("pub enum Error {").unwrap();
    let (source, _) = source.split_once("\n}\n").unwrap();
    let variants: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| line.split([' ', '(', ',']).next().unwrap())
        .collect();
    assert!(variants.len() >= 15, "found only {variants:?}");
    for variant in variants {
        assert!(
            code.contains(&format!("Error::{variant}")),
            "{variant} in the code"
        );
        assert!(
            document.contains(&format!("`{variant}`")),
            "{variant} in SEMANTICS.md"
        );
    }
    let word = |rest: &'static str| rest.split(|c: char| !c.is_alphanumeric()).next();
    let named: Vec<&str> = code.split("ErrorCode::").filter_map(word).collect();
    for known in ErrorCode::ALL {
        assert!(
            named.contains(&&*format!("{known:?}")),
            "{known} in the code"
        );
        let in_doubt = class_of_code(*known) == Class::Info;
        let by_the_sdk = known.effect() == Effect::Unknown;
        assert_eq!(in_doubt, by_the_sdk, "{known}: the SDK goes by its effect");
        let class = match class_of_code(*known) {
            Class::Fail => "`:fail`",
            _ => "`:info`",
        };
        let row = format!("| `{known}` | {class} |");
        assert!(document.contains(&row), "SEMANTICS.md lacks {row}");
    }
}
