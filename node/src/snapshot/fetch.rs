//! Fetching what a snapshot stands for, from whoever has it, believing nobody.
//!
//! The root at s is signed; each page comes with the path from the tree that it ends to that root. So a
//! page that is not the ledger's is known before it is kept, and with it which source sent it: that one
//! is named in the log and not asked again for a while. Nobody is waited for longer than [`ASK_MAX`],
//! and there is no bound on the whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::entry::Genesis;
use candor_ledger::fold;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::planted;
use candor_ledger::tree::verify_consistency;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::incoming::{INSTALL, Incoming};
use super::roster::{NotVouched, Roster};
use super::{Offer, Progress, Shelf, Stage};
use crate::apply::log_keys;
use crate::consensus::members_of;
use crate::env::{Disk, Env};
use crate::fold::Fold;
use crate::peers::{ASK_MAX, Page, Peers, Source, addresses};
use crate::store::{LedgerReader, StoreError};

/// A source that sent what is not the ledger's is not asked again for this long.
const REFUSED_FOR: Duration = Duration::from_mins(10);
/// One that could not answer, or is behind.
const AVOIDED_FOR: Duration = Duration::from_secs(2);
/// Pause when nobody is left to ask.
const PAUSE: Duration = Duration::from_millis(500);

/// Where entries and notes come from: peers, or in a test whatever it likes.
pub trait Sources: Send + Sync + 'static {
    /// A page from the front of `range`, with its path to the tree of `proof` entries.
    fn page(
        &self,
        node: u64,
        address: &str,
        range: Range<Seq>,
        proof: TreeSize,
    ) -> impl Future<Output = Result<Page, Status>> + Send;
    /// The note of a size.
    fn note(
        &self,
        node: u64,
        address: &str,
        size: TreeSize,
    ) -> impl Future<Output = Result<Option<String>, Status>> + Send;
}

impl<E: Env> Sources for Peers<E> {
    async fn page(
        &self,
        node: u64,
        address: &str,
        range: Range<Seq>,
        proof: TreeSize,
    ) -> Result<Page, Status> {
        let address = Some(address);
        self.entries(Source { node, address }, range, proof, ASK_MAX)
            .await
    }

    async fn note(
        &self,
        node: u64,
        address: &str,
        size: TreeSize,
    ) -> Result<Option<String>, Status> {
        let address = Some(address);
        Peers::note(self, Source { node, address }, size, ASK_MAX).await
    }
}

/// Receives one snapshot after another, until one is whole.
pub struct Fetcher<E: Env, S> {
    /// The node's seams.
    pub env: E,
    /// This node's number.
    pub node: u64,
    /// What is offered, and where progress is told.
    pub shelf: Shelf,
    /// The ledger there is.
    pub reader: LedgerReader<E::Disk>,
    /// Whom it names; see [`known`].
    pub roster: Known,
    /// The peers.
    pub sources: S,
}

/// Keys and members as far as a node knows them; `None` before it was given a genesis.
pub type Known = Box<dyn Fn() -> Option<Roster> + Send + Sync>;

/// What the operator gave, and what the node's own ledger says beyond it.
pub fn known<D: Disk>(
    genesis: watch::Receiver<Option<Arc<Genesis>>>,
    state: Fold,
    reader: LedgerReader<D>,
) -> Known {
    Box::new(move || {
        let genesis = genesis.borrow().clone()?;
        let roster = Roster::of_genesis(&genesis);
        let Ok(Some(log)) = fold::log(&*state.read()) else {
            return Some(roster);
        };
        let named = [Some(log.keyset), log.keyset_next];
        let keys = named.into_iter().flatten().filter_map(|name| {
            let keys = log_keys(&reader, &log.origin, name.seq);
            keys.ok().map(Arc::new)
        });
        Some(roster.folded(&log.members, keys.collect()))
    })
}

/// Who may be asked, and who not for now.
struct Pool {
    addresses: BTreeMap<u64, String>,
    avoided: BTreeMap<u64, Instant>,
    current: Option<u64>,
}

