//! Is there an order? Wing and Gong's search with Lowe's memory.
//!
//! Calls and returns lie in one list by time. The search takes the first call that the model allows, lifts
//! it and its return out of the list, and starts again at the front; where it meets a return, the call
//! it belongs to should have come before, so it takes back its last choice. A set of what was lifted,
//! together with the state it led to, is tried once only.
//!
//! J. Wing, C. Gong: Testing and verifying concurrent objects (1993). G. Lowe: Testing for linearizability
//! (2017). A. Horn, D. Kroening: Faster linearizability checking via P-compositionality (2015).
#![expect(
    clippy::indexing_slicing,
    reason = "all positions are those of lists made here, and every step of the search has several"
)]

use std::collections::{BTreeMap, BTreeSet};

/// One call, for the search.
#[derive(Clone, Debug)]
pub struct Call<O> {
    /// What the model steps with.
    pub op: O,
    /// When it began.
    pub invoked: u64,
    /// When it was answered. `None`: it may take effect at any time from its beginning on, or never.
    pub completed: Option<u64>,
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search<S> {
    /// The budget was spent before there was an answer.
    Exhausted,
    /// There is an order; this is one, as positions of calls.
    Linearizable(Vec<usize>),
    /// There is none.
    Violated(Stuck<S>),
}

/// The farthest that any order came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck<S> {
    /// The calls that could be placed, in their order.
    pub placed: Vec<usize>,
    /// The state behind them.
    pub state: S,
}

/// Looks for an order of the calls in which `step` allows each, and none comes before one that was answered
/// before it began. A call that was not answered may be left out.
///
/// Cost: at most `budget` pairs of a set of calls and a state, each kept; of the states, which are few and
/// large, one copy.
pub fn search<O, S: Clone + Ord>(
    calls: &[Call<O>],
    init: S,
    step: impl Fn(&S, &O) -> Option<S>,
    budget: usize,
) -> Search<S> {
    let mut list = List::new(calls);
    let mut states: BTreeMap<S, usize> = BTreeMap::new();
    let mut tried: BTreeSet<(Bits, usize)> = BTreeSet::new();
    let mut placed = Bits::new(calls.len());
    let mut order: Vec<(usize, S)> = Vec::new();
    let mut state = init.clone();
    let mut left = calls.iter().filter(|call| call.completed.is_some()).count();
    let mut farthest = Stuck {
        placed: Vec::new(),
        state: init,
    };
    let mut at = list.first();
    while left > 0 {
        if let Some(Point::Call(call)) = list.point(at) {
            if let Some(next) = step(&state, &calls[call].op) {
                placed.insert(call);
                let unused = states.len();
                let number = *states.entry(next.clone()).or_insert(unused);
                if tried.insert((placed.clone(), number)) {
                    if tried.len() > budget {
                        return Search::Exhausted;
                    }
                    left -= usize::from(calls[call].completed.is_some());
                    order.push((call, std::mem::replace(&mut state, next)));
                    list.lift(call);
                    at = list.first();
                    continue;
                }
                placed.remove(call);
            }
            at = list.after(at);
            continue;
        }
        // A return, or the end: what was placed last was placed wrongly.
        if order.len() > farthest.placed.len() {
            farthest.placed = order.iter().map(|(call, _)| *call).collect();
            farthest.state = state.clone();
        }
        let Some((call, before)) = order.pop() else {
            return Search::Violated(farthest);
        };
        left += usize::from(calls[call].completed.is_some());
        state = before;
        placed.remove(call);
        list.put_back(call);
        at = list.after(list.call_at[call]);
    }
    Search::Linearizable(order.into_iter().map(|(call, _)| call).collect())
}

/// A set of calls.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn insert(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn remove(&mut self, at: usize) {
        self.0[at / 64] &= !(1 << (at % 64));
    }
}

#[derive(Clone, Copy)]
enum Point {
    Call(usize),
    Return,
}

/// Calls and returns by time, linked both ways. Position 0 is before all, the last one behind all.
struct List {
    points: Vec<Point>,
    next: Vec<usize>,
    prev: Vec<usize>,
    /// Where each call lies, and its return.
    call_at: Vec<usize>,
    return_at: Vec<usize>,
}

impl List {
    fn new<O>(calls: &[Call<O>]) -> Self {
        // Of one instant, calls come first: then they are concurrent with what returns there.
        let mut all: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (at, call) in calls.iter().enumerate() {
            all.push((call.invoked, false, at));
            all.push((call.completed.unwrap_or(u64::MAX), true, at));
        }
        all.sort_unstable();
        let len = all.len();
        let mut list = Self {
            points: vec![Point::Return; len + 2],
            next: (1..=len + 2).collect(),
            prev: (0..len + 2).map(|at| at.saturating_sub(1)).collect(),
            call_at: vec![0; calls.len()],
            return_at: vec![0; calls.len()],
        };
        for (at, (_, is_return, call)) in (1..).zip(all) {
            if is_return {
                list.return_at[call] = at;
            } else {
                list.points[at] = Point::Call(call);
                list.call_at[call] = at;
            }
        }
        list
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn after(&self, at: usize) -> usize {
        self.next[at]
    }

    /// `None` behind the end.
    fn point(&self, at: usize) -> Option<Point> {
        (at + 1 < self.points.len()).then(|| self.points[at])
    }

    fn lift(&mut self, call: usize) {
        for at in [self.call_at[call], self.return_at[call]] {
            let (prev, next) = (self.prev[at], self.next[at]);
            self.next[prev] = next;
            self.prev[next] = prev;
        }
    }

    /// Only the call that was lifted last.
    fn put_back(&mut self, call: usize) {
        for at in [self.return_at[call], self.call_at[call]] {
            let (prev, next) = (self.prev[at], self.next[at]);
            self.next[prev] = at;
            self.prev[next] = at;
        }
    }
}
