//! Clients that ask everything there is to ask, about results that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use candor_client::{ChangeOptions, Client, Fields as _, GetOptions, SetOptions, WaitFor};
use candor_ledger::digest::sha3_256;
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::Seq;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::recorder::Recorder;
use crate::history::{Asked, Completion, What};
use crate::workload::fields;

/// A client gives a call up after this long.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try of a call may take.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Results that are asked about at one time ..
const AT_ONCE: u64 = 8;
/// .. for so many questions; then others are.
const EPOCH: u64 = 400;
/// One question in so many is about results of an earlier time.
const EARLIER: u64 = 10;
const EPOCHS_BACK: u64 = 3;
/// Outputs that a computation may have; the first is the usual one.
const OUTPUTS: u64 = 3;
const TTL: Duration = Duration::from_hours(1);
const TTL_SHORT_MS: u64 = 3_000;
/// Entries of its own that a thread may still ask the proof of.
const REMEMBERED: usize = 64;
/// After a call without an answer, so that a cluster that is down is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(50);

/// Clients at work.
pub struct Clients {
    threads: JoinSet<anyhow::Result<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    recorder: Arc<Recorder>,
    stop: AtomicBool,
    questions: AtomicU64,
    tenant: String,
    concurrency: u64,
    pause: Duration,
}

/// What is to be asked by whom.
pub struct Ask {
    /// The tenant of all clients.
    pub tenant: String,
    /// A client for each thread, with the node that it prefers.
    pub clients: Vec<(u64, Client)>,
    /// Between an answer and the next question of a thread.
    pub pause: Duration,
    /// Chooses questions.
    pub seed: u64,
}

/// One logical client after another, each with one question at a time.
struct Thread {
    shared: Arc<Shared>,
    client: Client,
    process: u64,
    node: u64,
    rng: Rng,
    seqs: Vec<Seq>,
}

/// A question with what it takes to ask it.
struct Question {
    asked: Asked,
    name: String,
    output: String,
    other: String,
}

impl Clients {
    /// Starts a thread with each client.
    pub fn start(recorder: &Arc<Recorder>, ask: Ask) -> Self {
        let concurrency = u64::try_from(ask.clients.len()).unwrap_or(u64::MAX);
        let shared = Arc::new(Shared {
            recorder: Arc::clone(recorder),
            stop: AtomicBool::new(false),
            questions: AtomicU64::new(0),
            tenant: ask.tenant,
            concurrency,
            pause: ask.pause,
        });
        let mut threads = JoinSet::new();
        for (number, (node, client)) in (0..concurrency).zip(ask.clients) {
            let thread = Thread {
                shared: Arc::clone(&shared),
                client,
                process: number,
                node,
                rng: Rng::seed_from_u64(ask.seed ^ (number + 1)),
                seqs: Vec::new(),
            };
            threads.spawn(thread.run());
        }
        Self { threads, shared }
    }

    /// Ends all threads behind the questions they are at.
    ///
    /// # Errors
    /// When a thread could not make its question, or panicked.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.threads.join_next().await {
            ended.context("a client panicked")??;
        }
        Ok(())
    }
}

