//! Ranges of the whole ledger, page by page, each proved when it arrives.

use std::sync::Arc;

use bytes::Bytes;
use candor_ledger::entry::Entry;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_ledger::tree::{Frontier, NodeHash, leaf_hash, verify_consistency};
use candor_proto::audit_v1 as wire;
use candor_proto::audit_v1::get_receipt_request::Entry as Wanted;
use candor_proto::audit_v1::range_item::Item;

use crate::audit::one_entry;
use crate::checkpoint::VerifiedCheckpoint;
use crate::client::{Client, Inner};
use crate::endpoint::Line;
use crate::error::{Doubt, Error, Unproven};
use crate::recorded::Recorded;
use crate::verify::own::same;
use crate::verify::proof::hashes;

/// Positions that are looked at for the time of one entry: there is a seal among so many, unless the
/// groups are large.
const PROBE: u32 = 32;

/// One position of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeItem {
    /// The entry's bytes, without LF.
    Entry(Bytes),
    /// The leaf hash of an entry that this principal may not read.
    Hidden(NodeHash),
}

/// A range that is being read. What it returned is proved to be what the checkpoint commits to at
/// these positions; what the entries say of each other is not checked here.
#[derive(Debug)]
pub struct RangeReader<'a> {
    client: &'a Client,
    under: Arc<VerifiedCheckpoint>,
    first: Seq,
    end: TreeSize,
    /// The tree before `first`, once a page has proved it.
    before: Option<Frontier>,
    /// The tree up to where the reader is.
    now: Option<Frontier>,
    path: Vec<NodeHash>,
}

/// Where a moment lies among the entries that this principal may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// The last one before it.
    pub before: Option<Seq>,
    /// The first one from it on.
    pub from: Option<Seq>,
}

impl Client {
    /// Reads the entries from `from` to `to`, itself included, under a checkpoint that this client has
    /// verified. It takes the right `audit`, which shows the tenant's own entries and the log's and of
    /// the others the leaf hashes; or `audit-all`, which shows all.
    ///
    /// # Errors
    /// [`Error::Field`] when the checkpoint does not cover the range.
    pub fn range(
        &self,
        from: Seq,
        to: Seq,
        under: Arc<VerifiedCheckpoint>,
    ) -> Result<RangeReader<'_>, Error> {
        let end = to
            .size_including()
            .filter(|_| from <= to && under.size().covers(to));
        let Some(end) = end else {
            let field = "range";
            let size = under.size();
            let problem =
                format!("from {from} to {to} is none of the {size} entries that are sealed");
            return Err(candor_ledger::fingerprint::FieldError { field, problem }.into());
        };
        Ok(RangeReader {
            client: self,
            under,
            first: from,
            end,
            before: None,
            now: None,
            path: Vec::new(),
        })
    }

    /// Finds by halving the entries around the first one of which `is_late` is true; time never goes
    /// back from entry to entry. Entries that are hidden from this principal have no time here.
    ///
    /// # Errors
    /// As [`RangeReader::page`].
    pub async fn locate(
        &self,
        under: &Arc<VerifiedCheckpoint>,
        is_late: impl Fn(Micros) -> bool + Send,
    ) -> Result<Located, Error> {
        let (mut low, mut high) = (0, under.size().0);
        let mut located = Located::default();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_shown(middle, high, under).await? {
                Some((seq, time)) if !is_late(time) => {
                    located.before = Some(seq);
                    low = seq.0 + 1;
                }
                found => {
                    located.from = found.map(|(seq, _)| seq).or(located.from);
                    high = middle;
                }
            }
        }
        Ok(located)
    }

    /// One entry with its proof under this very checkpoint.
    ///
    /// # Errors
    /// [`Error::Unproven`] when the log does not keep it any more; see [`Error`].
    pub async fn receipt_under(
        &self,
        seq: Seq,
        under: &Arc<VerifiedCheckpoint>,
    ) -> Result<Recorded, Error> {
        let inner = &*self.inner;
        let known = |mut line: Line| {
            line.known = Some(Arc::clone(under));
            line
        };
        let send = |line: Line, _| {
            let line = known(line);
            let request = line.request(wire::GetReceiptRequest {
                entry: Some(Wanted::Seq(seq.0)),
                known_size: line.known_size(),
            });
            async move { line.audit().get_receipt(request).await }
        };
        let judge = |line: Line, _, reply: wire::GetReceiptResponse| async move {
            let shown = inner
                .establish(&known(line), reply.checkpoint.as_ref())
                .await?;
            let recorded = one_entry(reply.proof.as_ref(), shown)?;
            let sealed = recorded.sealed.as_ref();
            let size = sealed.map_or(TreeSize(0), |sealed| sealed.checkpoint.size());
            same("the entry's seq", seq, recorded.seq())?;
            same("the checkpoint's size", under.size(), size)?;
            Ok(recorded)
        };
        inner.read(None, send, judge).await
    }

    /// The first entry in `start..end` that this principal may read, and its time.
    async fn first_shown(
        &self,
        start: u64,
        end: u64,
        under: &Arc<VerifiedCheckpoint>,
    ) -> Result<Option<(Seq, Micros)>, Error> {
        let mut range = self.range(Seq(start), Seq(end - 1), Arc::clone(under))?;
        while let Some(page) = range.page_of(PROBE).await? {
            for item in page {
                if let RangeItem::Entry(line) = item {
                    let entry = Entry::parse(&line).map_err(|problem| Error::Unproven {
                        endpoint: "the range".to_owned(),
                        problem: Unproven::Entry {
                            index: Seq(start),
                            problem: problem.to_string(),
                        },
                    })?;
                    return Ok(Some((entry.seq, entry.time)));
                }
            }
        }
        Ok(None)
    }
}

