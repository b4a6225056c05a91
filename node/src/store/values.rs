//! Pack files: the values of one tenant, appended one frame after another.
//!
//! ```text
//! values/<tenant>/<number, 8 digits>.pack    frame || frame || ...
//!
//! frame   "CVAL" | u32 version = 1 | 32 bytes SHA3-256 of the value | u64 length of the value
//!         | u32 CRC-32C of the 48 bytes before | the value        integers little-endian
//! ```
//!
//! Each frame starts at a multiple of 512 bytes, the gap before it being zeros: a write that the
//! power cuts off then spoils no sector that an earlier frame lies in.
//!
//! The index (tenant, hash) -> place is rebuilt at start from the headers, up to the length that
//! the marker gives for each pack. When a hash stands twice the later frame counts: it was written
//! because the earlier one had become unreadable.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use candor_ledger::digest::sha3_256;

use super::dirty::Dirty;
use super::{StoreError, bytes_of, names, read_locked, write_locked};
use crate::env::{Disk, DiskFile, OpenMode};

/// A pack that has reached this length gets no further frame: small enough to copy, rewrite or
/// fetch as one, large enough that a terabyte of values is 4,096 files.
pub const PACK_BYTES_MAX: u64 = 256 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"CVAL";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 4 + 4 + 32 + 8 + 4;

/// Where frames may start: the sector, which is what a device writes whole or not at all.
const FRAME_ALIGN: u64 = 512;

/// Packs held open for appending; a tenant beyond these costs an open and a close.
const OPEN_PACKS_MAX: usize = 64;

/// Length of each pack of each tenant, as the marker has it.
pub(super) type PackLengths = BTreeMap<String, BTreeMap<u32, u64>>;

/// A value and its SHA3-256, which is its name; hashed once.
#[derive(Clone, Copy, Debug)]
pub struct HashedValue<'a> {
    hash: [u8; 32],
    value: &'a [u8],
}

impl<'a> HashedValue<'a> {
    /// Hashes a value.
    pub fn of(value: &'a [u8]) -> Self {
        let hash = sha3_256(value);
        Self { hash, value }
    }

    /// Its name.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// Where the values are; changed by apply, read by everybody.
#[derive(Default)]
pub(super) struct Values(RwLock<BTreeMap<String, Tenant>>);

#[derive(Default)]
struct Tenant {
    packs: BTreeMap<u32, u64>,
    /// The newest pack has a damaged header or tail: no frame may follow there.
    closed: bool,
    index: BTreeMap<[u8; 32], Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    pack: u32,
    offset: u64,
    len: u64,
}

impl Values {
    /// Reads the headers of all packs the marker names, up to its lengths.
    ///
    /// A pack with a damaged header is read as far as it goes, and the damage is returned: the
    /// values behind it are missing here, and a peer can send them by hash.
    pub(super) fn scan<D: Disk>(
        disk: &D,
        lengths: &PackLengths,
    ) -> Result<(Self, Vec<StoreError>), StoreError> {
        let mut damages = Vec::new();
        let mut tenants = BTreeMap::new();
        for (name, packs) in lengths {
            let mut tenant = Tenant {
                packs: packs.clone(),
                ..Tenant::default()
            };
            for (number, len) in packs {
                let path = names::pack(name, *number);
                let damage = scan_pack(disk, &path, *number, *len, &mut tenant.index)?;
                tenant.closed = damage.is_some();
                damages.extend(damage);
            }
            tenants.insert(name.clone(), tenant);
        }
        Ok((Self(RwLock::new(tenants)), damages))
    }

    /// What a marker says about the packs.
    pub(super) fn lengths(&self) -> PackLengths {
        let tenants = read_locked(&self.0);
        tenants
            .iter()
            .map(|(name, tenant)| (name.clone(), tenant.packs.clone()))
            .collect()
    }

    /// Whether a value is indexed.
    pub(super) fn has(&self, tenant: &str, hash: &[u8; 32]) -> bool {
        self.place(tenant, hash).is_some()
    }

