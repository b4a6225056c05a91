//! The entry that a request made.

use candor_ledger::entry::{Entry, Subject};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::planted;
use candor_ledger::tree::NodeHash;
use candor_proto::audit_v1::{Acknowledgement, Recorded};

use super::proof::{Shown, shown_entry, unsealed_entry};
use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};

/// What a request asks, as far as every entry repeats it.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) subject: &'a Subject,
    pub(crate) request_id: RequestId,
}

/// A request's entry that answers the question; sealed when it has a path.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) entry: Entry,
    pub(crate) line: Vec<u8>,
    pub(crate) replayed: bool,
    /// There when the entry is proved to lie under the reply's checkpoint.
    pub(crate) path: Option<Vec<NodeHash>>,
}

/// Checks the entry of a reply against the question.
pub(crate) fn own_entry(
    asked: &Asked<'_>,
    recorded: Option<&Recorded>,
    under: Option<&VerifiedCheckpoint>,
) -> Result<Own, Doubt> {
    let recorded = recorded.ok_or(Unproven::Missing("the entry that the request made"))?;
    let proof = recorded
        .proof
        .as_ref()
        .ok_or(Unproven::Missing("the entry's bytes"))?;
    let shown = Shown::of(proof)?;
    let entry = match (shown.is_unsealed(), under) {
        (true, _) => unsealed_entry(&shown)?,
        (false, Some(under)) => shown_entry(&shown, under)?,
        (false, None) => return Err(Unproven::Missing("the checkpoint of the entry").into()),
    };
    compare(asked, recorded, &entry)?;
    let says_sealed = recorded.acknowledgement() == Acknowledgement::Sealed;
    if says_sealed == shown.is_unsealed() {
        let said = recorded.acknowledgement().as_str_name();
        return Err(Unproven::differs("the acknowledgement", "that of the proof", said).into());
    }
    Ok(Own {
        path: (!shown.is_unsealed()).then_some(shown.path),
        line: shown.line.to_vec(),
        replayed: recorded.replayed,
        entry,
    })
}

fn compare(asked: &Asked<'_>, recorded: &Recorded, entry: &Entry) -> Result<(), Unproven> {
    same("the entry's seq", Seq(recorded.seq), entry.seq)?;
    if planted!("answer-unbound") {
        return Ok(());
    }
    same("the entry's tenant", asked.tenant, &entry.tenant)?;
    same("the entry's subject", asked.subject, &entry.subject)?;
    let got = entry
        .request_id
        .map(|id| id.to_string())
        .unwrap_or_default();
    same("the entry's request id", asked.request_id.to_string(), got)
}

/// Both sides say one thing.
#[expect(clippy::needless_pass_by_value, reason = "takes what callers have")]
pub(crate) fn same<T: ToString, U: ToString>(
    what: &'static str,
    want: T,
    got: U,
) -> Result<(), Unproven> {
    let (want, got) = (want.to_string(), got.to_string());
    if want == got {
        Ok(())
    } else {
        Err(Unproven::Differs { what, want, got })
    }
}