/// Why this try is over.
enum Over {
    /// A newer offer replaces it, or nothing can be done now.
    Again,
    /// This node's own files failed.
    Store(StoreError),
}

/// What became of the search for a note.
enum Found {
    Note(String),
    Dropped,
    NotYet,
}

impl From<StoreError> for Over {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<std::io::Error> for Over {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

impl<E: Env, S: Sources> Fetcher<E, S> {
    /// Runs until a snapshot is whole, or the node stops.
    pub async fn run(self) {
        let mut offers = self.shelf.0.offer.subscribe();
        loop {
            let offer = offers.borrow_and_update().clone();
            let Some(offer) = offer else {
                if offers.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.receive(&offer).await {
                Ok(()) => return,
                Err(Over::Again) => {}
                Err(Over::Store(problem)) => {
                    tracing::error!(%problem, "a snapshot cannot be received");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn receive(&self, offer: &Arc<Offer>) -> Result<(), Over> {
        let manifest = &offer.manifest;
        let Some(sealed) = self.judge_early(offer) else {
            self.forget(offer);
            return Err(Over::Again);
        };
        let base = *self.shelf.0.marked.borrow();
        let mut incoming = Incoming::open(self.env.disk(), &self.reader, base)?;
        let mut pool = Pool::of(offer, self.node);
        let (from, node, size) = (incoming.size(), offer.from, manifest.size);
        tracing::info!(%base, %from, to = %size, node, "a snapshot is offered; fetching");
        self.tell(|progress| {
            progress.stage = Stage::Fetching;
            progress.total = size.0;
            progress.done = from.0;
            progress.notes = 0;
            progress.since.get_or_insert(self.env.wall().0);
        });
        if from.0 > 0 && from < size {
            self.join(offer, &mut incoming, base, &sealed, &mut pool)
                .await?;
        }
        while incoming.size() < size {
            self.still(offer)?;
            self.next_page(&mut incoming, &sealed, &mut pool).await?;
        }
        let roster = self.roster(&incoming, size);
        if let Err(problem) = roster.vouched(&manifest.note) {
            let from = offer.from;
            tracing::error!(from, %problem, "the snapshot's checkpoint is not vouched for; refused");
            self.refuse(&mut pool, from);
            self.forget(offer);
            return Err(Over::Again);
        }
        self.notes(offer, &incoming, &roster, &mut pool).await?;
        self.still(offer)?;
        incoming.sync()?;
        manifest.store(self.env.disk(), INSTALL)?;
        self.tell(|progress| progress.stage = Stage::Installing);
        Ok(())
    }

    /// Whether the offer is worth a byte: the signatures, as far as the keys are known by now.
    fn judge_early(&self, offer: &Offer) -> Option<Checkpoint> {
        let manifest = &offer.manifest;
        let claimed = manifest.checkpoint()?;
        match (self.roster)()?.signed(&manifest.note) {
            Ok((checkpoint, _)) => Some(checkpoint),
            // They changed since: the entries tell, and the end is judged again.
            Err(NotVouched::KeysUnknown) => Some(claimed),
            Err(problem) => {
                let from = offer.from;
                tracing::error!(from, %problem, "the offer of a snapshot is refused");
                None
            }
        }
    }

    fn roster(&self, incoming: &Incoming<E::Disk>, below: TreeSize) -> Roster {
        let so_far = (self.roster)();
        so_far
            .expect("invariant: an offer is judged only with a genesis")
            .read(incoming.of_the_log(), below)
    }

    /// Whether what is here already belongs to the ledger that was sealed. One source that shows it is
    /// enough; when none does, what was fetched is given up, and with nothing of it left this node's
    /// own ledger is another one.
    async fn join(
        &self,
        offer: &Arc<Offer>,
        incoming: &mut Incoming<E::Disk>,
        base: TreeSize,
        sealed: &Checkpoint,
        pool: &mut Pool,
    ) -> Result<(), Over> {
        let mut differ = 0_u32;
        for (node, address) in pool.addresses.clone() {
            let at = Seq(incoming.size().0);
            let asked = self.page(node, &address, at..at, sealed.size).await;
            let Ok(page) = asked else { continue };
            let (size, root) = (incoming.size(), incoming.root());
            match verify_consistency(size, &root, sealed.size, &sealed.root, &page.path) {
                Ok(()) => return Ok(()),
                Err(_) => differ += 1,
            }
        }
        self.still(offer)?;
        if differ == 0 {
            return Err(Over::Again);
        }
        if incoming.size() > base {
            tracing::warn!(
                "what was fetched before does not join what was sealed; fetching it anew"
            );
            super::incoming::clear(self.env.disk())?;
            return Err(Over::Again);
        }
        tracing::error!(size = %base, differ, "no peer shows this node's own ledger to be part of what was sealed");
        Err(Over::Again)
    }

    async fn next_page(
        &self,
        incoming: &mut Incoming<E::Disk>,
        sealed: &Checkpoint,
        pool: &mut Pool,
    ) -> Result<(), Over> {
        let Some((node, address)) = pool.next() else {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        };
        self.tell(|progress| progress.source = Some(node));
        let range = Seq(incoming.size().0)..Seq(sealed.size.0);
        let page = match self.page(node, &address, range, sealed.size).await {
            Ok(page) => page,
            Err(status) => {
                self.failed(pool, node, &status);
                return Ok(());
            }
        };
        let (size, root) = incoming.tried(&page.entries);
        let grown = size > incoming.size() && size <= sealed.size;
        let proof = verify_consistency(size, &root, sealed.size, &sealed.root, &page.path);
        if (!grown || proof.is_err()) && !planted!("page-unproved") {
            let from = incoming.size();
            tracing::error!(node, %from, "a peer sent entries that are not those that were sealed");
            self.refuse(pool, node);
            return Ok(());
        }
        incoming.append(&page.entries)?;
        let bytes: usize = page.entries.iter().map(|entry| entry.len() + 1).sum();
        self.tell(|progress| {
            progress.done = size.0;
            progress.bytes += u64::try_from(bytes).unwrap_or(0);
        });
        Ok(())
    }

    /// The notes kept at j that are not here. One that nobody has any more is left out.
    async fn notes(
        &self,
        offer: &Arc<Offer>,
        incoming: &Incoming<E::Disk>,
        roster: &Roster,
        pool: &mut Pool,
    ) -> Result<(), Over> {
        for (size, crc) in &offer.manifest.kept {
            let size = TreeSize(*size);
            let fits = |note: &String| crc32c::crc32c(note.as_bytes()) == *crc;
            let own = self.reader.checkpoint(size).unwrap_or_default();
            let held = match own {
                Some(own) => Some(own),
                None => incoming.note(size)?,
            };
            while !held.as_ref().is_some_and(fits) {
                self.still(offer)?;
                match self.one_note(offer.from, (size, *crc), roster, pool).await {
                    Found::Note(note) => {
                        incoming.put_note(size, &note)?;
                        break;
                    }
                    Found::Dropped => break,
                    Found::NotYet => tokio::time::sleep(PAUSE).await,
                }
            }
            self.tell(|progress| progress.notes += 1);
        }
        Ok(())
    }

    /// Asks one source after another. Whoever has applied j once kept the note: when the leader that
    /// offered the snapshot has it no more, or a majority has not, a later command has dropped it.
    async fn one_note(
        &self,
        leader: u64,
        (size, crc): (TreeSize, u32),
        roster: &Roster,
        pool: &mut Pool,
    ) -> Found {
        let (mut asked, mut without) = (Vec::new(), Vec::new());
        while let Some((node, address)) = pool.next_but(&asked) {
            let note = self.sources.note(node, &address, size);
            match within(note).await {
                Ok(Some(note)) => {
                    let signed = roster.signed(&note);
                    let right = signed.is_ok_and(|(checkpoint, _)| checkpoint.size == size);
                    if right && crc32c::crc32c(note.as_bytes()) == crc {
                        let bytes = u64::try_from(note.len()).unwrap_or(0);
                        self.tell(|progress| progress.bytes += bytes);
                        return Found::Note(note);
                    }
                    tracing::error!(node, %size, "a peer sent a note that is not the one kept");
                    self.refuse(pool, node);
                }
                Ok(None) => without.push(node),
                Err(status) => self.failed(pool, node, &status),
            }
            asked.push(node);
        }
        if without.contains(&leader) || without.len() > pool.addresses.len() / 2 {
            tracing::info!(%size, "a checkpoint is not kept by the others any more");
            return Found::Dropped;
        }
        Found::NotYet
    }

    async fn page(
        &self,
        node: u64,
        address: &str,
        range: Range<Seq>,
        proof: TreeSize,
    ) -> Result<Page, Status> {
        within(self.sources.page(node, address, range, proof)).await
    }

    fn failed(&self, pool: &mut Pool, node: u64, status: &Status) {
        let problem = status.message();
        match status.code() {
            // Its own ledger is shorter than the snapshot.
            Code::OutOfRange => tracing::debug!(node, problem, "a source is behind"),
            Code::DataLoss => {
                tracing::error!(node, problem, "a source's files are damaged");
                return self.refuse(pool, node);
            }
            _ => tracing::warn!(node, problem, "a source does not answer"),
        }
        pool.avoid(node, AVOIDED_FOR);
    }

    fn refuse(&self, pool: &mut Pool, node: u64) {
        self.tell(|progress| progress.refused += 1);
        pool.avoid(node, REFUSED_FOR);
    }

    /// Whether it is still this one that is wanted: neither is a later one offered, nor has the node come past it by
    /// its log.
    fn still(&self, offer: &Arc<Offer>) -> Result<(), Over> {
        // Entries behind a sealed size are of commands behind the one that closed it.
        if *self.shelf.0.marked.borrow() > offer.manifest.size {
            tracing::info!(at = %offer.manifest.at, "the log was faster than the snapshot");
            self.tell(|progress| progress.stage = Stage::Idle);
            self.forget(offer);
            return Err(Over::Again);
        }
        let held = self.shelf.0.offer.borrow();
        match held.as_ref() {
            Some(held) if Arc::ptr_eq(held, offer) => Ok(()),
            _ => Err(Over::Again),
        }
    }

    fn forget(&self, offer: &Arc<Offer>) {
        self.shelf.0.offer.send_if_modified(|held| {
            let same = held.as_ref().is_some_and(|held| Arc::ptr_eq(held, offer));
            if same {
                *held = None;
            }
            same
        });
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        self.shelf.0.progress.send_modify(change);
    }
}

/// Whoever stalls is left, whatever the transport thinks of it.
async fn within<T>(asked: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answered = tokio::time::timeout(ASK_MAX, asked).await;
    answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("it stalls")))
}

impl Pool {
    /// The members the manifest names.
    fn of(offer: &Offer, own: u64) -> Self {
        let members = members_of(offer.manifest.membership.clone()).unwrap_or_default();
        let others = members.into_iter().filter(|(node, _)| *node != own);
        let address = |text: String| addresses(&text).0.to_owned();
        Self {
            addresses: others.map(|(node, text)| (node, address(text))).collect(),
            avoided: BTreeMap::new(),
            current: None,
        }
    }

    /// The source that answered last, as long as it does; else another.
    fn next(&mut self) -> Option<(u64, String)> {
        self.next_but(&[])
    }

    fn next_but(&mut self, asked: &[u64]) -> Option<(u64, String)> {
        let now = Instant::now();
        self.avoided.retain(|_, until| *until > now);
        let free = |node: &u64| !self.avoided.contains_key(node) && !asked.contains(node);
        let chosen = self.current.filter(|node| free(node));
        let chosen = chosen.or_else(|| self.addresses.keys().copied().find(|node| free(node)))?;
        self.current = Some(chosen);
        Some((chosen, self.addresses.get(&chosen)?.clone()))
    }

    fn avoid(&mut self, node: u64, span: Duration) {
        self.avoided.insert(node, Instant::now() + span);
    }
}
