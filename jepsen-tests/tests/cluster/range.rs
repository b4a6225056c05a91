//! What auditors read of a running cluster over gRPC: one of a tenant, one of the whole cluster, and
//! somebody who is none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use candor_client::{Client, RangeItem, Source};
use candor_jepsen::real::{Cluster, Setup};
use candor_jepsen::workload::{TTL, fields, get_all};
use candor_ledger::entry::Entry;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::replay::Replay;
use candor_ledger::tree::leaf_hash;
use candor_ledger::verify::Outcome;
use candor_node::principal::Right;

const PATIENCE: Duration = Duration::from_secs(30);

async fn read(client: &Client, from: Seq, to: Seq) -> Vec<RangeItem> {
    let under = client.checkpoint(None).await.unwrap();
    let mut range = client.range(from, to, under).unwrap();
    let mut items = Vec::new();
    while let Some(page) = range.page().await.unwrap() {
        items.extend(page);
    }
    items
}

fn source(cluster: &Cluster, actor: &str) -> Source {
    let uri = format!("http://{}", cluster.client_address(1));
    let token = &cluster.principal(actor).unwrap().token;
    Source::new(&uri, Some(token), PATIENCE).unwrap()
}

/// The audit that `candor-audit ledger grpc://` makes.
async fn replay(source: &Source, policy: &Policy) -> (Outcome, TreeSize) {
    let newest = source.newest_note().await.unwrap();
    let mut replay = Replay::new(policy);
    replay.excuse_unkept();
    let note = candor_ledger::note::Note::parse(&newest).unwrap();
    let size = candor_ledger::checkpoint::Checkpoint::parse(&note.text)
        .unwrap()
        .size;
    while replay.size() < size {
        let page = source.entries(Seq(replay.size().0)).await.unwrap();
        assert!(!page.is_empty());
        for line in page {
            if replay.size() == size {
                break;
            }
            assert!(replay.push_entry(&line, &mut |_, _, _| ()));
            if replay.is_sealed_here() && replay.size() < size {
                let kept = source.kept_note(replay.size()).await.unwrap();
                replay.push_checkpoint("kept", &kept.unwrap());
            }
        }
    }
    replay.push_checkpoint("newest", &newest);
    let report = replay.finish();
    assert_eq!(report.findings, []);
    (report.outcome, report.size)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_auditor_is_shown_what_it_has_a_right_to_and_nobody_a_gap() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"));
    let mut cluster = setup
        .principal("acme", "reader", &[Right::Read])
        .found()
        .await
        .unwrap();
    let [acme, globex] = ["service-a", "service-g"].map(|actor| cluster.client(actor).unwrap());
    for round in 0..3 {
        for (client, count) in [(&acme, 5), (&globex, 20), (&acme, 1)] {
            let names: Vec<_> = (0..count).map(|n| format!("{round} {n}")).collect();
            get_all(client, &names).await.unwrap();
        }
        acme.set_attested(&fields("one"), "1", TTL).await.unwrap();
        globex.set_attested(&fields("one"), "1", TTL).await.unwrap();
    }
    let auditor = cluster.client("auditor").unwrap();
    let under = auditor.checkpoint(None).await.unwrap();
    let last = under.size().last().unwrap();

    let (shown, all) = (
        read(&auditor, Seq(0), last).await,
        read(&cluster.client("operator").unwrap(), Seq(0), last).await,
    );
    assert_eq!(shown.len(), all.len());
    let mut hidden = 0;
    for (own, one) in shown.iter().zip(&all) {
        let RangeItem::Entry(line) = one else {
            panic!("`audit-all` shows every entry");
        };
        let tenant = Entry::parse(line).unwrap().tenant;
        if tenant == "globex" {
            hidden += 1;
            assert_eq!(*own, RangeItem::Hidden(leaf_hash(line)));
        } else {
            assert_eq!(own, one);
        }
    }
    assert_eq!(hidden, 63);
    assert_eq!(read(&auditor, Seq(7), last).await, shown[7..]);

    // Who may only look results up may not read the ledger.
    let reader = cluster.client("reader").unwrap();
    let mut range = reader.range(Seq(0), last, under).unwrap();
    assert_eq!(range.page().await.unwrap_err().code(), "PERMISSION_DENIED");
    let refused = source(&cluster, "auditor")
        .entries(Seq(0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "PERMISSION_DENIED");

    let policy = Policy::parse(cluster.policy()).unwrap();
    let (outcome, size) = replay(&source(&cluster, "operator"), &policy).await;
    assert_eq!(outcome, Outcome::Proved);
    assert!(size.covers(last));
    cluster.stop_all().await.unwrap();
}
