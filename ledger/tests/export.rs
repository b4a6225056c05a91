//! Exports of a small signed ledger: what is proved of them, and that no falsified one passes.
#![cfg(feature = "sign")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

use std::collections::BTreeMap;

use candor_ledger::digest::sha3_256;
use candor_ledger::entry::Subject;
use candor_ledger::export::check::{Bound, ExportQuestion, ExportReport};
use candor_ledger::export::{ENTRIES_FILE, EXPORT_FILE, Export, hidden_line, parse_hidden};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::time::Micros;
use candor_ledger::tree::leaf_hash;
use candor_ledger::verify::{Outcome, Verdict};

#[path = "common/pack.rs"]
mod pack;
#[path = "common/reader.rs"]
mod reader;
#[path = "common/sample.rs"]
mod sample;

use pack::{Folder, pack};
use reader::check;
use sample::{ORIGIN, Sample, TENANT, fingerprint};

const OTHER: &str = "globex";

/// Two tenants taking turns, 29 entries under four checkpoints.
fn story() -> Sample {
    let mut sample = Sample::new("export");
    let write = sample.write("what?", b"the output");
    let body = sample.entries[2].body.clone();
    sample.push(OTHER, Subject::Fingerprint(fingerprint("what?")), body);
    for _ in 0..3 {
        for _ in 0..4 {
            sample.hit(write);
            let hit = sample.hit(Seq(3));
            assert_eq!(
                sample.entries[usize::try_from(hit.0).unwrap()].tenant,
                OTHER
            );
        }
        sample.seal();
    }
    sample
}

fn checked(folder: &Folder, sample: &Sample) -> ExportReport {
    check(folder, &sample.policy(), &ExportQuestion::default()).unwrap()
}

/// The first finding: its code and place.
fn first(report: &ExportReport) -> (&str, Option<u64>) {
    let finding = &report.findings[0];
    (finding.code, finding.seq.map(|seq| seq.0))
}

#[test]
fn every_range_of_a_ledger_proves_itself_and_says_whether_it_is_complete() {
    let sample = story();
    let last = sample.sealed().0 - 1;
    for from in (0..=last).step_by(3) {
        for to in from..=last {
            let report = checked(&pack(&sample, from, to, None), &sample);
            assert_eq!(
                report.outcome,
                Outcome::Proved,
                "{from} to {to}: {report:#?}"
            );
            assert_eq!(report.tests.complete.verdict, Verdict::Proved);
            assert_eq!((report.shown, report.hidden), (to - from + 1, 0));
            let time = |seq: u64| Some(sample.entries[usize::try_from(seq).unwrap()].time);
            assert_eq!((report.first, report.last), (time(from), time(to)));
        }
    }
    let report = checked(&pack(&sample, 2, last, Some(TENANT)), &sample);
    assert_eq!(report.outcome, Outcome::Proved, "{report:#?}");
    assert_eq!(report.tests.tamper_evident.verdict, Verdict::Proved);
    assert_eq!(report.tests.complete.verdict, Verdict::NotProved);
    assert_eq!((report.shown, report.hidden), (16, 13));
    // Not a single entry: that proves nothing of anybody's.
    let report = checked(&pack(&sample, 2, 2, Some(OTHER)), &sample);
    assert_eq!(
        (report.outcome, first(&report).0),
        (Outcome::CouldNotCheck, "entries-not-shown")
    );
}

