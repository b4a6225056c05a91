//! A recorded run on real nodes, judged by every checker.
#![allow(clippy::unwrap_used, reason = "test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use candor_jepsen::check::{self, Judgement, Run, Verdict};
use candor_jepsen::trial::{self, Bounds, Plan};
use candor_jepsen::workload::seed;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_overlapping_faults_is_called_right_until_an_answered_entry_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        nodes: 3,
        clients: 8,
        faults: Duration::from_secs(20),
        calm: Duration::from_secs(5),
        power: false,
        network: false,
        bounds: Bounds::PATIENT,
        ok_least: 200,
        seed: seed(),
        program: env!("CARGO_BIN_EXE_candor-jepsen").into(),
        folder: folder.path().join("run"),
    };
    let report = trial::run(&plan).await.unwrap();
    let wrong = not_true(&report.judgements);
    if !wrong.is_empty() {
        let kept = folder.keep();
        panic!("{wrong:#?}; the run stays: {}", kept.display());
    }
    println!(
        "{:.1?}: {} operations, {} entries, {} leader changes, {} catch-ups by files",
        report.took,
        report.run.all().len(),
        report.run.ledger().len(),
        report.leader_changes,
        report.installed
    );

    let answers = report.run.all().iter().filter_map(|one| one.answer());
    let newest = answers.map(|answer| answer.seq).max().unwrap();
    for node in &report.run.plan.nodes {
        cut_at(&plan.folder.join(format!("chain-{node}.jsonl")), newest);
    }
    let judgements = check::judge(&Run::read(&plan.folder).unwrap());
    let wrong = not_true(&judgements);
    let lost = |judgement: &&Judgement| ["ledger_order", "set_full"].contains(&judgement.checker);
    let lost: Vec<_> = wrong.iter().filter(lost).collect();
    assert_eq!(lost.len(), 2, "{wrong:#?}");
    assert!(lost.iter().all(|one| one.verdict == Verdict::False));
}

fn not_true(judgements: &[Judgement]) -> Vec<Judgement> {
    let all = judgements.iter().cloned();
    all.filter(|one| one.verdict != Verdict::True).collect()
}

/// Leaves the entries before this one.
fn cut_at(chain: &Path, seq: u64) {
    let text = fs::read_to_string(chain).unwrap();
    let lines = text.split_inclusive('\n');
    let kept: String = lines.take(usize::try_from(seq).unwrap()).collect();
    fs::write(chain, kept).unwrap();
}
