//! Exports of a good ledger, and what becomes of them on the way.

use candor_ledger::digest::sha3_256;
use candor_ledger::entry::Subject;
use candor_ledger::export::{
    CHECKPOINT_FILE, DIGESTED_FILES, ENTRIES_FILE, EXPORT_FILE, Export, GENESIS_FILE, hidden_line,
};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::leaf_hash;

use crate::sample::{Sample, TENANT, fingerprint};
use crate::{Case, Folder, OTHER, lines, pack, random, with_lines};

/// Two tenants, results that come and go, and a last checkpoint without the second node.
pub(crate) fn story() -> Sample {
    let mut sample = Sample::new("python");
    let write = sample.write("what?", b"the output");
    let body = sample.entries[2].body.clone();
    sample.push(OTHER, Subject::Fingerprint(fingerprint("what?")), body);
    sample.hit(write);
    sample.hit(Seq(3));
    sample.seal();
    sample.revoke(write);
    let again = sample.write_version("what?", b"another output", 2);
    for _ in 0..4 {
        sample.hit(Seq(3));
        sample.hit(again);
        sample.write("else?", b"renewed");
    }
    sample.seal_by(&[3, 1]);
    sample
}

pub(crate) fn good(sample: &Sample) -> Vec<Case> {
    let last = sample.sealed().0 - 1;
    let ranges = [
        ("the whole ledger", 0, last, None),
        ("a middle range", 4, 17, None),
        ("a range from an odd place on", 7, last, None),
        ("the genesis alone", 0, 0, None),
        ("one entry", 9, 9, None),
        ("the last seal alone", last, last, None),
        ("up to a power of two", 3, 15, None),
        ("one tenant's, the other's hidden", 5, 17, Some(TENANT)),
        ("the other's of the whole ledger", 0, last, Some(OTHER)),
        ("a tenant's where no other's are", 1, 2, Some(TENANT)),
    ];
    let case = |(name, from, to, tenant): (&str, u64, u64, Option<&str>)| Case {
        name: format!("{name}, {from} to {to}"),
        folder: pack(sample, from, to, tenant),
    };
    ranges.into_iter().map(case).collect()
}

/// What chance and what a forger without keys would do.
pub(crate) fn damaged(good: &[Case], sample: &Sample, seed: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = (0..FLIPS).map(|round| flipped(good, seed, round)).collect();
    for round in 0..CHANGES_OF_LINES {
        let picked = &good[random(good.len(), &format!("{seed} lines {round}"))];
        let (change, folder) = with_changed_lines(&picked.folder, sample, seed, round);
        let name = format!("{}: {change}", picked.name);
        cases.push(Case { name, folder });
    }
    for picked in good {
        for (name, change) in CHANGES_OF_EXPORT {
            let mut export = Export::parse(&picked.folder[EXPORT_FILE]).unwrap();
            change(&mut export);
            let mut folder = picked.folder.clone();
            folder.insert(EXPORT_FILE, export.render().into_bytes());
            let name = format!("{}: {name}", picked.name);
            cases.push(Case { name, folder });
        }
    }
    cases.extend(of_two_folders(good));
    cases.extend((0..15).map(|at| swapped_signatures(&good[1], at / 5, at % 5)));
    cases
}

const FLIPS: usize = 300;
const CHANGES_OF_LINES: usize = 105;

/// One bit of one file; every second time the forger mends what states digests or copies the note.
fn flipped(good: &[Case], seed: &str, round: usize) -> Case {
    let number = |end: usize, of: &str| random(end, &format!("{seed} {of} {round}"));
    let picked = &good[number(good.len(), "folder")];
    let mut folder = picked.folder.clone();
    let name = *folder.keys().nth(number(folder.len(), "file")).unwrap();
    let bytes = folder.get_mut(name).unwrap();
    let (at, bit) = (number(bytes.len(), "byte"), number(8, "bit"));
    bytes[at] ^= 1 << bit;
    let mended = round % 2 == 1;
    if mended {
        mend(&mut folder, name == CHECKPOINT_FILE);
    }
    let name = format!(
        "{}: {name}, byte {at}, bit {bit}, mended: {mended}",
        picked.name
    );
    Case { name, folder }
}

pub(crate) fn mend(folder: &mut Folder, note_too: bool) {
    if note_too {
        let receipt = &folder[GENESIS_FILE];
        let blank = receipt.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let receipt = [&receipt[..blank + 2], &folder[CHECKPOINT_FILE]].concat();
        folder.insert(GENESIS_FILE, receipt);
    }
    let Ok(mut export) = Export::parse(&folder[EXPORT_FILE]) else {
        return;
    };
    for name in DIGESTED_FILES {
        export
            .files
            .insert(name.to_owned(), sha3_256(&folder[name]));
    }
    folder.insert(EXPORT_FILE, export.render().into_bytes());
}

