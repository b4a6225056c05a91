//! Many results at once: what time and supersession bring, on real processes.
#![allow(clippy::unwrap_used, reason = "test")]

use std::time::Duration;

use candor_jepsen::real::Setup;
use candor_jepsen::supersede::{Plan, run};

/// INV-5, INV-6: `model.supersede` holds for every lookup at once, and its entries follow once each
/// across a leader's death.
#[tokio::test(flavor = "multi_thread")]
async fn every_result_of_a_superseded_model_misses_at_once_and_follows_exactly_once() {
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let plan = Plan {
        results: 3_000,
        workers: 4,
        calm: Duration::from_secs(1),
        patience: Duration::from_mins(2),
    };
    let report = run(&mut cluster, &plan).await.unwrap();
    println!(
        "{} results followed in {:.1?}, the leader killed after {}; {} lookups, all misses; longest \
         without an answer to others {:.1?}",
        plan.results, report.took, report.at_kill, report.misses, report.longest
    );
    assert!(report.at_kill < plan.results, "the leader died too late");
    assert!(report.misses > 0);
}
