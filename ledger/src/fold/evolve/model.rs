//! Entries about models and decisions.

use super::Step;
use crate::entry::{Attestation, Body, ModelSupersede};
use crate::fold::error::{FoldError, Rule};
use crate::fold::operation::attestation_holds;
use crate::fold::outcome::Answer;
use crate::fold::rules::refuse_model_supersede;
use crate::fold::state::{Cascade, Changes, Key, ModelSuperseded, Prefix, Record, StateView};

impl<V: StateView> Step<'_, V> {
    /// An entry whose subject is no fingerprint.
    pub(super) fn change_other(&self, changes: &mut Changes) -> Result<Answer, FoldError> {
        match &self.entry.body {
            Body::ModelSupersede(body) => self.model_supersede(body, changes),
            Body::Refused(refused) => self.refused_other(refused),
            Body::Verify(attestation) => self.attested(attestation),
            _ => Err(self.broken(Rule::Subject, "a fingerprint", &self.entry.subject)),
        }
    }

    /// Lookups heed it from here on; what has to follow stands in the index by model.
    fn model_supersede(
        &self,
        body: &ModelSupersede,
        changes: &mut Changes,
    ) -> Result<Answer, FoldError> {
        let tenant = &self.entry.tenant;
        let refusal = refuse_model_supersede(self.view, tenant, &body.from, &body.to)?;
        self.refuse_none(refusal)?;
        let (tenant, model) = (tenant.clone(), body.from.clone());
        let following = self.view.next(&Prefix::by_model(&tenant, &model), None)?;
        if following.is_some() {
            let cause = self.entry.seq;
            let cascade = Cascade {
                tenant: tenant.clone(),
                model: model.clone(),
            };
            changes.put(Key::Cascade { cause }, Record::Cascade(cascade));
        }
        let superseded = ModelSuperseded {
            seq: self.entry.seq,
            to: body.to.clone(),
        };
        let key = Key::ModelSuperseded { tenant, model };
        changes.put(key, Record::ModelSuperseded(superseded));
        Ok(Answer::ModelSuperseded)
    }

    /// The root cannot be checked here: the fold holds no tree.
    pub(super) fn attested(&self, attestation: &Attestation) -> Result<Answer, FoldError> {
        let (size, seq) = (attestation.size.0, self.entry.seq.0);
        if size > seq {
            let expected = format!("a size of at most `{seq}`");
            return Err(self.broken(Rule::Refusal, expected, size));
        }
        let (tenant, subject) = (&self.entry.tenant, &self.entry.subject);
        if attestation_holds(attestation, &self.log.origin, tenant, subject) {
            Ok(Answer::Attested)
        } else {
            let expected = "a signature that verifies under `auditor`";
            Err(self.broken(Rule::Signature, expected, "one that does not"))
        }
    }
}
