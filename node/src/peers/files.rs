//! What a node hands out of its files to its peers, and how a peer asks for it.
//!
//! Entries go by range, notes by size, values by hash. Offsets, tree and state never travel: whoever
//! receives entries computes them. Each page comes with the path that shows how the tree it ends
//! grows into a later one, so that a receiver who knows a signed root knows at once, page by page,
//! which of its sources told the truth.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::NodeHash;
use candor_proto::raft_v1::{
    FetchCheckpointRequest, FetchCheckpointResponse, FetchEntriesRequest, FetchEntriesResponse,
    FetchValuesRequest, FetchValuesResponse, FetchedValue, ListCheckpointsRequest,
    ListCheckpointsResponse, ValueName,
};
use tonic::Status;

use super::Peers;
use super::client::Lane;
use crate::env::{Disk, Env};
use crate::store::{LedgerReader, StoreError};

/// Longest wait for one answer: a peer that stalls is left for another.
pub const ASK_MAX: Duration = Duration::from_secs(10);
/// Bytes of entries in one page, unless a single entry is longer: 10 ms of a disk that reads 100 MB/s,
/// and little enough to send again after a source turned out to be wrong.
pub const PAGE_BYTES: u64 = 1 << 20;
/// Bytes of values in one answer, unless a single one is longer.
const VALUE_BYTES: usize = 8 << 20;
/// Values that one question may name.
pub const VALUES_MAX: usize = 1_024;
/// Sizes in one answer.
pub const SIZES_MAX: usize = 65_536;

/// Entries as a peer sent them; nothing of it has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries, each without its LF.
    pub entries: Vec<Bytes>,
    /// Consistency path from the tree that ends with them to the one asked for.
    pub path: Vec<NodeHash>,
}

/// The name of a value: whose, and its SHA3-256.
pub type ValueKey = (String, [u8; 32]);

/// A question about the files of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its number.
    pub node: u64,
    /// Where it listens for peers; as the membership has it when `None`.
    pub address: Option<&'a str>,
}

impl<E: Env> Peers<E> {
    /// A page of entries from the front of `range`, with its path to the tree of `proof` entries.
    ///
    /// # Errors
    /// The peer's status: `OUT_OF_RANGE` when its ledger is shorter, `DATA_LOSS` when its files are
    /// damaged there.
    pub async fn entries(
        &self,
        from: Source<'_>,
        range: Range<Seq>,
        proof: TreeSize,
        timeout: Duration,
    ) -> Result<Page, Status> {
        let asked = FetchEntriesRequest {
            from: range.start.0,
            until: range.end.0,
            proof_size: proof.0,
            ..FetchEntriesRequest::default()
        };
        let reply = self
            .ask(
                from.node,
                from.address,
                Lane::Bulk,
                timeout,
                |mut client, session| {
                    let request = FetchEntriesRequest {
                        session,
                        ..asked.clone()
                    };
                    async move { client.fetch_entries(request).await }
                },
            )
            .await?;
        parse_page(&reply)
    }

    /// The signed note of a size; `None` when the peer does not keep it.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn note(
        &self,
        from: Source<'_>,
        size: TreeSize,
        timeout: Duration,
    ) -> Result<Option<String>, Status> {
        let reply = self
            .ask(
                from.node,
                from.address,
                Lane::Bulk,
                timeout,
                |mut client, session| async move {
                    let size = size.0;
                    client
                        .fetch_checkpoint(FetchCheckpointRequest { session, size })
                        .await
                },
            )
            .await?;
        Ok(reply.note)
    }

    /// The sizes above `after` that the peer keeps, ascending, at most [`SIZES_MAX`].
    ///
    /// # Errors
    /// The peer's status.
    pub async fn kept_sizes(
        &self,
        from: Source<'_>,
        after: TreeSize,
        timeout: Duration,
    ) -> Result<Vec<TreeSize>, Status> {
        let reply = self
            .ask(
                from.node,
                from.address,
                Lane::Bulk,
                timeout,
                |mut client, session| async move {
                    let after = after.0;
                    client
                        .list_checkpoints(ListCheckpointsRequest { session, after })
                        .await
                },
            )
            .await?;
        Ok(reply.sizes.into_iter().map(TreeSize).collect())
    }

    /// Values by name, as many from the front as fit a message; `None` for one that is not there.
    /// Whoever receives one hashes it.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn values(
        &self,
        from: Source<'_>,
        names: &[ValueKey],
        timeout: Duration,
    ) -> Result<Vec<Option<Bytes>>, Status> {
        let name = |(tenant, hash): &ValueKey| ValueName {
            tenant: tenant.clone(),
            hash: Bytes::copy_from_slice(hash),
        };
        let names: Vec<ValueName> = names.iter().take(VALUES_MAX).map(name).collect();
        let reply = self
            .ask(
                from.node,
                from.address,
                Lane::Bulk,
                timeout,
                |mut client, session| {
                    let names = names.clone();
                    async move {
                        client
                            .fetch_values(FetchValuesRequest { session, names })
                            .await
                    }
                },
            )
            .await?;
        Ok(reply.values.into_iter().map(|found| found.value).collect())
    }
}

