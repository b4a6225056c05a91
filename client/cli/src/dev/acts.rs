//! The four acts. Each says what it did and measured, and fails when an expectation does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::operator::is_settled;
use candor_client::operator::messages::SettledNode;
use candor_client::{Client, ClientBuilder, Fields as _};
use candor_ledger::entry::Entry;
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::{RequestId, Seq};
use tokio::time::Instant;

use super::auditor::{Auditor, Ran};
use super::compare::{self, Same};
use super::folder::DevFolder;
use super::load::{self, Ack, Load};
use super::price::Price;
use super::processes::Nodes;
use super::{PATIENCE, WORKERS, tamper};
use crate::cluster::Cluster;
use crate::failure::WithLines;
use crate::output::{Count, Took, write_data};
use crate::replay::{self, Latencies, Plan, Tally};
use crate::trace::{self, Request};

/// Results of the trace are kept for a day: reopen the folder and they are hits.
const TTL: Duration = Duration::from_hours(24);
/// Acknowledged before the leader is killed, and after.
const LOAD_BEFORE: u64 = 200;
const LOAD_AFTER: u64 = 200;
/// An election takes about a second; a machine that does other work gets more.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// Two in a row that the silent seal of every minute falls into are rare; more mean something else.
const COMPARISONS: usize = 5;

/// What the acts play on.
pub(crate) struct Stage<'a> {
    pub(crate) folder: &'a DevFolder,
    pub(crate) nodes: &'a mut Nodes,
    pub(crate) cluster: Cluster,
    pub(crate) auditor: &'a Auditor,
}

/// The computation that the last two acts are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) fingerprint: Fingerprint,
    /// Its entry that is tampered with.
    pub(crate) seq: Seq,
}

