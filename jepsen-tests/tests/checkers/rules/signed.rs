//! Findings about checkpoints, receipts and signatures.

use candor_jepsen::history::Asked;

use super::{LONG_MS, Rule, rule};
use crate::changes::{base, changed, last_answer, third_note};
use crate::story::Story;

pub(super) fn all() -> Vec<Rule> {
    let mut all = about_checkpoints();
    all.extend(about_receipts());
    all
}

fn about_checkpoints() -> Vec<Rule> {
    vec![
        rule(
            "An answer showed a checkpoint where no seal stands",
            &[("checkpoints", "where no seal stands")],
            || {
                changed(|run| {
                    let size = u64::try_from(run.chains[&1].len()).unwrap();
                    last_answer(run, |answer| answer.size = Some(size));
                })
            },
        ),
        rule(
            "A checkpoint names another key set than its seal",
            &[("checkpoints", "names another key set")],
            || {
                third_note(|note| {
                    let keyset = note.lines().nth(5).unwrap().to_owned();
                    let other = "keyset sha3-256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
                    note.replace(&keyset, other)
                })
            },
        ),
        rule(
            "All checkpoints are another log's",
            &[("checkpoints", "is of another log")],
            || {
                changed(|run| {
                    let other =
                        |text: &String| text.replace("log.example/acme\n", "log.example/b\n");
                    run.checkpoints = run.checkpoints.iter().map(other).collect();
                    for (_, receipt) in &mut run.receipts {
                        *receipt = other(receipt);
                    }
                })
            },
        ),
        rule(
            "A checkpoint says more than checkpoints do",
            &[("checkpoints", "is no checkpoint")],
            || third_note(|note| note.trim_end().to_owned() + "\nmore\n\n"),
        ),
        rule(
            "What was shown is no note, by the policy's reader",
            &[
                ("checkpoints", "is no checkpoint"),
                ("receipts", "was not kept"),
                ("signatures", "the note of size :"),
            ],
            || {
                changed(|run| {
                    run.is_signed = true;
                    run.checkpoints = vec!["no checkpoint".to_owned()];
                    run.receipts.clear();
                })
            },
        ),
        rule(
            "There is no policy",
            &[("signatures", "there is no policy")],
            base,
        ),
        rule(
            "The policy is none",
            &[("signatures", "the policy cannot be read")],
            || {
                changed(|run| {
                    run.is_signed = true;
                    run.policy = Some("nothing\n".to_owned());
                })
            },
        ),
    ]
}

fn about_receipts() -> Vec<Rule> {
    vec![
        rule(
            "The checkpoint of a receipt cannot be read",
            &[
                ("checkpoints", "is no checkpoint"),
                ("receipts", "its checkpoint cannot be read"),
            ],
            || {
                changed(|run| {
                    let receipt = &mut run.receipts[0].1;
                    *receipt = receipt.replace("\ncandor 1\n", "\ncandor 2\n");
                })
            },
        ),
        rule(
            "A receipt is of another entry than was asked for",
            &[("receipts", "which was not asked for")],
            || {
                changed(|run| {
                    let receipt = run.receipts[0].1.clone();
                    run.receipts.push((2, receipt));
                })
            },
        ),
        rule(
            "A receipt was given where nothing was answered",
            &[("receipts", "nothing was answered there")],
            || {
                changed(|run| {
                    let receipt = run.receipts[0].1.clone();
                    run.receipts.push((1, receipt));
                })
            },
        ),
        rule(
            "A receipt was given and not kept",
            &[("receipts", "was not kept")],
            || changed(|run| drop(run.receipts.pop())),
        ),
        rule(
            "The entry of a receipt is gone, and its checkpoint with it",
            &[
                ("checkpoints", ""),
                ("ledger_order", "there is no such entry: lost"),
                ("receipts", "is not in the ledger any more"),
                ("set_full", "is lost on nodes"),
            ],
            || {
                let mut story = Story::whole();
                let seq = story.ask(0, &story.set("k2", "G", LONG_MS)).seq;
                story.seal();
                story.ask(1, &Asked::Receipt { seq });
                let mut run = story.stored();
                let kept = usize::try_from(seq).unwrap();
                run.chains.get_mut(&1).unwrap().truncate(kept);
                run
            },
        ),
    ]
}