/// Answers for a page of entries.
pub(super) fn entries<D: Disk>(
    reader: &LedgerReader<D>,
    request: &FetchEntriesRequest,
) -> Result<FetchEntriesResponse, Status> {
    let range = Seq(request.from)..Seq(request.until.max(request.from));
    let found = reader.entries(range, PAGE_BYTES).map_err(refused)?;
    let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let end = TreeSize(request.from.saturating_add(count));
    let mut path = Vec::new();
    if request.proof_size > 0 && end.0 > 0 {
        let nodes = reader.consistency(end, TreeSize(request.proof_size));
        let nodes = nodes.map_err(refused)?;
        path.extend(nodes.iter().map(|node| Bytes::copy_from_slice(&node.0)));
    }
    let mut lines = Vec::with_capacity(found.iter().map(|entry| entry.len() + 1).sum());
    for entry in found {
        lines.extend_from_slice(&entry);
        lines.push(b'\n');
    }
    let lines = lines.into();
    Ok(FetchEntriesResponse { lines, path })
}

/// Answers for a note.
pub(super) fn note<D: Disk>(
    reader: &LedgerReader<D>,
    size: u64,
) -> Result<FetchCheckpointResponse, Status> {
    let note = reader.checkpoint(TreeSize(size)).map_err(refused)?;
    Ok(FetchCheckpointResponse { note })
}

/// Answers which notes there are.
pub(super) fn sizes<D: Disk>(reader: &LedgerReader<D>, after: u64) -> ListCheckpointsResponse {
    let kept = reader.checkpoints().into_iter().map(|size| size.0);
    let sizes = kept.filter(|size| *size > after).take(SIZES_MAX).collect();
    ListCheckpointsResponse { sizes }
}

/// Answers for values.
pub(super) fn values<D: Disk>(
    reader: &LedgerReader<D>,
    request: &FetchValuesRequest,
) -> Result<FetchValuesResponse, Status> {
    let mut values = Vec::new();
    let mut bytes = 0_usize;
    for name in request.names.iter().take(VALUES_MAX) {
        let hash = <[u8; 32]>::try_from(&name.hash[..])
            .map_err(|_| Status::invalid_argument("a hash is 32 bytes"))?;
        // One that is damaged here is not here: the asker goes elsewhere.
        let value = reader.value(&name.tenant, &hash).unwrap_or_default();
        let len = value.as_ref().map_or(0, Vec::len);
        if !values.is_empty() && bytes.saturating_add(len) > VALUE_BYTES {
            break;
        }
        bytes = bytes.saturating_add(len);
        let value = value.map(Bytes::from);
        values.push(FetchedValue { value });
    }
    Ok(FetchValuesResponse { values })
}

fn refused(problem: StoreError) -> Status {
    match problem {
        StoreError::Beyond { .. } => Status::out_of_range(problem.to_string()),
        StoreError::Damaged { .. } => Status::data_loss(problem.to_string()),
        StoreError::NoPath { .. } => Status::invalid_argument(problem.to_string()),
        other => Status::internal(other.to_string()),
    }
}

fn parse_page(reply: &FetchEntriesResponse) -> Result<Page, Status> {
    let malformed = || Status::data_loss("a malformed page of entries");
    let mut entries = Vec::new();
    let mut at = 0;
    for line in reply.lines.split_inclusive(|byte| *byte == b'\n') {
        let entry = line.strip_suffix(b"\n").ok_or_else(malformed)?;
        entries.push(reply.lines.slice(at..at + entry.len()));
        at += line.len();
    }
    let hash = |bytes: &Bytes| <[u8; 32]>::try_from(&bytes[..]).map(NodeHash);
    let path: Result<Vec<NodeHash>, _> = reply.path.iter().map(hash).collect();
    let path = path.map_err(|_| malformed())?;
    Ok(Page { entries, path })
}