impl Stage<'_> {
    /// Act 1: what the cache is for.
    pub(crate) async fn replay(
        &mut self,
        prices: Option<(Price, Price)>,
    ) -> anyhow::Result<Subject> {
        let requests = trace::embedded()?;
        let total = u64::try_from(requests.len())?;
        let asked_most = asked_most(&requests)?;
        say(format!(
            "act 1  {total} recorded requests to {} are replayed, {WORKERS} at a time",
            asked_most.model_name
        ))?;
        let client = self.client()?;
        let plan = Plan {
            clients: WORKERS,
            rate: None,
            real_time: false,
            ttl: TTL,
            acked: None,
        };
        let tally = replay::replay(&client, requests, plan).await?;
        ensure!(
            tally.requests == total,
            "{} of {total} requests were answered",
            tally.requests
        );
        ensure!(tally.hits > 0, "no request was a hit");
        ensure!(
            tally.conflicts == 0,
            "{} outputs met other bytes",
            tally.conflicts
        );
        say_tally(&tally, prices)?;
        self.keep_evidence(&client, &asked_most).await
    }

    /// Act 2: what replication is for.
    pub(crate) async fn kill_leader(&mut self) -> anyhow::Result<()> {
        say("act 2  the leader is killed with SIGKILL under load")?;
        self.settle_and_compare("before").await?;
        let client = self.client()?;
        let mut load = Load::start(&client, trace::embedded()?, WORKERS.get());
        load.wait_for(LOAD_BEFORE, PATIENCE).await?;
        let (victim, term) = self.nodes.leader(&self.cluster).await?;
        let killed = Instant::now();
        self.nodes.kill(victim).await?;
        load.wait_for(LOAD_AFTER, PATIENCE).await?;
        let acks = load.finish().await?;
        let (leader, new_term) = self.nodes.leader(&self.cluster).await?;
        ensure!(leader != victim, "node {victim} was killed and still leads");
        say(format!(
            "  load       {WORKERS} clients set and get; node {victim}, leading in term {term}, was killed"
        ))?;
        say(format!(
            "  pause      {} at the longest between two acknowledgements; node {leader} leads in term {new_term}",
            Took(load::longest_pause(&acks, killed))
        ))?;
        let back = self.nodes.start(victim).await?;
        let found = self.count_in_ledger(&acks).await?;
        let sets = acks.iter().filter(|ack| ack.is_set).count();
        say(format!(
            "  requests   acknowledged {} ({sets} sets, {} gets), found in the ledger {}",
            Count(u64::try_from(acks.len())?),
            acks.len() - sets,
            Count(u64::try_from(found)?)
        ))?;
        ensure!(
            found == acks.len(),
            "{} acknowledged requests are not in the ledger",
            acks.len() - found
        );
        say(format!(
            "  restart    node {victim} answers again after {}",
            Took(back)
        ))?;
        self.settle_and_compare("after").await
    }

    /// Act 3: what the chain, the tree and the signatures are for.
    pub(crate) async fn tamper(&mut self, subject: &Subject) -> anyhow::Result<()> {
        let seq = subject.seq;
        say(format!(
            "act 3  one byte of a copy is changed: the output hash in entry {seq}"
        ))?;
        let copy = self.folder.path("tampered");
        if copy.exists() {
            std::fs::remove_dir_all(&copy).context("the copy of an earlier run")?;
        }
        let ledger = copy.join("ledger");
        compare::copy(&self.folder.node_folder(1).join("ledger"), &ledger)?;
        let flipped = tamper::flip_in_ledger(&ledger, seq)?;
        say(format!(
            "  ledger     `{}` became `{}` at byte {} of {}",
            flipped.from,
            flipped.to,
            flipped.offset,
            flipped.file.display()
        ))?;
        let policy = self.folder.path("policy").display().to_string();
        let ledger = ledger.display().to_string();
        self.refused(&["ledger", &ledger, "--trust", &policy], seq)
            .await?;

        let file = copy.join("evidence.json");
        std::fs::copy(self.folder.path("evidence.json"), &file)?;
        let flipped = tamper::flip_in_evidence(&file)?;
        say(format!(
            "  evidence   `{}` became `{}` at byte {} of {}",
            flipped.from,
            flipped.to,
            flipped.offset,
            flipped.file.display()
        ))?;
        let file = file.display().to_string();
        self.refused(&["verify", &file, "--trust", &policy], seq)
            .await
    }

    /// Act 4: who needs to be trusted for it: nobody.
    pub(crate) async fn verify(&mut self, subject: &Subject) -> anyhow::Result<()> {
        say("act 4  the untouched evidence, in an empty folder with the public keys alone")?;
        let empty = EmptyFolder::make()?;
        for name in ["evidence.json", "policy"] {
            std::fs::copy(self.folder.path(name), empty.0.join(name))?;
        }
        let subject = subject.fingerprint.to_string();
        let arguments = [
            "verify",
            "evidence.json",
            "--trust",
            "policy",
            "--subject",
            subject.as_str(),
        ];
        let started = Instant::now();
        let ran = self.auditor.run(&arguments, &empty.0).await?;
        let took = started.elapsed();
        say_run(&ran)?;
        if ran.exit_code != Some(0) {
            return Err(ran.problem("genuine evidence was not accepted"));
        }
        for label in ["checkpoint", "vouched", "claim"] {
            if let Some(line) = ran.line_with(label) {
                say(format!("  says       {line}"))?;
            }
        }
        say(format!(
            "  took       {} with the start of the process",
            Took(took)
        ))
    }

    /// A client of `service-a`, which verifies what it is answered.
    fn client(&self) -> anyhow::Result<Client> {
        Ok(ClientBuilder::from(self.folder.client_settings(CALL_TIMEOUT)?).build()?)
    }

    /// Keeps evidence about a request's computation, to be verified later.
    async fn keep_evidence(&self, client: &Client, request: &Request) -> anyhow::Result<Subject> {
        let fingerprint = request.fields()?.to_fingerprint_fields()?.fingerprint();
        let evidence = crate::audit::evidence_of(client, fingerprint, true).await?;
        let seq = tamper::first_with_output(&evidence)?;
        std::fs::write(self.folder.path("evidence.json"), evidence.render())?;
        Ok(Subject { fingerprint, seq })
    }

    /// Brings all nodes to one place and compares what lies on their disks.
    ///
    /// A cluster that nobody asks for anything still seals a silent minute, and a tick may come
    /// between settling and comparing. So a difference is looked at again, but only after a settle
    /// that shows that the ledger really grew; where it stood still, the difference stands.
    async fn settle_and_compare(&self, label: &str) -> anyhow::Result<()> {
        let folders: Vec<PathBuf> = self
            .folder
            .nodes()
            .map(|node| self.folder.node_folder(node).join("ledger"))
            .collect();
        let mut place = self.settle().await?;
        for _ in 0..COMPARISONS {
            match compare::same(&folders) {
                Ok(same) => return say_same(label, &place, folders.len(), same),
                Err(difference) => {
                    let now = self.settle().await?;
                    place = after_difference(&difference, &place, now)?;
                }
            }
        }
        bail!("the ledger grew during each of {COMPARISONS} comparisons; it never stood still")
    }

    /// Where all nodes came to stand.
    async fn settle(&self) -> anyhow::Result<Place> {
        let started = Instant::now();
        loop {
            let settled = self.cluster.leader().await?.settle().await;
            match settled {
                Ok(nodes) if is_settled(&nodes) => {
                    return Place::of(&nodes).context("a cluster has a node");
                }
                _ if started.elapsed() < PATIENCE => tokio::time::sleep(SETTLE_EVERY).await,
                Ok(nodes) => {
                    return Err(WithLines {
                        message: "the nodes did not settle".to_owned(),
                        lines: nodes.iter().map(|node| format!("{node:?}")).collect(),
                    }
                    .into());
                }
                Err(problem) => return Err(problem).context("the nodes did not settle"),
            }
        }
    }

    /// How many of these requests have an entry, by the auditor's own list of all entries.
    async fn count_in_ledger(&self, acks: &[Ack]) -> anyhow::Result<usize> {
        let leader = self.cluster.leader().await?;
        let mut recorded: BTreeSet<RequestId> = BTreeSet::new();
        let mut next = 0;
        loop {
            let page = leader.list_entries(next).await?;
            if page.entries.is_empty() {
                break;
            }
            for line in &page.entries {
                recorded.extend(Entry::parse(line)?.request_id);
                next += 1;
            }
        }
        Ok(acks.iter().filter(|ack| recorded.contains(&ack.id)).count())
    }

    /// The auditor must refuse, and name the entry.
    async fn refused(&self, arguments: &[&str], seq: Seq) -> anyhow::Result<()> {
        let here = std::env::current_dir()?;
        let ran = self.auditor.run(arguments, &here).await?;
        say_run(&ran)?;
        if ran.exit_code != Some(1) {
            return Err(ran.problem("the auditor did not refuse it"));
        }
        let named = ran.line_with(&format!("entry {seq}:"));
        let named = named.ok_or_else(|| ran.problem(&format!("entry {seq} was not named")))?;
        say(format!("  says       {named}"))
    }
}

