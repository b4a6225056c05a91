//! Many results at once: what time and supersession bring, on real processes.
#![allow(clippy::unwrap_used, reason = "test")]

use std::time::Duration;

use candor_jepsen::real::Setup;
use candor_jepsen::volume::{By, Plan, Report, run};
use tokio::sync::Mutex;

/// Several ticks of a thousand.
const RESULTS: u64 = 5_000;
/// Two such runs side by side would show how slow they make each other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// INV-5, INV-6: `model.supersede` holds for every lookup at once, and its entries follow once each
/// across a leader's death.
#[tokio::test(flavor = "multi_thread")]
async fn every_result_of_a_superseded_model_misses_at_once_and_follows_exactly_once() {
    ended(By::Supersession).await;
}

/// INV-5, INV-6: results that reach their deadlines together are served no more from that moment on,
/// and each ends once, by a tick or by the lookup that came before it, across a leader's death.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_expire_together_miss_at_once_and_end_exactly_once() {
    ended(By::Expiry).await;
}

async fn ended(by: By) {
    let _alone = ALONE.lock().await;
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"));
    let mut cluster = setup.found().await.unwrap();
    let plan = Plan {
        by,
        results: RESULTS,
        life: Duration::from_secs(45),
        workers: 4,
        calm: Duration::from_secs(1),
        patience: Duration::from_mins(2),
    };
    let report: Report = run(&mut cluster, &plan).await.unwrap();
    println!(
        "{} results ended in {:.1?}, the leader killed after {}; {} lookups, none served; longest without \
         an answer to others {:.1?}",
        plan.results, report.took, report.at_kill, report.misses, report.longest
    );
    assert!(report.at_kill < plan.results, "the leader died too late");
    assert!(report.misses > 0);
}