impl Thread {
    async fn run(mut self) -> anyhow::Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let question = self.choose()?;
            let (recorder, asked) = (&self.shared.recorder, question.asked.clone());
            let index = recorder.asked(self.process, self.node, asked);
            let end = self.ask(&question).await?;
            let (is_unknown, brought) = match &end.what {
                What::Answered { answer, .. } => (false, Some(Seq(answer.seq))),
                What::Unknown(_) => (true, None),
                _ => (false, None),
            };
            let recorder = &self.shared.recorder;
            recorder.ended(index, self.process, self.node, end);
            if let Some(seq) = brought {
                self.remember(seq);
                tokio::time::sleep(self.shared.pause).await;
            } else {
                tokio::time::sleep(PAUSE.max(self.shared.pause)).await;
            }
            if is_unknown {
                // What it asked may yet take effect: it never speaks again.
                self.process += self.shared.concurrency;
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> anyhow::Result<Question> {
        let number = self.shared.questions.fetch_add(1, Ordering::Relaxed);
        let mut epoch = number / EPOCH;
        if self.rng.random_range(0..EARLIER) == 0 {
            epoch = epoch.saturating_sub(self.rng.random_range(1..=EPOCHS_BACK));
        }
        let [one, two] = [0, 1].map(|_| self.rng.random_range(0..AT_ONCE));
        let [name, other] = [one, two].map(|of| format!("{epoch}/{of}"));
        let usual = self.rng.random_range(0..10) < 7;
        let variant = if usual {
            0
        } else {
            self.rng.random_range(0..OUTPUTS)
        };
        let output = format!("{name} is {variant}");
        let (key, successor) = (self.key(&name)?, self.key(&other)?);
        let digest = hex::encode(sha3_256(output.as_bytes()));
        let asked = match self.rng.random_range(0..100) {
            0..55 => Asked::Get { key },
            55..83 => Asked::Set {
                key,
                output: digest,
                ttl_ms: self.ttl_ms()?,
            },
            83..88 => Asked::Revoke {
                key,
                output: digest,
            },
            88..92 => Asked::Reinstate {
                key,
                output: digest,
            },
            92..95 => Asked::Supersede { key, successor },
            _ if self.seqs.is_empty() => Asked::Get { key },
            _ => {
                let at = self.rng.random_range(0..self.seqs.len());
                let seq = self.seqs.get(at).map_or(0, |seq| seq.0);
                Asked::Receipt { seq }
            }
        };
        Ok(Question {
            asked,
            name,
            output,
            other,
        })
    }

    fn ttl_ms(&mut self) -> anyhow::Result<u64> {
        Ok(match self.rng.random_range(0..10) {
            0..7 => u64::try_from(TTL.as_millis())?,
            _ => self.rng.random_range(1_000..TTL_SHORT_MS),
        })
    }

    async fn ask(&mut self, question: &Question) -> anyhow::Result<Completion> {
        let Question {
            asked,
            name,
            output,
            other,
        } = question;
        let (client, tenant) = (&self.client, self.shared.tenant.as_str());
        let wait_for = match self.rng.random_range(0..2) {
            0 => Some(WaitFor::Committed),
            _ => Some(WaitFor::Sealed),
        };
        let changes = ChangeOptions {
            wait_for,
            ..ChangeOptions::default()
        };
        let (digest, why) = (sha3_256(output.as_bytes()), "a trial");
        Ok(match asked {
            Asked::Get { .. } => {
                let found = client.get(&fields(name), GetOptions::default()).await;
                Completion::of_get(tenant, found)
            }
            Asked::Set { ttl_ms, .. } => {
                let options = SetOptions {
                    wait_for,
                    ..SetOptions::default()
                };
                let ttl = Duration::from_millis(*ttl_ms);
                let set = client.set(&fields(name), output, ttl, options).await;
                Completion::of_set(tenant, set)
            }
            Asked::Revoke { .. } => {
                let revoked = client.revoke(fingerprint(name)?, digest, why, changes);
                Completion::of_revoke(tenant, revoked.await)
            }
            Asked::Reinstate { .. } => {
                let back = client.reinstate(fingerprint(name)?, digest, why, changes);
                Completion::of_reinstate(tenant, back.await)
            }
            Asked::Supersede { .. } => {
                let (of, by) = (fingerprint(name)?, fingerprint(other)?);
                let gone = client.supersede(of, by, why, changes).await;
                Completion::of_supersede(tenant, gone)
            }
            Asked::Receipt { seq } => {
                let shown = client.receipt(Seq(*seq)).await;
                Completion::of_receipt(tenant, shown)
            }
            Asked::Attest { .. } => anyhow::bail!("attestations are an auditor's"),
        })
    }

    fn remember(&mut self, seq: Seq) {
        if self.seqs.len() < REMEMBERED {
            self.seqs.push(seq);
        } else {
            let at = self.rng.random_range(0..REMEMBERED);
            if let Some(place) = self.seqs.get_mut(at) {
                *place = seq;
            }
        }
    }

    fn key(&self, name: &str) -> anyhow::Result<String> {
        let text = fingerprint(name)?.to_string();
        Ok(crate::history::key_of(&self.shared.tenant, &text))
    }
}

fn fingerprint(name: &str) -> anyhow::Result<Fingerprint> {
    Ok(fields(name).to_fingerprint_fields()?.fingerprint())
}
