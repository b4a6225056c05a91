//! The table in FORMAT.md, cell by cell: it is the specification that this test runs.

use candor_ledger::entry::{Body, Entry};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_ledger::fold::{self, Effective, Operation, Outcome, Params};

use crate::support::{
    TENANT, World, attest_by_anyone, exact, exact_of, get, model, model_supersede, read_as_of,
    result_only, revocation, set, subject, supersede,
};

const FORMAT: &str = include_str!("../../FORMAT.md");
const TTL_MS: u64 = 60_000;

#[test]
fn every_cell_of_the_table_of_operations_and_states_holds() {
    let rows = table(FORMAT, "| operation | ABSENT |");
    assert_eq!(rows.len(), 14, "the heading and thirteen operations");
    let (states, operations) = rows.split_first().unwrap();
    let mut cells = 0;
    for row in operations {
        for (state, expected) in states.iter().zip(row).skip(1) {
            let mut case = Case::new(state);
            let found = case.ask(&row[0]);
            assert_eq!(&found, expected, "{} of {state}", row[0]);
            case.world.check();
            cells += 1;
        }
    }
    assert_eq!(cells, 13 * 8);
}

/// A ledger whose subject is in the state of a column.
struct Case {
    world: World,
    fields: FingerprintFields,
    successor: Fingerprint,
}

impl Case {
    fn new(state: &str) -> Self {
        let params = Params {
            entries_per_operation_max: 2,
            ..Params::DEFAULT
        };
        let mut world = World::with(params);
        let (fields, before) = two_in_order();
        let fields = if state == "RECORD" {
            result_only()
        } else {
            fields
        };
        let successor = exact_of("other", &model("checkpoint-2"));
        world.ask(set(successor.clone(), "successor", 100 * TTL_MS));
        let mut case = Self {
            world,
            fields,
            successor: successor.fingerprint(),
        };
        if state != "ABSENT" {
            case.reach(state, &before);
        }
        let reached = case.state();
        let expected = match state {
            "OVERDUE" => "EXPIRED",
            "MODEL GONE" => "SUPERSEDED",
            "RECORD" => "ACTIVE",
            other => other,
        };
        assert_eq!(reached, expected, "{state}");
        case
    }

    /// Version 1, output R, is revoked; version 2, output A, is what the state is about.
    fn reach(&mut self, state: &str, before: &FingerprintFields) {
        let (fields, fingerprint) = (self.fields.clone(), self.fields.fingerprint());
        let world = &mut self.world;
        world.ask(set(fields.clone(), "R", 100 * TTL_MS));
        world.ask(Operation::Revoke(revocation(fingerprint, "R")));
        world.ask(set(fields, "A", TTL_MS));
        match state {
            "ACTIVE" | "RECORD" => {}
            "OVERDUE" => world.wait(TTL_MS),
            "EXPIRED" => {
                world.wait(TTL_MS);
                world.tick();
            }
            "REVOKED" => {
                world.ask(Operation::Revoke(revocation(fingerprint, "A")));
            }
            "SUPERSEDED" => {
                world.ask(supersede(fingerprint, self.successor));
            }
            "MODEL GONE" => {
                // One result may follow at once; the one before in order takes the place.
                world.ask(set(before.clone(), "before", 100 * TTL_MS));
                world.ask(model_supersede(
                    model("checkpoint-1"),
                    model("checkpoint-2"),
                ));
            }
            other => panic!("no state {other}"),
        }
    }

    /// What the operation appends and what state is left, as the table writes it.
    fn ask(&mut self, operation: &str) -> String {
        let before = self.state();
        let size = self.world.entries.len();
        let outcome = match self.operation(operation) {
            Some(operation) => self.world.ask(operation),
            None => self.world.tick(),
        };
        let appended = &self.world.entries[size..];
        let mut shown: Vec<_> = appended.iter().map(shown).collect();
        if matches!(outcome, Outcome::Malformed(_)) {
            assert!(shown.is_empty());
            shown.push("malformed".to_owned());
        }
        let after = self.state();
        let mut cell = shown.join(" + ");
        if cell.is_empty() {
            "-".clone_into(&mut cell);
        }
        if after != before {
            cell = format!("{cell} → {after}");
        }
        cell
    }

    fn operation(&self, operation: &str) -> Option<Operation> {
        let (fields, fingerprint) = (self.fields.clone(), self.fields.fingerprint());
        Some(match operation {
            "get" => get(fingerprint),
            "get as of" => read_as_of(fingerprint, 1),
            "set A" => set(fields, "A", TTL_MS),
            "set B" => set(fields, "B", TTL_MS),
            "set R" => set(fields, "R", TTL_MS),
            "supersede" => supersede(fingerprint, self.successor),
            "revoke A" => Operation::Revoke(revocation(fingerprint, "A")),
            "revoke B" => Operation::Revoke(revocation(fingerprint, "B")),
            "reinstate R" => Operation::Reinstate(revocation(fingerprint, "R")),
            "reinstate B" => Operation::Reinstate(revocation(fingerprint, "B")),
            "attest" => attest_by_anyone(subject(&self.fields)),
            "model.supersede" => model_supersede(model("checkpoint-1"), model("checkpoint-2")),
            "tick" => return None,
            other => panic!("no operation {other}"),
        })
    }

    fn state(&self) -> String {
        let view = &self.world.state;
        let record = fold::lookup(view, TENANT, self.fields.fingerprint()).unwrap();
        let state = record.map_or(Effective::Absent, |record| {
            fold::effective(view, TENANT, &record, self.world.now).unwrap()
        });
        state.state().to_string().to_uppercase()
    }
}

/// An entry as the table writes it.
fn shown(entry: &Entry) -> String {
    let particular = match &entry.body {
        Body::ReadHit(body) => format!(" v{}", body.version),
        Body::ReadMiss(body) => format!(" {}", body.reason.as_str()),
        Body::Refused(body) => format!(" {}", body.refusal),
        Body::Reinstate(body) | Body::Revoke(body) => format!(" v{}", body.version),
        Body::Supersede(body) => format!(" v{}", body.version),
        Body::Write(body) => format!(" v{}", body.version),
        _ => String::new(),
    };
    format!("{}{particular}", entry.op())
}

/// Two computations of one model, the one with the greater fingerprint first.
fn two_in_order() -> (FingerprintFields, FingerprintFields) {
    let (one, other) = (exact("one"), exact("two"));
    if one.fingerprint() > other.fingerprint() {
        (one, other)
    } else {
        (other, one)
    }
}

/// The cells of the Markdown table with this heading, without the line below the heading.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let start = text.find(heading).unwrap();
    let lines = text[start..]
        .lines()
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = lines.map(cells).collect();
    rows.into_iter().filter(|row| row[1] != "---").collect()
}