#[test]
fn what_is_cut_added_hidden_or_another_s_is_named() {
    let sample = story();
    let whole = pack(&sample, 4, 20, None);
    let lines = |folder: &Folder| -> Vec<Vec<u8>> {
        let text = folder[ENTRIES_FILE].strip_suffix(b"\n").unwrap();
        text.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let with = |folder: &Folder, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let (mut folder, mut changed) = (folder.clone(), lines(folder));
        change(&mut changed);
        let text = changed
            .into_iter()
            .flat_map(|line| [line, b"\n".to_vec()].concat());
        folder.insert(ENTRIES_FILE, text.collect());
        checked(&folder, &sample)
    };
    let cut = with(&whole, &|lines| drop(lines.pop()));
    assert_eq!(
        (first(&cut), cut.outcome),
        (("entries-missing", Some(20)), Outcome::Tampered)
    );
    let out_of_order = ("entry-out-of-order", Some(10));
    assert_eq!(
        first(&with(&whole, &|lines| drop(lines.remove(6)))),
        out_of_order
    );
    let added = with(&whole, &|lines| lines.push(sample.lines[21].clone()));
    assert_eq!(first(&added), ("entry-out-of-order", Some(21)));
    // Of all that are said to be shown one is hidden.
    let hidden = hidden_line(leaf_hash(&sample.lines[9])).into_bytes();
    let hide = |lines: &mut Vec<Vec<u8>>| lines[5].clone_from(&hidden);
    assert_eq!(first(&with(&whole, &hide)), ("entry-hidden", Some(9)));
    // One of the tenant's own, which its next event names.
    let own = pack(&sample, 4, 20, Some(OTHER));
    let hidden = (4..=20)
        .find(|seq| sample.entries[*seq].tenant == OTHER)
        .unwrap();
    let leaf = hidden_line(leaf_hash(&sample.lines[hidden])).into_bytes();
    let report = with(&own, &|lines| lines[hidden - 4].clone_from(&leaf));
    assert_eq!(
        first(&report),
        ("entry-hidden", Some(u64::try_from(hidden).unwrap()))
    );
    // Another tenant's, in its own right place.
    let foreign = (4..=20)
        .find(|seq| sample.entries[*seq].tenant == TENANT)
        .unwrap();
    let report = with(&own, &|lines| {
        lines[foreign - 4].clone_from(&sample.lines[foreign]);
    });
    assert_eq!(
        first(&report),
        ("entry-foreign", Some(u64::try_from(foreign).unwrap()))
    );
    // An entry rewritten: the next one names another hash. The last one: nothing but the root tells.
    let rewrite = |line: &Vec<u8>| -> Vec<u8> {
        let text = String::from_utf8(line.clone()).unwrap();
        text.replacen("\"actor\":\"alice\"", "\"actor\":\"mallo\"", 1)
            .into()
    };
    let report = with(&whole, &|lines| lines[7] = rewrite(&lines[7]));
    assert_eq!(first(&report), ("chain-broken", Some(11)));
    let report = with(&pack(&sample, 4, 19, None), &|lines| {
        lines[15] = rewrite(&lines[15]);
    });
    assert_eq!(
        (first(&report).0, report.outcome),
        ("range-not-committed", Outcome::Tampered)
    );
}

#[test]
fn an_export_of_something_else_and_one_of_other_keys_are_refused_by_name() {
    let sample = story();
    let folder = pack(&sample, 4, 20, None);
    let time = |seq: usize| sample.entries[seq].time;
    let ask = |question: ExportQuestion| {
        let report = check(&folder, &sample.policy(), &question).unwrap();
        let code = report.findings.first().map(|finding| finding.code);
        (report.outcome, code)
    };
    let from = |bound| ExportQuestion {
        from: Some(bound),
        ..ExportQuestion::default()
    };
    let to = |bound| ExportQuestion {
        to: Some(bound),
        ..ExportQuestion::default()
    };
    let (good, uncovered) = (
        (Outcome::Proved, None),
        (Outcome::PolicyNotMet, Some("range-not-covered")),
    );
    assert_eq!(ask(from(Bound::Seq(Seq(4)))), good);
    assert_eq!(ask(from(Bound::Seq(Seq(3)))), uncovered);
    assert_eq!(ask(to(Bound::Seq(Seq(20)))), good);
    assert_eq!(ask(to(Bound::Seq(Seq(21)))), uncovered);
    // Events of one time may stand in a row, so the time of an end is not covered by it.
    assert_eq!(ask(from(Bound::Time(time(5)))), good);
    assert_eq!(ask(from(Bound::Time(time(4)))), uncovered);
    assert_eq!(ask(to(Bound::Time(time(19)))), good);
    assert_eq!(ask(to(Bound::Time(time(20)))), uncovered);
    let tenant = Some(TENANT.to_owned());
    let question = ExportQuestion {
        tenant,
        ..ExportQuestion::default()
    };
    assert_eq!(ask(question), (Outcome::PolicyNotMet, Some("other-tenant")));
    let origin = Some("another.example".to_owned());
    let question = ExportQuestion {
        origin,
        ..ExportQuestion::default()
    };
    assert_eq!(ask(question), (Outcome::PolicyNotMet, Some("other-origin")));
    // Keys inside the folder make nothing true.
    let others = Sample::new("others").policy();
    let report = check(&folder, &others, &ExportQuestion::default()).unwrap();
    assert_eq!(report.outcome, Outcome::PolicyNotMet, "{report:#?}");
    assert_ne!(report.tests.tamper_evident.verdict, Verdict::Proved);
    // A pin of the auditor's inside the range, its ends included.
    let root = |of: &Sample, size| candor_ledger::tree::root_at(&of.nodes, TreeSize(size)).unwrap();
    let rewritten = Some("history-rewritten");
    for (size, of, code) in [
        (11, 11, None),
        (11, 12, rewritten),
        // Where the export before this one may have ended.
        (4, 4, None),
        (4, 5, rewritten),
        (21, 21, None),
        (21, 20, rewritten),
        (3, 4, None),
    ] {
        let pin = format!("pin {ORIGIN} {size} {}\n", root(&sample, of));
        let policy = Policy::parse(&(sample.policy().to_text() + &pin)).unwrap();
        let report = check(&folder, &policy, &ExportQuestion::default()).unwrap();
        assert_eq!(report.findings.first().map(|finding| finding.code), code);
    }
}