    /// Reads a value and hashes it again; `None` when there is none.
    ///
    /// A damaged one is forgotten, so that it can be put anew.
    pub(super) fn read<D: Disk>(
        &self,
        disk: &D,
        tenant: &str,
        hash: &[u8; 32],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(place) = self.place(tenant, hash) else {
            return Ok(None);
        };
        let file = names::pack(tenant, place.pack);
        let header = u64::try_from(HEADER_BYTES).expect("invariant: a usize is 64 bits");
        let mut value = vec![0; usize::try_from(place.len).expect("invariant: it was in memory")];
        let read = disk
            .open(&file, OpenMode::Read)
            .and_then(|pack| pack.read_at(&mut value, place.offset + header));
        match read {
            Ok(read) if read == value.len() && sha3_256(&value) == *hash => return Ok(Some(value)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.forget(tenant, hash, place);
        Err(StoreError::ValueDamaged {
            tenant: tenant.to_owned(),
            hash: *hash,
            file,
            offset: place.offset,
        })
    }

    fn place(&self, tenant: &str, hash: &[u8; 32]) -> Option<Place> {
        read_locked(&self.0).get(tenant)?.index.get(hash).copied()
    }

    fn forget(&self, tenant: &str, hash: &[u8; 32], place: Place) {
        let mut tenants = write_locked(&self.0);
        if let Some(tenant) = tenants.get_mut(tenant)
            && tenant.index.get(hash) == Some(&place)
        {
            tenant.index.remove(hash);
        }
    }

    /// The pack that the next frame of a tenant goes to, and where in it.
    fn room(&self, tenant: &str, pack_bytes_max: u64) -> (u32, u64) {
        let tenants = read_locked(&self.0);
        let Some(tenant) = tenants.get(tenant) else {
            return (0, 0);
        };
        match tenant.packs.last_key_value() {
            None => (0, 0),
            Some((number, _)) if tenant.closed => (number + 1, 0),
            Some((number, len)) if *len >= pack_bytes_max => (number + 1, 0),
            Some((number, len)) => (*number, len.next_multiple_of(FRAME_ALIGN)),
        }
    }

    fn added(&self, name: &str, hash: [u8; 32], place: Place, end: u64) {
        let mut tenants = write_locked(&self.0);
        let tenant = tenants.entry(name.to_owned()).or_default();
        tenant.packs.insert(place.pack, end);
        tenant.closed = false;
        tenant.index.insert(hash, place);
    }
}

/// The ends of the packs; owned by apply.
pub(super) struct PackWriter<D: Disk> {
    disk: D,
    pack_bytes_max: u64,
    open: BTreeMap<String, (Arc<str>, Arc<D::File>)>,
}

impl<D: Disk> PackWriter<D> {
    pub(super) fn new(disk: D, pack_bytes_max: u64) -> Self {
        Self {
            disk,
            pack_bytes_max,
            open: BTreeMap::new(),
        }
    }

    /// Appends a value unless it is there; `false` when it was.
    pub(super) fn put(
        &mut self,
        values: &Values,
        dirty: &Dirty<D>,
        tenant: &str,
        HashedValue { hash, value }: HashedValue<'_>,
    ) -> Result<bool, StoreError> {
        if values.has(tenant, &hash) {
            return Ok(false);
        }
        check(tenant)?;
        let (pack, offset) = values.room(tenant, self.pack_bytes_max);
        let header = header(&hash, bytes_of(value));
        let (path, file) = self.pack(dirty, tenant, pack)?;
        file.write_all_at(&header, offset)?;
        file.write_all_at(value, offset + bytes_of(&header))?;
        dirty.file(&path, &file);
        let len = bytes_of(value);
        let place = Place { pack, offset, len };
        values.added(tenant, hash, place, offset + bytes_of(&header) + len);
        Ok(true)
    }

    fn pack(
        &mut self,
        dirty: &Dirty<D>,
        tenant: &str,
        number: u32,
    ) -> Result<(Arc<str>, Arc<D::File>), StoreError> {
        let path = names::pack(tenant, number);
        if let Some(open) = self.open.get(tenant)
            && *open.0 == *path
        {
            return Ok(open.clone());
        }
        if self.open.len() >= OPEN_PACKS_MAX {
            self.open.clear();
        }
        let dir = names::tenant_dir(tenant);
        self.disk.create_dir_all(&dir)?;
        let file = Arc::new(self.disk.open(&path, OpenMode::Create)?);
        dirty.dir(names::VALUES);
        dirty.dir(&dir);
        let open = (Arc::from(path), file);
        self.open.insert(tenant.to_owned(), open.clone());
        Ok(open)
    }
}

fn check(tenant: &str) -> Result<(), StoreError> {
    if !tenant.is_empty() {
        return Ok(());
    }
    let (tenant, problem) = (tenant.to_owned(), "a tenant has a name".to_owned());
    Err(StoreError::BadValue { tenant, problem })
}

fn header(hash: &[u8; 32], len: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(hash);
    header.extend_from_slice(&len.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Indexes one pack; returns why it could not be read to its end.
fn scan_pack<D: Disk>(
    disk: &D,
    path: &str,
    pack: u32,
    len: u64,
    index: &mut BTreeMap<[u8; 32], Place>,
) -> Result<Option<StoreError>, StoreError> {
    let Some(found) = disk.stat(path)? else {
        let expected = format!("`{len}` bytes of frames");
        return Ok(Some(StoreError::damaged(path, 0, expected, "nothing")));
    };
    let file = disk.open(path, OpenMode::Read)?;
    let end = len.min(found.len);
    let (mut offset, mut after) = (0, 0);
    while offset < end {
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(&mut header, offset)?;
        let frame = (read == HEADER_BYTES)
            .then(|| parse_header(&header))
            .flatten();
        let Some((hash, len)) = frame else {
            let damage = StoreError::damaged(path, offset, "a frame header", "something else");
            return Ok(Some(damage));
        };
        let place = Place { pack, offset, len };
        let start = offset + bytes_of(&header);
        match start.checked_add(len).filter(|after| *after <= end) {
            Some(ends) => after = ends,
            None => break,
        }
        offset = after.next_multiple_of(FRAME_ALIGN);
        index.insert(hash, place);
    }
    let short = (after < len).then(|| {
        let expected = format!("frames up to byte `{len}`");
        StoreError::damaged(path, offset, expected, format!("`{}` bytes", found.len))
    });
    Ok(short)
}

fn parse_header(header: &[u8; HEADER_BYTES]) -> Option<([u8; 32], u64)> {
    let (body, crc) = header.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (magic, body) = body.split_first_chunk::<4>()?;
    let (version, body) = body.split_first_chunk::<4>()?;
    let (hash, body) = body.split_first_chunk::<32>()?;
    let len = u64::from_le_bytes(body.try_into().ok()?);
    (*magic == MAGIC && u32::from_le_bytes(*version) == VERSION).then_some((*hash, len))
}
