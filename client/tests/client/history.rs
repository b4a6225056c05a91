//! One history: rollbacks, forks, and statements that contradict each other.

use std::path::Path;

use candor_client::{Client, Error, Misbehaviour, Unproven};
use candor_ledger::ids::Seq;
use candor_ledger::note::Note;
use candor_ledger::policy::Policy;
use candor_ledger::time::Micros;

use crate::world::{self, Keys, ORIGIN, Shared, World, lock};
use crate::{HOUR, fields, is, keys, with_paris};

/// Gives up soon.
fn client_in(world: &Shared, endpoints: &[String], folder: &Path) -> Client {
    let builder = world::builder(&[world], endpoints).retries_max(3);
    builder
        .checkpoint_file(folder.join("checkpoint.note"))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_node_that_is_behind_is_left_without_alarm_and_one_alone_is_stale() {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    let old = lock(&world).fork().shared();
    let behind = world::serve(&old).await;
    client
        .set_attested(&fields("more"), "more", HOUR)
        .await
        .unwrap();
    let newest = client.checkpoint(None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    drop(remembering(&world, folder.path(), &newest.note().encode()));

    // Alone, it is stale: nothing of it is accepted, and the log is not condemned for it.
    let client = client_in(&world, std::slice::from_ref(&behind), folder.path());
    let error = is(client.checkpoint(None).await, "STALE");
    assert!(
        matches!(error, Error::Stale { seen, .. } if seen < newest.size()),
        "{error}"
    );
    // A path that it adds must be right: to tie the two with a false one is no accident.
    lock(&old).lie_checkpoint = Some(Box::new(|_, checkpoint| {
        checkpoint.consistency = vec![vec![0; 32].into()];
    }));
    let client = client_in(&world, std::slice::from_ref(&behind), folder.path());
    is(client.checkpoint(None).await, "UNPROVEN");
    // Beside one that is not, it does no harm.
    let endpoints = [behind, world::serve(&world).await];
    let client = client_in(&world, &endpoints, folder.path());
    let value: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(value.as_deref(), Some("Paris"));
}

/// A client's file that remembers this note.
fn remembering(world: &Shared, folder: &Path, note: &str) -> Policy {
    std::fs::write(folder.join("checkpoint.note"), note).unwrap();
    lock(world).keys.policy()
}

#[tokio::test]
async fn what_is_remembered_holds_across_runs_and_never_moves_back() {
    let (world, client) = with_paris().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.note");
    let honest = world::serve(&world).await;
    let rolled_back = lock(&world).fork().shared();
    let rolled_back = world::serve(&rolled_back).await;
    client
        .set_attested(&fields("more"), "more", HOUR)
        .await
        .unwrap();
    let asked = fields("Capital of France?");
    let size = {
        let client = client_in(&world, &[honest], folder.path());
        let verified: candor_client::Verified = client.get_verified(&asked).await.unwrap().unwrap();
        client.flush().unwrap();
        verified.about().as_of.size
    };
    let remembered = std::fs::read(&file).unwrap();
    assert!(
        Note::parse(&remembered)
            .unwrap()
            .text
            .contains(&format!("\n{size}\n"))
    );
    {
        // Its history ends before what is remembered, and goes on otherwise: a fork.
        let client = client_in(&world, &[rolled_back], folder.path());
        let refused = client.get_verified::<String>(&asked).await.unwrap_err();
        assert!(
            matches!(refused.code(), "STALE" | "UNPROVEN" | "MISBEHAVIOUR"),
            "{refused}"
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), remembered);
    std::fs::write(&file, &remembered[..remembered.len() - 9]).unwrap();
    let endpoint = ["http://127.0.0.1:1".to_owned()];
    let builder = world::builder(&[&world], &endpoint).checkpoint_file(&file);
    is(builder.build(), "MEMORY");
}

#[tokio::test]
async fn a_fork_of_greater_size_is_not_proved_whatever_path_it_shows() {
    let (world, client) = with_paris().await;
    let fork = lock(&world).fork().shared();
    client
        .set_attested(&fields("here"), "one way", HOUR)
        .await
        .unwrap();
    let known = client.checkpoint(None).await.unwrap();
    let forked = world::client(&[&fork], &[world::serve(&fork).await]);
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    assert!(lock(&fork).sealed_size() > known.size().0);
    let folder = tempfile::tempdir().unwrap();
    drop(remembering(&world, folder.path(), &known.note().encode()));
    let client = client_in(&world, &[world::serve(&fork).await], folder.path());
    let error = is(
        client.get_verified::<String>(&fields("there")).await,
        "UNPROVEN",
    );
    let Error::Unproven { problem, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(problem, Unproven::Consistency { .. }), "{problem}");
}

/// Checks that the log was condemned, and that the file convinces somebody with the keys alone.
async fn condemned(client: &Client, error: Error, why: &str) {
    let Error::Misbehaviour(found) = error else {
        panic!("{error}")
    };
    assert!(found.explanation.contains(why), "{}", found.explanation);
    let file = Misbehaviour::read(found.file.as_ref().unwrap()).unwrap();
    assert_eq!(file.origin, ORIGIN);
    assert_eq!(
        file.check(&keys().policy()),
        Some(found.explanation.clone())
    );
    assert_eq!(file.check(&Keys::new("somebody else").policy()), None);
    let mut harmless = file.clone();
    harmless.notes = vec![file.notes[0].clone(); file.notes.len()];
    if harmless.entry.is_none() {
        assert_eq!(harmless.check(&keys().policy()), None);
    }
    // Nothing of this log is believed any more, not even what is true.
    is(
        client
            .get_verified::<String>(&fields("Capital of France?"))
            .await,
        "MISBEHAVIOUR",
    );
}

async fn client_with_folder(world: &Shared, folder: &Path) -> Client {
    let endpoints = [world::serve(world).await];
    world::builder(&[world], &endpoints)
        .misbehaviour_dir(folder)
        .build()
        .unwrap()
}

#[tokio::test]
async fn two_texts_for_one_size_are_proof_of_a_lying_log() {
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = with_paris().await;
    let client = client_with_folder(&world, folder.path()).await;
    client.checkpoint(None).await.unwrap();
    let mut fork = lock(&world).fork();
    for world in [&mut *lock(&world), &mut fork] {
        world.now.0 += 1_000;
    }
    fork.now.0 += 1;
    let sizes = (lock(&world).seal(), fork.seal());
    assert_eq!(sizes.0, sizes.1);
    client.checkpoint(None).await.unwrap();
    lock(&world).lie_checkpoint = Some(Box::new(move |_, checkpoint| {
        *checkpoint = fork.checkpoint(sizes.1, 0);
    }));
    let error = client.checkpoint(None).await.unwrap_err();
    condemned(&client, error, "two different checkpoints").await;
}

#[tokio::test]
async fn a_greater_size_that_was_sealed_earlier_is_proof_of_a_lying_log() {
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = with_paris().await;
    let client = client_with_folder(&world, folder.path()).await;
    client.checkpoint(None).await.unwrap();
    lock(&world).lie_checkpoint = Some(Box::new(|world, checkpoint| {
        let size = world.size();
        world.seal();
        let (greater, early) = (world.sealed_size(), Micros(world.now.0 - 1));
        let text = world.checkpoint_text(greater, early);
        checkpoint.note = world.keys.sign(&text, 2).into();
        checkpoint.consistency = world.consistency(greater, size);
        checkpoint.size = greater;
    }));
    let error = client.checkpoint(None).await.unwrap_err();
    condemned(&client, error, "later than the greater size").await;
}

#[tokio::test]
async fn a_checkpoint_that_differs_from_its_own_seal_is_proof_of_a_lying_log() {
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = with_paris().await;
    let client = client_with_folder(&world, folder.path()).await;
    let size = {
        let mut world = lock(&world);
        world.now.0 += 1_000;
        let size = world.seal();
        let text = world.checkpoint_text(size, Micros(world.now.0 + 1));
        let note = world.keys.sign(&text, 2);
        world.notes.insert(size, note);
        size
    };
    let error = client.receipt(Seq(size - 1)).await.unwrap_err();
    condemned(&client, error, "another time than its seal").await;
}

#[tokio::test]
async fn a_signed_entry_that_contradicts_itself_is_proof_of_a_lying_log() {
    type Nonsense = fn(&mut candor_ledger::entry::Entry);
    let write_of_another = |entry: &mut candor_ledger::entry::Entry| {
        entry.subject = candor_ledger::entry::Subject::Fingerprint(
            candor_ledger::fingerprint::Fingerprint([8; 32]),
        );
    };
    let cases: [(&str, Nonsense); 3] = [
        ("says it is entry", |entry| entry.seq = Seq(2)),
        ("lies under a seal of", |entry| entry.time.0 += 5),
        ("its fields give", write_of_another),
    ];
    for (why, nonsense) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (world, client) = with_paris().await;
        drop(client);
        let client = client_with_folder(&world, folder.path()).await;
        let at = {
            let mut world = lock(&world);
            let write =
                (0..world.size()).find(|at| world.entry(*at).op().as_str() == "cache.write");
            let write = world.entry(write.unwrap());
            world.sign_nonsense(|entry| {
                let (seq, prev, time) = (entry.seq, entry.prev, entry.time);
                *entry = write;
                (entry.seq, entry.prev, entry.time) = (seq, prev, time);
                nonsense(entry);
            })
        };
        let error = client.receipt(Seq(at)).await.unwrap_err();
        condemned(&client, error, why).await;
    }
}

#[tokio::test]
async fn an_old_checkpoint_from_the_callers_hand_is_held_against_the_log() {
    let (world, client) = with_paris().await;
    let old = client.checkpoint(None).await.unwrap();
    let fork = lock(&world).fork().shared();
    client
        .set_attested(&fields("here"), "one way", HOUR)
        .await
        .unwrap();
    let (proved, newest) = client.consistency(&old.note().encode()).await.unwrap();
    assert!(proved.size() < newest.size());
    let forked = world::client(&[&fork], &[world::serve(&fork).await]);
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    is(
        forked.consistency(&newest.note().encode()).await,
        "UNPROVEN",
    );
    let stranger = Keys::new("stranger");
    let mut foreign = World::new(&stranger);
    let size = foreign.seal();
    let foreign = foreign.checkpoint(size, 0).note;
    let foreign = String::from_utf8(foreign.to_vec()).unwrap();
    is(client.consistency(&foreign).await, "UNPROVEN");
}

#[tokio::test]
async fn a_pinned_root_counts_as_remembered() {
    let (world, client) = with_paris().await;
    let pinned = client.checkpoint(None).await.unwrap();
    let fork = lock(&world).fork().shared();
    client
        .set_attested(&fields("here"), "one way", HOUR)
        .await
        .unwrap();
    let newest = client.checkpoint(None).await.unwrap();
    let pin = |checkpoint: &candor_client::VerifiedCheckpoint| {
        let (size, root) = (checkpoint.size(), checkpoint.checkpoint().root);
        format!("{}pin {ORIGIN} {size} {root}\n", keys().policy().to_text())
    };
    let endpoints = [world::serve(&world).await];
    let good = world::builder(&[&world], &endpoints)
        .policy(pin(&pinned))
        .build()
        .unwrap();
    good.checkpoint(None).await.unwrap();
    let forked = world::client(&[&fork], &[world::serve(&fork).await]);
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    forked
        .set_attested(&fields("there"), "another way", HOUR)
        .await
        .unwrap();
    let endpoints = [world::serve(&fork).await];
    let pinned = world::builder(&[&world], &endpoints)
        .policy(pin(&newest))
        .build()
        .unwrap();
    is(pinned.checkpoint(None).await, "UNPROVEN");
}
