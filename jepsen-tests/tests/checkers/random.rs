//! Random runs of a cluster that is right, with clients that overlap, time out and are too late.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use candor_jepsen::history::{Answer, Asked, Event, F, History, Process, Trouble, What};
use candor_ledger::ids::RequestId;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::world::{World, output};

/// How a run is to be.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) threads: u64,
    pub(crate) keys: u64,
    pub(crate) operations: u64,
    /// One call in so many brings no answer; 0 for none.
    pub(crate) unknown_one_in: u64,
}

/// What happens next, at which time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Ask { thread: u64 },
    TakeEffect { call: usize },
    Answer { call: usize },
}

#[derive(Clone)]
struct CallUnderWay {
    thread: u64,
    asked: Asked,
    id: RequestId,
    /// If it gets no answer, its error tells the id.
    tells: bool,
    answer: Option<Answer>,
    is_unknown: bool,
}

/// A run: what clients saw, and the ledger behind it.
pub(crate) struct RandomRun {
    pub(crate) history: History,
    pub(crate) world: World,
}

struct Running {
    rng: Rng,
    shape: Shape,
    world: World,
    keys: Vec<String>,
    agenda: BinaryHeap<Reverse<(u64, u64, Next)>>,
    calls: Vec<CallUnderWay>,
    process: BTreeMap<u64, u64>,
    history: History,
    /// Things put on the agenda: breaks ties, so that a seed is one run.
    planned: u64,
}

/// The run of a seed.
pub(crate) fn run(seed: u64, shape: Shape) -> RandomRun {
    let mut world = World::new();
    let keys = (0..shape.keys)
        .map(|at| world.key(&format!("key {at}")))
        .collect();
    let mut running = Running {
        rng: Rng::seed_from_u64(seed),
        shape,
        world,
        keys,
        agenda: BinaryHeap::new(),
        calls: Vec::new(),
        process: (0..shape.threads).map(|thread| (thread, thread)).collect(),
        history: History::default(),
        planned: 0,
    };
    for thread in 0..shape.threads {
        running.plan(thread + 1, Next::Ask { thread });
    }
    while let Some(Reverse((now_ns, _, next))) = running.agenda.pop() {
        running.happen(now_ns, next);
    }
    RandomRun {
        history: running.history,
        world: running.world,
    }
}

impl Running {
    fn plan(&mut self, at_ns: u64, next: Next) {
        self.planned += 1;
        self.agenda.push(Reverse((at_ns, self.planned, next)));
    }

    /// Up to so many microseconds from now, and never at the same time as anything else.
    fn soon(&mut self, now_ns: u64, us_max: u64) -> u64 {
        let wait = self.rng.random_range(1..=us_max) * 1_000;
        now_ns - now_ns % 1_000 + wait + self.planned % 1_000
    }

    #[expect(clippy::needless_pass_by_value, reason = "what happens is over then")]
    fn happen(&mut self, now_ns: u64, next: Next) {
        match next {
            Next::Ask { thread } => self.ask(now_ns, thread),
            Next::TakeEffect { call } => {
                if self.rng.random_range(0..8) == 0 {
                    self.world.tick(now_ns);
                }
                let CallUnderWay { asked, id, .. } = self.calls[call].clone();
                self.calls[call].answer = Some(self.world.ask(now_ns, id, &asked));
            }
            Next::Answer { call } => self.answer(now_ns, call),
        }
    }

    fn ask(&mut self, now_ns: u64, thread: u64) {
        let asked_so_far = u64::try_from(self.calls.len()).unwrap();
        if asked_so_far == self.shape.operations {
            return;
        }
        let (asked, id) = match self.again() {
            Some(before) => (before.asked, before.id),
            None => (self.question(), self.world.fresh_id(now_ns)),
        };
        self.record(now_ns, thread, What::Asked(asked.clone()));
        let one_in = self.shape.unknown_one_in;
        let is_unknown = one_in > 0 && self.rng.random_range(0..one_in) == 0;
        let call = self.calls.len();
        self.calls.push(CallUnderWay {
            thread,
            tells: asked.f().is_change() && self.rng.random(),
            asked,
            id,
            answer: None,
            is_unknown,
        });
        let effect_ns = self.soon(now_ns, 2_000);
        let answer_ns = if is_unknown {
            self.soon(now_ns, 3_000)
        } else {
            self.soon(effect_ns, 2_000)
        };
        // What is unknown takes effect before, after, much later, or never.
        match is_unknown.then(|| self.rng.random_range(0..4)) {
            Some(0) => {}
            Some(1) => {
                let late_ns = self.soon(now_ns, 40_000);
                self.plan(late_ns, Next::TakeEffect { call });
            }
            _ => self.plan(effect_ns, Next::TakeEffect { call }),
        }
        self.plan(answer_ns, Next::Answer { call });
    }

    /// A change of before, now and then, to be sent once more under its id.
    fn again(&mut self) -> Option<CallUnderWay> {
        if self.calls.is_empty() || self.rng.random_range(0..12) > 0 {
            return None;
        }
        let before = &self.calls[self.rng.random_range(0..self.calls.len())];
        let is_known = before.tells || !before.is_unknown;
        (is_known && before.asked.f().is_change()).then(|| before.clone())
    }

    fn answer(&mut self, now_ns: u64, call: usize) {
        let CallUnderWay {
            thread,
            asked,
            id,
            tells,
            answer,
            is_unknown,
        } = &self.calls[call];
        let (thread, f) = (*thread, asked.f());
        let what = match answer {
            Some(answer) if !is_unknown => What::Answered {
                f,
                answer: answer.clone(),
            },
            _ => unknown(f, tells.then(|| id.to_string())),
        };
        self.record(now_ns, thread, what.clone());
        if matches!(what, What::Unknown(_)) {
            *self.process.get_mut(&thread).unwrap() += self.shape.threads;
        }
        let next_ns = self.soon(now_ns, 1_500);
        self.plan(next_ns, Next::Ask { thread });
    }

    fn record(&mut self, now_ns: u64, thread: u64, what: What) {
        self.history.events.push(Event {
            index: u64::try_from(self.history.events.len()).unwrap(),
            time_ns: now_ns,
            process: Process::Client(self.process[&thread]),
            node: Some(thread % 3 + 1),
            what,
        });
    }

    fn question(&mut self) -> Asked {
        let key = self.any_key();
        let output = output(["a", "b", "c"][self.rng.random_range(0..3)]);
        match self.rng.random_range(0..20) {
            0..=8 => Asked::Get { key },
            9..=14 => Asked::Set {
                key,
                output,
                ttl_ms: [8, 60_000][self.rng.random_range(0..2)],
            },
            15..=16 => Asked::Revoke { key, output },
            17..=18 => Asked::Reinstate { key, output },
            _ => {
                let successor = self.any_key();
                if successor == key {
                    Asked::Get { key }
                } else {
                    Asked::Supersede { key, successor }
                }
            }
        }
    }

    fn any_key(&mut self) -> String {
        let at = self.rng.random_range(0..self.keys.len());
        self.keys[at].clone()
    }
}

fn unknown(f: F, request: Option<String>) -> What {
    What::Unknown(Trouble {
        f,
        error: "OUTCOME_UNKNOWN".to_owned(),
        request,
    })
}