/// Lines cut, doubled, swapped, hidden, or shown that were hidden.
fn with_changed_lines(
    folder: &Folder,
    sample: &Sample,
    seed: &str,
    round: usize,
) -> (String, Folder) {
    let mut changed = lines(folder);
    let from = Export::parse(&folder[EXPORT_FILE]).unwrap().from.0;
    let number = |of: &str| random(changed.len(), &format!("{seed} {of} {round}"));
    let (at, other) = (number("line"), number("other line"));
    let seq = usize::try_from(from).unwrap() + at;
    let what = match round % 7 {
        0 => {
            changed.remove(at);
            "cut out"
        }
        1 => {
            changed.truncate(at);
            "cut here"
        }
        2 => {
            changed.insert(at, changed[other].clone());
            "doubled"
        }
        3 => {
            changed.swap(at, other);
            "swapped"
        }
        4 => {
            changed[at] = hidden_line(leaf_hash(&sample.lines[seq])).into_bytes();
            "hidden"
        }
        5 => {
            changed[at].clone_from(&sample.lines[seq]);
            "shown"
        }
        _ => {
            let mut folder = folder.clone();
            let bytes = folder.get_mut(ENTRIES_FILE).unwrap();
            let cut = random(bytes.len(), &format!("{seed} cut {round}"));
            bytes.truncate(cut);
            return (format!("cut after byte {cut}"), folder);
        }
    };
    (
        format!("entry {seq} {what} (and line {other})"),
        with_lines(folder, &changed),
    )
}

type Change = fn(&mut Export);

const CHANGES_OF_EXPORT: [(&str, Change); 13] = [
    ("another origin", |e| e.origin.push('x')),
    ("no tenant", |e| e.tenant.clear()),
    ("another tenant", |e| "initech".clone_into(&mut e.tenant)),
    ("from earlier", |e| e.from = Seq(e.from.0.saturating_sub(1))),
    ("from later", |e| e.from = Seq(e.from.0 + 1)),
    ("to earlier", |e| e.to = Seq(e.to.0.saturating_sub(1))),
    ("to later", |e| e.to = Seq(e.to.0 + 1)),
    ("a greater size", |e| e.size = TreeSize(e.size.0 + 1)),
    ("a shorter path", |e| {
        e.path.truncate(e.path.len().saturating_sub(1));
    }),
    ("a longer path", |e| e.path.push(leaf_hash(b"x"))),
    ("the path the wrong way round", |e| e.path.reverse()),
    ("a shorter frontier", |e| {
        e.frontier.truncate(e.frontier.len().saturating_sub(1));
    }),
    ("the frontier the wrong way round", |e| e.frontier.reverse()),
];

/// Each file of the first replaced by that of another export of the same ledger.
fn of_two_folders(good: &[Case]) -> Vec<Case> {
    let (one, other) = (&good[0], &good[1]);
    let replaced = |name: &&'static str| {
        let mut folder = one.folder.clone();
        folder.insert(*name, other.folder[*name].clone());
        let name = format!("{}: {name} of {}", one.name, other.name);
        Case { name, folder }
    };
    one.folder
        .keys()
        .collect::<Vec<_>>()
        .into_iter()
        .map(replaced)
        .collect()
}

/// The order of signature lines says nothing; two of one key do.
fn swapped_signatures(picked: &Case, how: usize, at: usize) -> Case {
    let mut folder = picked.folder.clone();
    let note = String::from_utf8(folder[CHECKPOINT_FILE].clone()).unwrap();
    let (text, signatures) = note.rsplit_once("\n\n").unwrap();
    let mut signatures: Vec<&str> = signatures.lines().collect();
    let what = match how {
        0 => {
            let at = at % signatures.len();
            signatures.swap(0, at);
            "swapped with the first"
        }
        1 => {
            signatures.remove(at % signatures.len());
            "left out"
        }
        _ => {
            signatures.push(signatures[at % signatures.len()]);
            "doubled"
        }
    };
    let note = format!("{text}\n\n{}\n", signatures.join("\n"));
    folder.insert(CHECKPOINT_FILE, note.into_bytes());
    mend(&mut folder, true);
    let name = format!("{}: signature line {at} {what}", picked.name);
    Case { name, folder }
}
