//! The run did what it was planned to do: a run in which nothing could go wrong shows nothing.

use std::collections::BTreeMap;

use super::faults::Lasting;
use super::{Judgement, Notes, Run};
use crate::history::{F, What};

/// As named in results.
pub(super) const NAME: &str = "coverage";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let (demands, mut ok, mut by_f) = (&run.plan.demands, 0, BTreeMap::<F, u64>::new());
    for operation in run.all().iter().filter(|one| one.answer().is_some()) {
        notes.saw();
        ok += 1;
        *by_f.entry(operation.asked.f()).or_default() += 1;
    }
    let mut want = |what: &str, want: u64, got: u64| {
        notes.demand(got >= want, || {
            format!("{got} answers {what}, planned were {want}")
        });
    };
    want("in all", demands.ok, ok);
    for f in F::ALL {
        let got = by_f.get(&f).copied().unwrap_or_default();
        want(&format!("to `{}`", f.as_str()), demands.of(f), got);
    }
    let during = during(run);
    for (fault, least) in &demands.ok_during {
        let got = during.get(&Some(fault.as_str()));
        let got = got.map(|by_f| by_f.values().sum::<u64>());
        match got {
            None => notes.violated(format!("fault `{fault}` never happened")),
            Some(got) => notes.demand(got >= *least, || {
                format!("{got} answers during `{fault}`, planned were {least}")
            }),
        }
    }
    if demands.ok == 0 {
        notes.doubted("the plan demands nothing".to_owned());
    }
    let unknown = |name: &&String| !F::ALL.iter().any(|f| f.as_str() == **name);
    if let Some(name) = demands.ok_of.keys().find(unknown) {
        notes.doubted(format!("the plan demands `{name}`, which is no operation"));
    }
    notes.close(NAME, "answers")
}

/// Answers to what was asked while each fault lasted, by operation; `None`: while none did.
pub(super) fn during(run: &Run) -> BTreeMap<Option<&str>, BTreeMap<F, u64>> {
    let mut lasting = Lasting::default();
    let mut answers: BTreeMap<Option<&str>, BTreeMap<F, u64>> = BTreeMap::new();
    let answered = run.all().iter().filter(|one| one.answer().is_some());
    let answered: BTreeMap<u64, F> = answered.map(|one| (one.index, one.asked.f())).collect();
    for event in &run.history.events {
        if let What::Fault(fault) = &event.what {
            lasting.take(fault);
            answers.entry(Some(&fault.name)).or_default();
        } else if let Some(f) = answered.get(&event.index) {
            let mut names: Vec<Option<&str>> = lasting.names().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            for name in names {
                *answers.entry(name).or_default().entry(*f).or_default() += 1;
            }
        }
    }
    answers
}
