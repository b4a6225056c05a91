//! An export of a sample, as an exporter would write it. Included by tests of several crates.

use std::collections::BTreeMap;

use candor_ledger::digest::sha3_256;
use candor_ledger::export::{
    CHECKPOINT_FILE, DIGESTED_FILES, ENTRIES_FILE, EXPORT_FILE, Export, GENESIS_FILE, POLICY_FILE,
    README_FILE, hidden_line,
};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::proof::TlogProof;
use candor_ledger::receipt::Receipt;
use candor_ledger::tree::{Frontier, consistency_path, inclusion_path, leaf_hash};

use crate::sample::{ORIGIN, Sample};

/// The files by name.
pub(crate) type Folder = BTreeMap<&'static str, Vec<u8>>;

/// What an exporter writes who may read this tenant's entries, or everybody's.
pub(crate) fn pack(sample: &Sample, from: u64, to: u64, tenant: Option<&str>) -> Folder {
    let size = sample.sealed();
    let note = sample.notes[&size.0].clone();
    let mut frontier = Frontier::new();
    let mut lines = Vec::new();
    for (seq, line) in (0..).zip(&sample.lines) {
        if seq < from {
            frontier.push(leaf_hash(line));
        } else if seq <= to {
            let owner = sample.entries[usize::try_from(seq).unwrap()]
                .tenant
                .as_str();
            let shows = tenant.is_none_or(|tenant| owner == tenant || owner.is_empty());
            let hidden = hidden_line(leaf_hash(line)).into_bytes();
            lines.extend(if shows { line } else { &hidden });
            lines.push(b'\n');
        }
    }
    let genesis = Receipt {
        entry: sample.lines[0].clone(),
        proof: TlogProof {
            index: Seq(0),
            path: inclusion_path(&sample.nodes, Seq(0), size).unwrap(),
            note: Note::parse(note.as_bytes()).unwrap(),
        },
    };
    let mut folder = Folder::from([
        (CHECKPOINT_FILE, note.into_bytes()),
        (ENTRIES_FILE, lines),
        (GENESIS_FILE, genesis.encode()),
        (POLICY_FILE, sample.policy().to_text().into_bytes()),
        (README_FILE, b"Check it with candor-audit.\n".to_vec()),
    ]);
    let export = Export {
        origin: ORIGIN.to_owned(),
        tenant: tenant.unwrap_or_default().to_owned(),
        from: Seq(from),
        to: Seq(to),
        size,
        frontier: frontier.nodes().to_vec(),
        path: consistency_path(&sample.nodes, TreeSize(to + 1), size).unwrap(),
        files: digests(&folder),
    };
    folder.insert(EXPORT_FILE, export.render().into_bytes());
    folder
}

fn digests(folder: &Folder) -> BTreeMap<String, [u8; 32]> {
    let digest = |name: &str| (name.to_owned(), sha3_256(&folder[name]));
    DIGESTED_FILES.into_iter().map(digest).collect()
}