impl RangeReader<'_> {
    /// The next page, proved; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Unproven`] when no endpoint proves its page; [`Error::Rejected`] with
    /// `PERMISSION_DENIED` without the right; and see [`Error`].
    pub async fn page(&mut self) -> Result<Option<Vec<RangeItem>>, Error> {
        self.page_of(0).await
    }

    /// The tree before the range: the roots of its complete subtrees, the largest first. Known after
    /// the first page.
    pub fn frontier(&self) -> &[NodeHash] {
        self.before.as_ref().map_or(&[], Frontier::nodes)
    }

    /// The consistency path from the end of the range to the checkpoint. Known after the last page.
    pub fn path(&self) -> &[NodeHash] {
        &self.path
    }

    async fn page_of(&mut self, page_size: u32) -> Result<Option<Vec<RangeItem>>, Error> {
        let start = self.now.as_ref().map_or(self.first.0, |now| now.size().0);
        if start == self.end.0 {
            return Ok(None);
        }
        let inner = &*self.client.inner;
        let (end, under, now) = (self.end, &self.under, &self.now);
        let message = wire::ListRangeRequest {
            start,
            end: end.0,
            size: under.size().0,
            page_size,
        };
        let send = |line: Line, _| {
            let request = line.request(message);
            async move { line.audit().list_range(request).await }
        };
        let judge = |_, _, reply: wire::ListRangeResponse| async move {
            Page::prove(&reply, (start, end), now.as_ref(), under)
        };
        let page = Inner::read(inner, None, send, judge).await?;
        self.before.get_or_insert(page.before);
        self.now = Some(page.after);
        self.path = page.path;
        Ok(Some(page.items))
    }
}

struct Page {
    items: Vec<RangeItem>,
    before: Frontier,
    after: Frontier,
    path: Vec<NodeHash>,
}

impl Page {
    /// Frontier and items give a root, and the path ties it to the one that was signed.
    fn prove(
        reply: &wire::ListRangeResponse,
        (start, end): (u64, TreeSize),
        now: Option<&Frontier>,
        under: &VerifiedCheckpoint,
    ) -> Result<Self, Doubt> {
        let before = match now {
            Some(now) => now.clone(),
            None => Frontier::from_nodes(TreeSize(start), hashes(&reply.frontier)?)
                .map_err(|error| Unproven::differs("the frontier", "that of the start", error))?,
        };
        let mut after = before.clone();
        let mut items = Vec::with_capacity(reply.items.len());
        for item in &reply.items {
            let (item, leaf) = read_item(item)?;
            if after.size() == end {
                return Err(Unproven::differs("the page's end", end, "beyond it").into());
            }
            after.push(leaf);
            items.push(item);
        }
        if items.is_empty() {
            return Err(Unproven::Missing("a position").into());
        }
        let path = hashes(&reply.path)?;
        let (known, shown) = (under.size(), after.size());
        let signed = &under.checkpoint().root;
        verify_consistency(shown, &after.root(), known, signed, &path)
            .map_err(|_| Unproven::Consistency { known, shown })?;
        Ok(Self {
            items,
            before,
            after,
            path,
        })
    }
}

fn read_item(item: &wire::RangeItem) -> Result<(RangeItem, NodeHash), Doubt> {
    match &item.item {
        Some(Item::Entry(line)) => Ok((RangeItem::Entry(line.clone()), leaf_hash(line))),
        Some(Item::LeafHash(hash)) => {
            let hash = hashes(std::slice::from_ref(hash))?;
            let leaf = *hash.first().ok_or(Unproven::Missing("a leaf hash"))?;
            Ok((RangeItem::Hidden(leaf), leaf))
        }
        None => Err(Unproven::Missing("an entry or a leaf hash").into()),
    }
}
