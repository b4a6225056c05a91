#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::env::sim::SimDisk;

fn kept(crc: u32, sealed: u64, last_of_keys: bool) -> Kept {
    let sealed = Micros(sealed);
    Kept {
        crc,
        sealed,
        last_of_keys,
    }
}

fn full(generation: u64) -> Marker {
    Marker {
        generation,
        size: TreeSize(70_000),
        head: ChainHash([7; 32]),
        root: NodeHash([9; 32]),
        last_applied: Some(LogPos {
            term: 3,
            leader: u64::MAX,
            index: 1 << 40,
        }),
        membership: Some(Bytes::from_static(b"voters 1, 2, 3")),
        sealed: TreeSize(69_999),
        checkpoints: KeptNotes {
            by_size: BTreeMap::from([
                (1, kept(0, 0, false)),
                (300, kept(u32::MAX, Micros::MAX.0, true)),
                (69_999, kept(1 << 31, Micros::MAX.0, false)),
            ]),
            keyset: [5; 32],
        },
        packs: BTreeMap::from([
            ("acme".to_owned(), BTreeMap::from([(0, 0), (7, 1 << 50)])),
            ("b/b".to_owned(), BTreeMap::new()),
        ]),
        tails: vec![Tail {
            file: "ledger/tree/00-000000065536".to_owned(),
            offset: 1 << 21,
            bytes: vec![1; 200],
        }],
    }
}

fn decode(slot: &[u8]) -> Result<Marker, &'static str> {
    Marker::decode("marker.0", slot).unwrap()
}

#[test]
fn a_slot_reads_back_and_no_changed_bit_or_length_does() {
    for marker in [Marker::empty(1), full(2)] {
        let slot = marker.encode();
        assert_eq!(decode(&slot), Ok(marker));
        for byte in 0..slot.len() {
            let mut changed = slot.clone();
            changed[byte] ^= 1 << (byte % 8);
            assert!(decode(&changed).is_err(), "byte {byte}");
            assert!(decode(&slot[..byte]).is_err(), "length {byte}");
        }
        let longer = [&slot[..], &[0]].concat();
        assert!(decode(&longer).is_err());
    }
}

/// With a right checksum over wrong fields, nothing is read, allocated or panics.
#[test]
fn refuses_fields_that_do_not_fit() {
    let sealed = |body: &[u8], format: u32| {
        let mut slot = Writer::default();
        slot.raw(&MAGIC);
        slot.u32(format);
        slot.u32_bytes(body);
        let digest = sha3_256(&slot.0);
        slot.raw(&digest);
        slot.0
    };
    let body = full(2).encode();
    let body = &body[16..body.len() - 32];
    assert_eq!(decode(&sealed(body, FORMAT)), Ok(full(2)));
    for len in 0..body.len() {
        assert!(decode(&sealed(&body[..len], FORMAT)).is_err(), "{len}");
    }
    // The counts of an empty marker, grown or with spare bytes.
    let empty = Marker::empty(2).encode();
    let empty = &empty[16..empty.len() - 35];
    for counts in [
        &b"\x00\x00\x00\x00"[..],
        b"\x80\x00\x00\x00",
        b"\x00\xff\xff\xff\xff\x7f",
    ] {
        assert!(
            decode(&sealed(&[empty, counts].concat(), FORMAT)).is_err(),
            "{counts:?}"
        );
    }
    // Earlier ones stood over other layouts.
    for other in [1, 2, 4] {
        let refused = Marker::decode("marker.0", &sealed(body, other)).unwrap_err();
        assert!(
            matches!(refused, StoreError::FormatUnknown { found, .. } if found == other),
            "{refused}"
        );
    }
}

#[test]
fn the_greatest_readable_generation_counts_and_without_any_the_node_must_rejoin() {
    let disk = SimDisk::new();
    assert!(read(&disk).unwrap().is_none());
    write(&disk, &Marker::empty(1)).unwrap();
    let slots = read(&disk).unwrap().unwrap();
    assert_eq!((slots.newest.generation, slots.lost), (1, None));
    write(&disk, &full(2)).unwrap();
    write(&disk, &full(3)).unwrap();
    let slots = read(&disk).unwrap().unwrap();
    assert_eq!((slots.newest.generation, slots.lost), (3, None));
    assert_eq!(slots.older_applied, full(2).last_applied);

    let torn = |disk: &SimDisk, file: &str| {
        let slot = disk.read(file).unwrap().unwrap();
        disk.write_durable(file, &slot[..slot.len() / 2], 0o644)
            .unwrap();
    };
    for (spoilt, other, generation) in [("marker.1", "marker.0", 2), ("marker.0", "marker.1", 3)] {
        let disk = disk.fork();
        torn(&disk, spoilt);
        let slots = read(&disk).unwrap().unwrap();
        assert_eq!(
            (slots.newest.generation, slots.older_applied),
            (generation, None)
        );
        assert!(slots.lost.unwrap().contains(spoilt));
        disk.remove_file(spoilt).unwrap();
        assert!(read(&disk).unwrap().unwrap().lost.unwrap().contains(spoilt));
        torn(&disk, other);
        let lost = read(&disk).err().unwrap();
        assert!(matches!(lost, StoreError::MarkerLost { .. }), "{lost}");
    }
    // A slot in the place of the other is none: a restored copy of one file must not count twice.
    let copy = disk.read("marker.1").unwrap().unwrap();
    disk.write_durable("marker.0", &copy, 0o644).unwrap();
    assert!(
        read(&disk)
            .unwrap()
            .unwrap()
            .lost
            .unwrap()
            .contains("other slot")
    );
}

#[test]
fn entries_without_a_marker_are_not_taken_for_a_new_node() {
    let disk = SimDisk::new();
    let mut opened = crate::store::Ledger::open(disk.clone()).unwrap();
    opened.ledger.append(&[b"entry"]).unwrap();
    for slot in ["marker.0", "marker.1"] {
        disk.remove_file(slot).unwrap();
    }
    let lost = crate::store::Ledger::open(disk).err().unwrap();
    assert!(matches!(lost, StoreError::MarkerLost { .. }), "{lost}");
}