/// Any bit of any file: what is still read as an export is refused, and the finding has a place.
#[test]
fn no_flipped_bit_of_an_export_is_accepted() {
    let seed = std::env::var("CANDOR_SEED").unwrap_or_else(|_| "export".to_owned());
    println!("CANDOR_SEED={seed}");
    let sample = story();
    let policy = sample.policy();
    let folders = [
        pack(&sample, 4, 20, None),
        pack(&sample, 5, 17, Some(TENANT)),
        pack(&sample, 0, sample.sealed().0 - 1, Some(OTHER)),
    ];
    let mut refused: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..900_usize {
        let random = sha3_256(format!("{seed} {round}").as_bytes());
        let number = |at: usize| usize::from(u16::from_be_bytes([random[at], random[at + 1]]));
        let mut folder = folders[round % 3].clone();
        let name = *folder.keys().nth(number(0) % folder.len()).unwrap();
        let bytes = folder.get_mut(name).unwrap();
        let (at, bit) = (number(2) % bytes.len(), number(4) % 8);
        bytes[at] ^= 1 << bit;
        let Some(report) = check(&folder, &policy, &ExportQuestion::default()) else {
            *refused.entry("not readable").or_default() += 1;
            continue;
        };
        assert_ne!(
            report.outcome,
            Outcome::Proved,
            "{name}, byte {at}, bit {bit}"
        );
        assert!(!report.findings[0].place.is_empty());
        let code = report.findings[0].code;
        *refused.entry(code).or_default() += 1;
    }
    println!("{refused:#?}");
    assert_eq!(refused.values().sum::<u32>(), 900);
}

#[test]
fn an_export_json_has_one_spelling_and_a_hidden_line_too() {
    let sample = story();
    let text = String::from_utf8(pack(&sample, 4, 20, None)[EXPORT_FILE].clone()).unwrap();
    let good = Export::parse(text.as_bytes()).unwrap();
    assert_eq!(good.render(), text);
    for (from, to) in [
        ("candor.export.v1", "candor.export.v2"),
        ("\"from\":4", "\"from\":21"),
        ("\"to\":20", "\"to\":2000"),
        ("\"from\":4", "\"from\": 4"),
        ("\"from\":4", "\"fromm\":4"),
        ("{\"files\"", "{\"a\":1,\"files\""),
        ("policy.txt", "policy.txy"),
        ("sha3-256:", "sha-256:"),
        ("}\n", "}"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        assert!(Export::parse(wrong.as_bytes()).is_err(), "{to}");
    }
    let leaf = leaf_hash(b"x");
    let line = hidden_line(leaf);
    assert_eq!(parse_hidden(line.as_bytes()), Some(leaf));
    for wrong in [
        line.replace("sha-256:", ""),
        line.replace("sha-256", "sha3-256"),
        line.to_uppercase(),
        line.replace(":\"", ": \""),
        line.clone() + " ",
    ] {
        assert_eq!(parse_hidden(wrong.as_bytes()), None, "{wrong}");
    }
    let typed = |text: &str| Micros::parse(text).unwrap();
    for (text, start, end) in [
        (
            "2026-05-14",
            "2026-05-14T00:00:00.000000Z",
            "2026-05-14T23:59:59.999999Z",
        ),
        (
            "2026-05-14T10:00:00.5Z",
            "2026-05-14T10:00:00.500000Z",
            "2026-05-14T10:00:00.500000Z",
        ),
    ] {
        assert_eq!(Bound::parse_start(text).unwrap(), Bound::Time(typed(start)));
        assert_eq!(Bound::parse_end(text).unwrap(), Bound::Time(typed(end)));
    }
    assert_eq!(Bound::parse_end("17").unwrap(), Bound::Seq(Seq(17)));
    assert!(Bound::parse_start("yesterday").is_err());
}