/// Where all nodes stood when they had settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    index: u64,
    /// Entries, all of them sealed.
    size: u64,
}

impl Place {
    fn of(nodes: &[SettledNode]) -> Option<Self> {
        nodes.first().map(|node| Self {
            index: node.applied_index,
            size: node.ledger_size,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries at log index {}", self.size, self.index)
    }
}

/// Whether a difference between folders may come from the ledger having grown while they were
/// compared. Settling itself takes a place in the log and makes no entry.
fn after_difference(
    difference: &anyhow::Error,
    before: &Place,
    now: Place,
) -> anyhow::Result<Place> {
    ensure!(
        now.size > before.size && now.index > before.index,
        "the ledger/ folders differ although the ledger stood still: {difference:#}; \
         settled before at {before}, and after at {now}"
    );
    Ok(now)
}

fn say_same(label: &str, place: &Place, folders: usize, same: Same) -> anyhow::Result<()> {
    say(format!(
        "  {label:<10} settled at {} entries; the ledger/ folders of all {folders} nodes are the \
         same: {} files, {} bytes",
        Count(place.size),
        same.files,
        Count(same.bytes)
    ))
}

/// The request whose computation is asked for most often: its lifecycle has the most to show.
fn asked_most(requests: &[Request]) -> anyhow::Result<Request> {
    let mut times: BTreeMap<[u8; 32], (usize, &Request)> = BTreeMap::new();
    for request in requests {
        let fingerprint = request.fields()?.to_fingerprint_fields()?.fingerprint();
        times.entry(fingerprint.0).or_insert((0, request)).0 += 1;
    }
    let most = times.into_values().max_by_key(|(count, _)| *count);
    Ok(most.context("the trace is not empty")?.1.clone())
}

/// One line of the story.
fn say(line: impl AsRef<str>) -> anyhow::Result<()> {
    write_data(line.as_ref().as_bytes(), true)
}

fn say_run(ran: &Ran) -> anyhow::Result<()> {
    say(format!("  $ {}", ran.command))?;
    let code = ran
        .exit_code
        .map_or("killed".to_owned(), |code| code.to_string());
    let outcome = ran.line_with("outcome").unwrap_or_default();
    say(format!("  exit {code}     {outcome}"))
}

fn say_tally(tally: &Tally, prices: Option<(Price, Price)>) -> anyhow::Result<()> {
    say(format!(
        "  misses     {}: the recorded inference was taken ({} of model time) and its output attested",
        Count(tally.misses),
        Took(tally.model_time_spent)
    ))?;
    say(format!(
        "  hits       {}: each verified here, against its conditions and a checkpoint, before use",
        Count(tally.hits)
    ))?;
    say(format!(
        "  saved      {} tokens ({} prompt, {} output) and {} of model time",
        Count(tally.tokens_saved()),
        Count(tally.input_tokens_saved),
        Count(tally.output_tokens_saved),
        Took(tally.model_time_saved)
    ))?;
    if let Some((price_in, price_out)) = prices {
        let (tokens_in, tokens_out) = (tally.input_tokens_saved, tally.output_tokens_saved);
        say(format!(
            "  money      {} = {tokens_in} x {price_in} / 1,000,000 + {tokens_out} x {price_out} / 1,000,000",
            price_in.of(tokens_in).plus(price_out.of(tokens_out))
        ))?;
    }
    say(format!("  get        {}", Latencies(&tally.gets)))?;
    if !tally.sets.is_empty() {
        say(format!(
            "  set        {}, each until three signatures and a majority of nodes stand under it",
            Latencies(&tally.sets)
        ))?;
    }
    say(format!(
        "  took       {} for {} acknowledged requests",
        Took(tally.took),
        Count(tally.acknowledged)
    ))
}

/// A folder that ends with its value.
struct EmptyFolder(PathBuf);

impl EmptyFolder {
    fn make() -> anyhow::Result<Self> {
        let name = format!("candor-dev-{}", super::folder::random_name());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for EmptyFolder {
    fn drop(&mut self) {
        // A folder of a few kB in the temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn a_difference_is_excused_only_by_a_ledger_that_grew() {
        let difference = anyhow::anyhow!("`checkpoints/0000000000000042` is in one of two only");
        let place = |index, size| Place { index, size };
        let before = place(90, 42);
        let grown = place(93, 43);
        assert_eq!(
            after_difference(&difference, &before, grown).unwrap(),
            grown
        );
        // Settling again took its own place in the log; an election may have taken more.
        for stood_still in [place(91, 42), place(95, 42)] {
            let refused = after_difference(&difference, &before, stood_still).unwrap_err();
            let text = refused.to_string();
            for word in [
                "0000000000000042",
                &before.to_string(),
                &stood_still.to_string(),
            ] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
