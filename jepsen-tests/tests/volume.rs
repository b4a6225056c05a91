//! Many results at once: what time and supersession bring, on real processes.
#![allow(clippy::unwrap_used, reason = "test")]

use std::time::Duration;

use candor_jepsen::real::Setup;
use candor_jepsen::volume::{By, Plan, Report, run};

/// INV-5, INV-6: `model.supersede` holds for every lookup at once, and its entries follow once each
/// across a leader's death.
#[tokio::test(flavor = "multi_thread")]
async fn every_result_of_a_superseded_model_misses_at_once_and_follows_exactly_once() {
    ended(By::Supersession, 3_000).await;
}

/// INV-5, INV-6: results that reach their deadlines together are served no more from that moment on,
/// and their entries follow once each across a leader's death.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_expire_together_miss_at_once_and_follow_exactly_once() {
    ended(By::Expiry, 1_000).await;
}

async fn ended(by: By, results: u64) {
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"));
    let mut cluster = setup.found().await.unwrap();
    let plan = Plan {
        by,
        results,
        workers: 4,
        calm: Duration::from_secs(1),
        patience: Duration::from_mins(2),
    };
    let report: Report = run(&mut cluster, &plan).await.unwrap();
    println!(
        "{} results followed in {:.1?}, the leader killed after {}; {} lookups, all misses; longest \
         without an answer to others {:.1?}",
        plan.results, report.took, report.at_kill, report.misses, report.longest
    );
    assert!(report.at_kill < plan.results, "the leader died too late");
    assert!(report.misses > 0);
}
