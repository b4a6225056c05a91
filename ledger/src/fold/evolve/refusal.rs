//! Refusals must be right: what the state allows may not be refused.

use super::Step;
use crate::entry::{Op, Refusal, Refused, State, Subject};
use crate::fingerprint::{Fingerprint, Pattern};
use crate::fold::error::{FoldError, Rule};
use crate::fold::outcome::Answer;
use crate::fold::rules::{
    Effective, SetVerdict, judge_reinstate, judge_revoke, judge_set, judge_supersede, refuse_model,
    refuse_model_supersede,
};
use crate::fold::state::{ResultRecord, StateView, get_model_superseded};

impl<V: StateView> Step<'_, V> {
    /// Nothing stands against what was done.
    pub(super) fn refuse_none(&self, refusal: Option<Refusal>) -> Result<(), FoldError> {
        match refusal {
            None => Ok(()),
            Some(refusal) => {
                let expected = format!("`cache.refused` for `{refusal}`");
                Err(self.broken(Rule::Refusal, expected, self.entry.op()))
            }
        }
    }

    /// A refusal about a fingerprint: what the rules say to the same question, as far as the entry
    /// repeats it.
    pub(super) fn refused_result(
        &self,
        fingerprint: Fingerprint,
        record: &ResultRecord,
        effective: &Effective,
        refused: &Refused,
    ) -> Result<Answer, FoldError> {
        self.require(Rule::State, &effective.state(), &refused.state)?;
        let (view, tenant) = (self.view, self.entry.tenant.as_str());
        let found = &refused.refusal;
        let output_hash = output_of(found);
        let expected = match refused.asked {
            Op::CacheReinstate => {
                judge_reinstate(view, tenant, record, effective, output_hash)?.err()
            }
            Op::CacheRevoke => judge_revoke(effective, output_hash).err(),
            Op::CacheSupersede => {
                let successor = successor_of(found);
                judge_supersede(view, tenant, fingerprint, effective, successor)?.err()
            }
            Op::CacheVerify => self.size_ahead(found),
            Op::CacheWrite => self.refused_write(record, effective, found)?,
            _ => None,
        };
        self.require_refusal(expected, refused)
    }

    /// A refusal about a model or decision.
    pub(super) fn refused_other(&self, refused: &Refused) -> Result<Answer, FoldError> {
        let (view, tenant) = (self.view, self.entry.tenant.as_str());
        let Subject::Model(model) = &self.entry.subject else {
            self.require(Rule::State, &State::Active, &refused.state)?;
            return self.require_refusal(self.size_ahead(&refused.refusal), refused);
        };
        let superseded = get_model_superseded(view, tenant, model)?.is_some();
        let state = if superseded {
            State::Superseded
        } else {
            State::Active
        };
        self.require(Rule::State, &state, &refused.state)?;
        let expected = match (refused.asked, &refused.refusal) {
            (Op::CacheVerify, found) => self.size_ahead(found),
            (
                Op::ModelSupersede,
                Refusal::SuccessorCircular {
                    successor: Subject::Model(to),
                }
                | Refusal::SuccessorChainTooLong {
                    successor: Subject::Model(to),
                },
            ) => refuse_model_supersede(view, tenant, model, to)?,
            // That the model gave way already is found before its named successor is looked at.
            (Op::ModelSupersede, _) if superseded => {
                refuse_model_supersede(view, tenant, model, model)?
            }
            _ => None,
        };
        self.require_refusal(expected, refused)
    }

    /// What the fields said is not repeated, but for what the refusal rests on.
    fn refused_write(
        &self,
        record: &ResultRecord,
        effective: &Effective,
        found: &Refusal,
    ) -> Result<Option<Refusal>, FoldError> {
        match found {
            Refusal::ModelVersionMismatch {
                model_version,
                observed_model_version,
            } => Ok((model_version != observed_model_version).then(|| found.clone())),
            Refusal::ModelSuperseded {
                model: Subject::Model(model),
                ..
            } => {
                if record.kind.is_some() && record.model() != Some(model) {
                    return Ok(None);
                }
                Ok(refuse_model(self.view, &self.entry.tenant, Some(model))?)
            }
            _ => {
                let gone = refuse_model(self.view, &self.entry.tenant, record.model())?;
                if gone.is_some() {
                    return Ok(gone);
                }
                let pattern = record.pattern().unwrap_or(Pattern::Exact);
                match judge_set(record, effective, pattern, output_of(found)) {
                    SetVerdict::Refuse(refusal) => Ok(Some(refusal)),
                    _ => Ok(None),
                }
            }
        }
    }

    fn size_ahead(&self, found: &Refusal) -> Option<Refusal> {
        match found {
            Refusal::SizeAhead { size } if size.0 > self.entry.seq.0 => Some(found.clone()),
            _ => None,
        }
    }

    fn require_refusal(
        &self,
        expected: Option<Refusal>,
        refused: &Refused,
    ) -> Result<Answer, FoldError> {
        if expected.as_ref() == Some(&refused.refusal) {
            return Ok(Answer::Refused {
                state: refused.state,
                refusal: refused.refusal.clone(),
            });
        }
        let asked = refused.asked;
        let expected = match expected {
            None => format!("`{asked}` not to be refused so"),
            Some(refusal) => format!("`{asked}` to be refused for `{}`", refusal.to_text()),
        };
        let found = format!("refused for `{}`", refused.refusal.to_text());
        Err(self.broken(Rule::Refusal, expected, found))
    }
}

/// The output that the refusal names; where it names none, no rule before it looked at one.
fn output_of(refusal: &Refusal) -> [u8; 32] {
    match refusal {
        Refusal::NotRevoked { output_hash }
        | Refusal::OutputMismatch { output_hash }
        | Refusal::OutputRevoked { output_hash }
        | Refusal::VersionActive { output_hash } => *output_hash,
        _ => [0; 32],
    }
}

/// The successor that the refusal names; where it names none, no rule before it looked at one.
fn successor_of(refusal: &Refusal) -> Fingerprint {
    match refusal.successor() {
        Some(Subject::Fingerprint(successor)) => successor,
        _ => Fingerprint([0; 32]),
    }
}
