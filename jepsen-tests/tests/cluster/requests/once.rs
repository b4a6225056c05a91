//! A set that is sent again, and an id that is used again.

use std::time::Duration;

use candor_jepsen::real::folders::{self, flip};
use candor_jepsen::real::{PATIENCE, Setup};
use candor_jepsen::workload::seed;
use candor_ledger::entry::{Entry, Op};
use candor_proto::cache_v1::{SetResult, set_result::Outcome};
use candor_proto::{Effect, ErrorCode};
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::raw::{Raw, code, new_id};

/// INV-7: the entry is made before its proof is put together, and the proof may meet a damaged file:
/// then no code may say that nothing happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_proof_cannot_be_read_is_not_said_to_have_done_nothing() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"));
    let setup = setup.sections("\n[verifier]\nheal = false\n");
    let cluster = setup.found().await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let to_leader = Raw::new(&cluster, "service-a", leader);
    let notes = cluster.folder(leader).join("ledger/checkpoints");
    let note = folders::files_below(&notes).unwrap().pop_first().unwrap();
    let known_size = note.to_str().unwrap().parse().unwrap();
    flip(&notes.join(&note), 100).unwrap();

    let (id, name) = (new_id(), "behind the commit");
    let first = to_leader.set_knowing(known_size, &id, name, "output").await;
    let refused = code(&first.unwrap_err());
    let refused = ErrorCode::parse(&refused).unwrap();
    assert_eq!(refused, ErrorCode::StorageDamaged);
    assert_eq!(refused.effect(), Effect::Unknown);

    let survivor = Raw::new(&cluster, "service-a", leader % 3 + 1);
    let again = until_answered(&survivor, &id, name, "output").await;
    assert!(replayed(&again.unwrap()), "the refused try made its entry");
}

/// INV-7: the first try was acknowledged, or its answer was lost with the leader; the second goes to
/// another leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_retried_across_a_leader_change_happens_once_and_its_id_serves_nothing_else() {
    let mut rng = Rng::seed_from_u64(seed());
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let (mut retried, mut lost) = (Vec::new(), 0);
    for round in 0..6 {
        let (id, name) = (new_id(), format!("round {round}"));
        let leader = cluster.leader().await.unwrap();
        let to_leader = Raw::new(&cluster, "service-a", leader);
        let first = if round == 0 {
            // The answer is here before the leader dies.
            let first = to_leader.set(&id, &name, "output").await;
            cluster.kill(leader).unwrap();
            first
        } else {
            // It dies with the request somewhere on its way.
            let try_one = to_leader.clone();
            let (its_id, its_name) = (id.clone(), name.clone());
            let first =
                tokio::spawn(async move { try_one.set(&its_id, &its_name, "output").await });
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..25))).await;
            cluster.kill(leader).unwrap();
            first.await.unwrap()
        };
        let survivor = Raw::new(&cluster, "service-a", leader % 3 + 1);
        let second = until_answered(&survivor, &id, &name, "output")
            .await
            .unwrap();
        let seq = written(&second);
        match first {
            Ok(first) => assert_eq!((seq, replayed(&second)), (written(&first), true)),
            Err(_) => lost += 1,
        }
        let third = until_answered(&survivor, &id, &name, "output")
            .await
            .unwrap();
        assert_eq!((written(&third), replayed(&third)), (seq, true));

        // The id stands for this request of this actor, and for nothing else of his.
        let refused = until_answered(&survivor, &id, &name, "other output").await;
        assert_is_reused(&refused.unwrap_err());
        let refused = until_answered(&survivor, &id, "another computation", "output").await;
        assert_is_reused(&refused.unwrap_err());
        retried.push((id, seq));
        cluster.start(leader).await.unwrap();
    }

    // Before the ledger's nodes were restarted and after: the table is in the ledger.
    cluster.kill_all().unwrap();
    cluster.start_all().await.unwrap();
    let client = Raw::new(&cluster, "service-a", 1);
    let (id, seq) = &retried[0];
    let again = until_answered(&client, id, "round 0", "output")
        .await
        .unwrap();
    assert_eq!((written(&again), replayed(&again)), (*seq, true));

    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    let entries = cluster.entries(2).unwrap();
    for (id, seq) in &retried {
        let of_id: Vec<_> = entries.iter().filter(|entry| has_id(entry, id)).collect();
        let what: Vec<_> = of_id
            .iter()
            .map(|entry| (entry.op(), entry.seq.0))
            .collect();
        assert_eq!(what, [(Op::CacheWrite, *seq)], "{id}");
    }
    println!(
        "{} sets sent again to another leader, {lost} of them without the first answer: {} entries",
        retried.len(),
        retried.len()
    );
}

/// Elections and lost connections are waited out; any other refusal is the answer.
async fn until_answered(
    client: &Raw,
    id: &str,
    name: &str,
    output: &str,
) -> Result<SetResult, Status> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.set(id, name, output).await {
            Err(status)
                if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

fn written(result: &SetResult) -> u64 {
    assert!(
        matches!(result.outcome, Some(Outcome::Written(_))),
        "{result:?}"
    );
    result.recorded.as_ref().unwrap().seq
}

fn replayed(result: &SetResult) -> bool {
    result.recorded.as_ref().unwrap().replayed
}

fn assert_is_reused(status: &Status) {
    assert_eq!(code(status), "REQUEST_ID_REUSED");
    assert_eq!(status.code(), Code::AlreadyExists);
}

fn has_id(entry: &Entry, id: &str) -> bool {
    entry
        .request_id
        .is_some_and(|found| found.to_string() == id)
}
