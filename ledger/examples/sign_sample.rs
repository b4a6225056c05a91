//! Signs a small ledger and writes `policy.txt` and `receipt.txt`, for other verifiers to check:
//! see `tests/vectors/verify_rust_note.py`.
//!
//! ```text
//! cargo run -p candor-ledger --features sign --example sign_sample -- FOLDER [SEED]
//! ```
//!
//! Everything follows from the seed, keys included. These are keys for tests.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use candor_ledger::checkpoint::{Checkpoint, assemble_note};
use candor_ledger::digest::{ChainHash, sha3_256_parts};
use candor_ledger::ids::{NodeId, Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::proof::TlogProof;
use candor_ledger::receipt::Receipt;
use candor_ledger::signature::{CosignerKey, SigningKeys};
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, inclusion_path, leaf_hash};

const ORIGIN: &str = "sample.example/log";
const ENTRIES: u64 = 21;
const INDEX: Seq = Seq(13);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("want: sign_sample FOLDER [SEED]")?);
    let seed = arguments.next().unwrap_or_default();
    let mut fill = bytes_from(&seed);

    let keys = SigningKeys::generate(ORIGIN, &mut fill)?;
    let cosigners = (1..=3)
        .map(|node| CosignerKey::generate(ORIGIN, NodeId(node), &mut fill))
        .collect::<Result<Vec<_>, _>>()?;
    let members: Vec<_> = cosigners.iter().map(|key| key.public().clone()).collect();
    let policy = Policy::for_cluster(keys.key_set(), &members)?;

    let entries: Vec<_> = (0..ENTRIES)
        .map(|seq| format!("{{\"seq\":{seq}}}"))
        .collect();
    let mut tree = MemoryNodes::new();
    for entry in &entries {
        tree.push(leaf_hash(entry.as_bytes()));
    }
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: TreeSize(ENTRIES),
        root: tree.root(),
        chain: ChainHash::of(entries.last().ok_or("no entries")?.as_bytes()),
        keyset: keys.key_set().id(),
        sealed: Micros(1_747_216_861_250_000),
    };
    let text = checkpoint.text();
    let log_lines = keys.sign(text.as_bytes(), &mut fill)?;
    let node_lines = cosigners
        .iter()
        .map(|key| Ok((key.public().node, key.sign(text.as_bytes(), 1_747_216_862)?)))
        .collect::<Result<BTreeMap<_, _>, Box<dyn Error>>>()?;

    let receipt = Receipt {
        entry: format!("{{\"seq\":{INDEX}}}").into_bytes(),
        proof: TlogProof {
            index: INDEX,
            path: inclusion_path(&tree, INDEX, TreeSize(ENTRIES))?,
            note: assemble_note(&text, &log_lines, &node_lines),
        },
    };
    receipt.verify(&policy)?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("policy.txt"), policy.to_text())?;
    std::fs::write(folder.join("receipt.txt"), receipt.encode())?;
    Ok(())
}

/// The same bytes for the same seed.
fn bytes_from(seed: &str) -> impl FnMut(&mut [u8]) + use<> {
    let (seed, mut block) = (seed.to_owned(), 0_u64);
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256_parts(&[&block.to_be_bytes(), seed.as_bytes()]);
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
            block += 1;
        }
    }
}
