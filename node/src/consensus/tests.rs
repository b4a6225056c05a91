#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::poll;

use super::testing::{Cluster, Journal, Plug, settings, until};
use super::*;
use crate::env::sim::{Crash, SimDisk, SimEnv};
use crate::wal::Limits;

const ALL: &[u64] = &[1, 2, 3];

type Outcome = BoxFuture<'static, Result<Applied<u64>, ProposeError>>;

fn named(name: &str, count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|i| Bytes::from(format!("{name}-{i}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_applied_everywhere_in_the_order_they_were_submitted() {
    let cluster = Cluster::calm().await;
    let (leader, term) = cluster.leader(ALL).await;
    let commands = named("c", 300);
    let mut proposals = Vec::new();
    for command in &commands {
        proposals.push(leader.submit(command.clone(), term).await.unwrap());
    }
    let mut before = None;
    for (n, proposal) in (1..).zip(proposals) {
        let applied = proposal.outcome().await.unwrap();
        assert_eq!(applied.reply, n, "the reply is of this command");
        assert!(before < Some(applied.at));
        before = Some(applied.at);
    }
    assert_eq!(cluster.agree(ALL, 300).await, commands);

    // Neither another term nor another node appends anything.
    let me = leader.status().node;
    let other = cluster.node(if me == 1 { 2 } else { 1 });
    for (node, term) in [(&leader, term - 1), (&leader, term + 1), (&other, term)] {
        let refused = node
            .propose(Bytes::from_static(b"no"), term)
            .await
            .unwrap_err();
        let known = Some((me, Cluster::peer(me).address));
        assert_eq!(refused, ProposeError::NotLeader { leader: known });
    }
    let long = Bytes::from(vec![0; COMMAND_LEN_MAX + 1]);
    assert_eq!(
        leader.propose(long, term).await.unwrap_err(),
        ProposeError::TooLong(COMMAND_LEN_MAX + 1)
    );
    cluster.insist(ALL, "last").await;
    assert_eq!(cluster.agree(ALL, 301).await.last().unwrap(), "last");

    let status = leader.status();
    assert_eq!(
        (status.role, status.leader, status.term),
        (Role::Leader, Some(me), term)
    );
    assert_eq!(status.voters, BTreeSet::from([1, 2, 3]));
    assert!(!status.changing && status.learners.is_empty());
    let founded = cluster
        .node(1)
        .initialize(BTreeMap::from([(1, Cluster::peer(1))]))
        .await;
    assert_eq!(founded, Err(ChangeError::AlreadyInitialized));

    cluster.stop().await;
    assert_eq!(*leader.health().borrow(), Health::Stopped);
    assert_eq!(*leader.leadership().borrow(), Leadership::None);
    assert_eq!(
        leader.propose(Bytes::new(), term).await.unwrap_err(),
        ProposeError::Shutdown
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_loses_nothing_it_acknowledged() {
    let cluster = Cluster::founded().await;
    let (old, term) = cluster.leader(ALL).await;
    let me = old.status().node;
    let others: Vec<u64> = ALL.iter().copied().filter(|id| *id != me).collect();
    cluster.insist(ALL, "before").await;

    let before = cluster.last(me).unwrap();
    // First the answers are lost: what is proposed now reaches the others all the same.
    cluster.cut(others[0], me);
    cluster.cut(others[1], me);
    let mut proposals = Vec::new();
    let reached = named("reached", 5);
    for command in &reached {
        proposals.push((
            command.clone(),
            old.submit(command.clone(), term).await.unwrap(),
        ));
    }
    let sent = Some(before + 5);
    until("the followers hold what was proposed", || {
        let held = others
            .iter()
            .filter(|id| cluster.last(**id) >= sent)
            .count();
        (held == 2).then_some(())
    })
    .await;
    // Then nothing passes: what is proposed now cannot be anywhere else.
    cluster.isolate(me);
    let lost = named("lost", 5);
    for command in &lost {
        proposals.push((
            command.clone(),
            old.submit(command.clone(), term).await.unwrap(),
        ));
    }

    cluster.insist(&others, "after").await;
    // Without a majority the leader stops accepting, once it can no longer believe it has one.
    let mut waiting: Vec<(Bytes, Outcome)> = Vec::new();
    for (command, proposal) in proposals {
        waiting.push((command, Box::pin(proposal.outcome())));
    }
    for command in named("late", 600) {
        let proposal = old.submit(command.clone(), term).await.unwrap();
        let mut outcome: Outcome = Box::pin(proposal.outcome());
        match tokio::time::timeout(Duration::from_millis(100), outcome.as_mut()).await {
            Ok(Err(ProposeError::NoQuorum)) => break,
            Ok(other) => panic!("{other:?}"),
            Err(_) => waiting.push((command, outcome)),
        }
    }
    cluster.heal();
    cluster.insist(ALL, "healed").await;
    let applied = cluster.settle(ALL).await;

    for (command, outcome) in waiting {
        let there = applied.contains(&command);
        match outcome.await {
            Ok(_) => assert!(there, "{command:?} was acknowledged and lost"),
            Err(ProposeError::NotLeader { .. } | ProposeError::NoQuorum) => {
                assert!(!there, "{command:?} was refused and took effect");
            }
            Err(ProposeError::Unknown) => {}
            Err(e) => panic!("{e}"),
        }
    }
    assert!(
        reached.iter().all(|command| applied.contains(command)),
        "a majority had them"
    );
    assert!(
        !lost.iter().any(|command| applied.contains(command)),
        "no majority had them"
    );
    for told in ["before", "after", "healed"] {
        assert!(applied.contains(&Bytes::from(told)), "{told}");
    }
    cluster.stop().await;
}

/// The links check that no append is longer than it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up_in_bounded_steps() {
    let cluster = Cluster::calm().await;
    let (leader, term) = cluster.leader(ALL).await;
    let away = if leader.status().node == 1 { 2 } else { 1 };
    cluster.isolate(away);
    let mut lengths = vec![200 << 10; 40];
    lengths.extend([COMMAND_LEN_MAX, 0, 3 << 20, 1]);
    // More small ones than one append takes.
    lengths.extend(vec![10; 2000]);
    let mut proposals = Vec::new();
    for len in &lengths {
        let command = Bytes::from(vec![b'x'; *len]);
        proposals.push(leader.submit(command, term).await.unwrap());
    }
    for proposal in proposals {
        proposal.outcome().await.unwrap();
    }
    assert_eq!(cluster.journal(away).commands().len(), 0);
    cluster.heal();
    let applied = cluster.agree(ALL, lengths.len()).await;
    assert!(applied.iter().map(Bytes::len).eq(lengths));
    cluster.stop().await;
}

// A held sync blocks its thread, as it does in the real world; hence the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn nothing_is_acknowledged_before_a_majority_has_it_on_disk() {
    let mut cluster = Cluster::founded().await;
    let (leader, term) = cluster.leader(ALL).await;
    cluster.insist(ALL, "kept").await;
    cluster.agree(ALL, 1).await;
    let me = leader.status().node;
    let others: Vec<u64> = ALL.iter().copied().filter(|id| *id != me).collect();

    for id in &others {
        cluster.disk(*id).hold_syncs();
    }
    let before = cluster.last(me);
    let mut proposal = pin!(leader.propose(Bytes::from_static(b"held"), term));
    assert!(poll!(proposal.as_mut()).is_pending());
    let sent = until("the proposal is in the leader's log", || {
        cluster.last(me).filter(|last| Some(*last) > before)
    })
    .await;
    until("both followers have it in memory", || {
        others
            .iter()
            .all(|id| cluster.last(*id) == Some(sent))
            .then_some(())
    })
    .await;
    assert!(
        poll!(proposal.as_mut()).is_pending(),
        "acknowledged with one copy on disk"
    );
    assert_eq!(cluster.journal(me).commands().len(), 1);

    // One more disk makes a majority.
    cluster.disk(others[0]).release_syncs();
    let applied = proposal.await.unwrap();
    assert_eq!(applied.at.index, sent);

    // All lose power: what two disks had is there again, on all three.
    for id in ALL {
        cluster.crash(*id, &Crash::DropAll).await;
    }
    cluster.start(others[1]).await;
    assert!(
        cluster.last(others[1]) < Some(sent),
        "the third disk never had it"
    );
    cluster.start(others[0]).await;
    cluster.start(me).await;
    assert_eq!(cluster.agree(ALL, 2).await, ["kept", "held"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_of_all_nodes_keeps_everything_acknowledged() {
    let mut cluster = Cluster::founded().await;
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        for command in named(&format!("round-{round}"), 20) {
            cluster.insist(ALL, command.clone()).await;
            acknowledged.push(command);
        }
        // Node 1 keeps its state as of here, the others lose theirs and apply everything again.
        let (leader, term) = cluster.leader(ALL).await;
        let saved = cluster.journal(1).pages().clone();
        until(
            "the log of node 1 has on disk what its machine has applied",
            || (cluster.wals[&1].durable_index() >= saved.applied.map(|at| at.index)).then_some(()),
        )
        .await;
        // These are on their way when the power goes.
        for command in named(&format!("maybe-{round}"), 10) {
            drop(leader.submit(command, term).await.unwrap());
        }
        for id in ALL {
            let seed = 10 * round + id;
            println!("node {id} crashes with seed {seed}");
            cluster.crash(*id, &Crash::Seeded(seed)).await;
        }
        *cluster.journal(1).pages() = saved;
        for id in ALL {
            cluster.start(*id).await;
        }
        let applied = cluster.settle(ALL).await;
        let kept = applied
            .iter()
            .filter(|command| !command.starts_with(b"maybe"));
        assert!(kept.eq(&acknowledged), "in round {round}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_join_lead_and_leave() {
    let mut cluster = Cluster::calm().await;
    for command in named("c", 50) {
        cluster.insist(ALL, command.clone()).await;
    }
    let (leader, _) = cluster.leader(ALL).await;
    let me = leader.status().node;

    cluster.start(4).await;
    let unknown = leader.promote(BTreeSet::from([4])).await;
    assert_eq!(unknown, Err(ChangeError::UnknownMember(4)));
    let elsewhere = leader.add_learner(me, Cluster::peer(4)).await;
    let address = Cluster::peer(me).address;
    assert_eq!(
        elsewhere,
        Err(ChangeError::OtherAddress { node: me, address })
    );
    let follower = cluster.node(if me == 1 { 2 } else { 1 });
    let refused = follower.add_learner(4, Cluster::peer(4)).await;
    let known = Some((me, Cluster::peer(me).address));
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: known }));

    leader.add_learner(4, Cluster::peer(4)).await.unwrap();
    cluster.agree(&[1, 2, 3, 4], 50).await;
    assert_eq!(leader.status().learners, BTreeSet::from([4]));
    until("the leader knows how far the learner is", || {
        let status = leader.status();
        (status.peers[&4].matched?.index == status.last_log?).then_some(())
    })
    .await;
    leader.promote(BTreeSet::from([4])).await.unwrap();
    until("the new voters are known everywhere", || {
        let done = [1, 2, 3, 4].iter().all(|id| {
            let status = cluster.node(*id).status();
            status.voters == BTreeSet::from([1, 2, 3, 4]) && !status.changing
        });
        done.then_some(())
    })
    .await;

    leader.transfer_leader(4).await.unwrap();
    let (new, term) = cluster.leader(&[4]).await;
    new.propose(Bytes::from_static(b"by the new leader"), term)
        .await
        .unwrap();
    let late = leader.transfer_leader(4).await;
    assert!(
        matches!(late, Err(ChangeError::NotLeader { .. })),
        "{late:?}"
    );

    assert_eq!(new.remove(9).await, Err(ChangeError::UnknownMember(9)));
    new.remove(me).await.unwrap();
    let rest: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != me).collect();
    new.change_voters(BTreeSet::from([rest[0], 4]))
        .await
        .unwrap();
    let status = new.status();
    assert_eq!(status.voters, BTreeSet::from([rest[0], 4]));
    assert_eq!(status.learners, BTreeSet::from([rest[1]]));
    assert!(!status.peers.contains_key(&me));
    cluster.insist(&[rest[0], 4], "after the removal").await;
    cluster.agree(&rest, 52).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_abstains_follows_and_is_never_elected() {
    let cluster = Cluster::founded().await;
    let (leader, _) = cluster.leader(ALL).await;
    let me = leader.status().node;
    let others: Vec<u64> = ALL.iter().copied().filter(|id| *id != me).collect();
    leader.abstain(Abstention::Damage);
    leader.transfer_leader(others[0]).await.unwrap();
    let (new, term) = cluster.leader(&others).await;

    // Asked to take over, it refuses; the silence that follows makes one of the others lead.
    new.transfer_leader(me).await.unwrap();
    until("one of the others leads again", || {
        let mut leaders = others.iter().filter(|id| {
            let now = cluster.node(**id).leadership();
            matches!(*now.borrow(), Leadership::Leader { term: now, since: Some(_) } if now > term)
        });
        leaders.next().copied()
    })
    .await;
    // Nor does it stand for election when nobody is heard of, while its own vote still counts.
    let (last, _) = cluster.leader(&others).await;
    let down = last.status().node;
    cluster.isolate(down);
    let third: Vec<u64> = others.iter().copied().filter(|id| *id != down).collect();
    cluster.leader(&third).await;
    cluster.insist(&third, "with its vote").await;
    cluster.heal();
    cluster.agree(ALL, 1).await;
    assert!(!matches!(
        *leader.leadership().borrow(),
        Leadership::Leader { .. }
    ));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_cannot_go_on_stops_its_node_alone() {
    let cluster = Cluster::calm().await;
    let (leader, _) = cluster.leader(ALL).await;
    let sick = ALL
        .iter()
        .copied()
        .find(|id| *id != leader.status().node)
        .unwrap();
    let poison = Bytes::from_static(b"poison");
    cluster.journal(sick).pages().poison = Some(poison.clone());
    cluster.insist(ALL, "poison").await;

    let mut health = cluster.node(sick).health();
    let failed = health
        .wait_for(|health| *health != Health::Running)
        .await
        .unwrap()
        .clone();
    let Health::Failed(failure) = failed else {
        panic!("{failed:?}")
    };
    assert!(matches!(&failure, Failure::Machine { error, .. } if error.reason == "poisoned"));
    assert_eq!(
        cluster
            .node(sick)
            .propose(Bytes::new(), 1)
            .await
            .unwrap_err(),
        ProposeError::Fatal(failure)
    );
    let rest: Vec<u64> = ALL.iter().copied().filter(|id| *id != sick).collect();
    cluster.insist(&rest, "without it").await;
    assert_eq!(cluster.agree(&rest, 2).await, ["poison", "without it"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_machine_that_panics_is_noticed_at_once() {
    let mut cluster = Cluster::default();
    cluster.start(1).await;
    let members = BTreeMap::from([(1, Cluster::peer(1))]);
    cluster.node(1).initialize(members).await.unwrap();
    cluster.insist(&[1], "one").await;
    cluster.journal(1).pages().poison = Some(Bytes::from_static(b"panic"));

    let (node, term) = cluster.leader(&[1]).await;
    let lost = node.propose(Bytes::from_static(b"panic"), term).await;
    assert_eq!(lost, Err(ProposeError::Unknown));
    let mut health = node.health();
    let failed = health
        .wait_for(|health| *health != Health::Running)
        .await
        .unwrap()
        .clone();
    assert_eq!(failed, Health::Failed(Failure::Panicked));
    assert_eq!(*node.leadership().borrow(), Leadership::None);
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_refuses_peers_that_speak_for_others_or_make_no_sense() {
    let mut cluster = Cluster::default();
    cluster.start(1).await;
    let node = cluster.node(1);
    let vote = types::Vote::new(7, 2);
    let ballot = openraft::raft::VoteRequest::<TypeConfig<u64>>::new(vote, None);
    let body = codec::encode_ballot(&ballot);
    for call in [RaftCall::Vote, RaftCall::PreVote] {
        let refused = node.handle(call, 3, body.clone()).await.unwrap_err();
        assert_eq!(
            refused,
            HandleError::Impostor {
                from: 3,
                claimed: 2
            }
        );
    }
    let transfer = openraft::raft::TransferLeaderRequest::new(vote, 1, None);
    let transfer = codec::encode_transfer::<u64>(&transfer);
    let refused = node
        .handle(RaftCall::TransferLeader, 3, transfer)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        HandleError::Impostor {
            from: 3,
            claimed: 2
        }
    );
    for call in [RaftCall::Append, RaftCall::Heartbeat] {
        let refused = node.handle(call, 2, body.clone()).await.unwrap_err();
        assert!(matches!(refused, HandleError::Malformed(_)), "{refused}");
    }
    let long = Bytes::from(vec![0; PEER_MESSAGE_LEN_MAX + 1]);
    let refused = node.handle(RaftCall::Append, 2, long).await.unwrap_err();
    assert_eq!(refused, HandleError::TooLong(PEER_MESSAGE_LEN_MAX + 1));
    assert_eq!(node.status().term, 0, "none of it counted");
    cluster.stop().await;
    let refused = node.handle(RaftCall::Vote, 2, body).await.unwrap_err();
    assert_eq!(refused, HandleError::Stopped);
}

/// A member that needs what is gone is offered a snapshot, begins its log behind it and goes on from
/// the log; the vote it gave stays given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_longer_than_the_log_goes_on_behind_a_snapshot() {
    let mut cluster = Cluster::calm().await;
    let (leader, _) = cluster.leader(ALL).await;
    let me = leader.status().node;
    let absent = if me == 3 { 2 } else { 3 };
    let others: Vec<u64> = ALL.iter().copied().filter(|id| *id != absent).collect();
    cluster.insist(ALL, "before").await;
    cluster.settle(ALL).await;
    cluster.isolate(absent);
    for command in named("away", 20) {
        cluster.insist(&others, command).await;
    }
    cluster.settle(&others).await;
    let upto = cluster.journal(me).pages().applied.unwrap();
    for id in &others {
        cluster.copies[id].offer();
        cluster.node(*id).purge(upto.index).await.unwrap();
    }
    until("both logs are purged", || {
        let purged = |id: &u64| cluster.node(*id).status().purged >= Some(upto);
        others.iter().all(purged).then_some(())
    })
    .await;
    assert_eq!(
        last_on_disk(&cluster.wals[&me]).unwrap(),
        Some(upto),
        "what is gone still counts"
    );
    cluster.insist(&others, "behind the snapshot").await;
    cluster.heal();
    let (at, manifest) = until("a snapshot is offered", || {
        cluster.copies[&absent].received()
    })
    .await;
    assert!(at >= upto, "{at}");

    // What the owner does then, twice: a crash may come between.
    cluster.stop_one(absent).await;
    let membership = cluster.journal(me).pages().membership.clone();
    *cluster.journal(absent).pages() = testing::Copies::pages(at, &manifest, membership);
    for _ in 0..2 {
        let env = SimEnv::new(cluster.disk(absent).clone(), absent);
        let (wal, mut recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
        begin_log_after(&wal, &mut recovered, at).await.unwrap();
        assert_eq!(last_on_disk(&wal).unwrap(), Some(at));
        let hard = codec::decode_hard_state(wal.vote().unwrap()).unwrap();
        assert!(hard.vote.is_some(), "the vote is forgotten");
        wal.close().await;
    }
    cluster.start(absent).await;
    cluster.insist(ALL, "together").await;
    assert_eq!(cluster.agree(ALL, 23).await.last().unwrap(), "together");
    // A start of a node whose log begins in the middle, with and without a snapshot of its own.
    cluster.stop_one(absent).await;
    cluster.start(absent).await;
    cluster.insist(ALL, "again").await;
    cluster.agree(ALL, 24).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_fit_the_machine_is_refused_at_start() {
    let mut cluster = Cluster::default();
    cluster.start(1).await;
    let members = BTreeMap::from([(1, Cluster::peer(1))]);
    cluster.node(1).initialize(members).await.unwrap();
    cluster.insist(&[1], "one").await;
    cluster.stop().await;
    let applied = cluster.journal(1).pages().applied.unwrap();

    let start = async |disk: &SimDisk, journal: &Journal| {
        let env = SimEnv::new(disk.clone(), 1);
        let (wal, recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
        let log = (wal.clone(), &recovered);
        let alone = Plug::alone(1);
        let started = Consensus::start(
            &env,
            &settings(1, true),
            log,
            journal.clone(),
            alone,
            Arc::new(()),
        )
        .await;
        wal.close().await;
        started.map(|_| ())
    };
    let refused = start(&SimDisk::new(), cluster.journal(1))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StartError::LogBehind { last: None, .. }),
        "{refused}"
    );

    let other = LogPos {
        term: applied.term + 1,
        ..applied
    };
    cluster.journal(1).pages().applied = Some(other);
    let refused = start(cluster.disk(1), cluster.journal(1))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StartError::LogDiffers { found, .. } if found == applied),
        "{refused}"
    );

    cluster.journal(1).pages().applied = Some(applied);
    cluster.journal(1).pages().membership = Some(Bytes::from_static(b"\x01junk"));
    let refused = start(cluster.disk(1), cluster.journal(1))
        .await
        .unwrap_err();
    assert!(matches!(refused, StartError::Membership(_)), "{refused}");
}
