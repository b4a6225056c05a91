//! One changed byte, anywhere.

use super::*;
use crate::env::{DiskFile, OpenMode};

/// A ledger of 41 entries with checkpoints and values, at rest.
fn at_rest() -> SimDisk {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    for size in [10, 30, 41] {
        let from = a.ledger.size().0;
        a.ledger.append(&entries(from..size)).unwrap();
        keep(&mut a.ledger, size).unwrap();
    }
    for number in 0..6 {
        let (_, bytes) = value(number);
        a.ledger.put_value("acme", HashedValue::of(&bytes)).unwrap();
    }
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    disk
}

/// Where in a file, as an error should name it.
fn place(disk: &SimDisk, file: &str, byte: usize) -> u64 {
    let name = file.rsplit('/').next().unwrap();
    let byte_u64 = u64_of(byte);
    if let Some((level, first)) = name.split_once('-') {
        return (first.parse::<u64>().unwrap() + byte_u64 / 32) << level.parse::<u8>().unwrap();
    }
    let (first, kind) = name.split_once('.').unwrap_or((name, ""));
    let first = first.parse::<u64>().unwrap();
    if kind == "offsets" {
        first + byte_u64 / 8
    } else if kind == "jsonl" {
        let bytes = disk.read(file).unwrap().unwrap();
        first + u64_of(bytes[..byte].split(|b| *b == b'\n').count() - 1)
    } else {
        first
    }
}

/// What a reader of everything is told.
fn look(disk: &SimDisk) -> Result<Vec<String>, StoreError> {
    let opened = Ledger::open_with(disk.clone(), SMALL)?;
    read_all(&opened.ledger.reader())?;
    Ok(opened.restored)
}

#[test]
fn one_changed_bit_in_the_ledger_is_named_with_file_and_place() {
    let disk = at_rest();
    assert!(look(&disk.fork()).unwrap().is_empty());
    let mut named = 0;
    for (file, bytes) in dump(&disk, "ledger") {
        // Two dozen places in each file, with other bits.
        let step = (bytes.len() / 24) | 1;
        for byte in (0..bytes.len()).step_by(step) {
            let damaged = disk.fork();
            let bit = u8::try_from(byte % 8).unwrap();
            damaged.flip_bit(&file, byte, bit).unwrap();
            let context = format!("`{file}` byte {byte} bit {bit}");
            match look(&damaged) {
                Ok(restored) => assert_eq!(restored, [&*file], "{context}"),
                Err(StoreError::Damaged {
                    file: found, seq, ..
                }) => {
                    let expected = (file.clone(), place(&disk, &file, byte));
                    assert_eq!((found, seq), expected, "{context}");
                    named += 1;
                }
                Err(other) => panic!("{context}: {other}"),
            }
        }
    }
    assert!(named > 300, "{named}");
}

#[test]
fn a_tile_with_a_changed_hash_is_never_shown() {
    let disk = at_rest();
    let rows = |reader: &LedgerReader<SimDisk>| {
        let row = |level: u8| reader.hashes(level, 0, (41 >> level).try_into().unwrap());
        (0..6).map(row).collect::<Vec<_>>()
    };
    let good = rows(&open(&disk.fork()).ledger.reader());
    let good: Vec<_> = good.into_iter().map(Result::unwrap).collect();
    let lens: Vec<_> = good.iter().map(Vec::len).collect();
    assert_eq!(lens, [41, 20, 10, 5, 2, 1]);
    let mut named = 0;
    for (file, bytes) in dump(&disk, "ledger/tree") {
        for byte in (0..bytes.len()).step_by(31) {
            // While it runs: a start would put back files as short as these.
            let damaged = disk.fork();
            let reader = open(&damaged).ledger.reader();
            damaged.flip_bit(&file, byte, 3).unwrap();
            let found = rows(&reader);
            for (found, good) in found.into_iter().zip(&good) {
                match found {
                    Ok(row) => assert_eq!(row, *good, "`{file}` byte {byte}"),
                    Err(StoreError::Damaged { file: at, seq, .. }) => {
                        // The last leaf has no parent that could say whether it or the entry is bad.
                        let known = seq != 40 && at == file;
                        assert!(known || seq == 40, "`{file}` byte {byte}: {at} at {seq}");
                        assert_eq!(seq, place(&disk, &file, byte));
                        named += 1;
                    }
                    Err(other) => panic!("`{file}` byte {byte}: {other}"),
                }
            }
        }
    }
    assert!(named > 40, "{named}");
}

#[test]
fn a_changed_bit_in_a_pack_costs_no_more_than_the_values_it_hides() {
    let disk = at_rest();
    for (file, bytes) in dump(&disk, "values") {
        for byte in (0..bytes.len()).step_by(3) {
            let damaged = disk.fork();
            damaged.flip_bit(&file, byte, 0).unwrap();
            let mut opened = open(&damaged);
            let reader = opened.ledger.reader();
            let mut missing = Vec::new();
            for number in 0..6 {
                let (hash, bytes) = value(number);
                match reader.value("acme", &hash) {
                    Ok(Some(found)) => assert_eq!(found, bytes),
                    Ok(None) if !opened.values_damaged.is_empty() => missing.push(number),
                    Err(StoreError::ValueDamaged { file: named, .. }) if named == file => {
                        missing.push(number);
                    }
                    other => panic!("`{file}` byte {byte}: {other:?}"),
                }
            }
            // What a peer sends is kept, and found again after a restart.
            for number in &missing {
                let (_, bytes) = value(*number);
                assert!(
                    opened
                        .ledger
                        .put_value("acme", HashedValue::of(&bytes))
                        .unwrap()
                );
            }
            let draft = draft(&opened.ledger, 2);
            opened.markers.write(draft).unwrap();
            let reader = open(&damaged).ledger.reader();
            for number in 0..6 {
                let (hash, bytes) = value(number);
                let found = reader.value("acme", &hash).unwrap();
                assert_eq!(found, Some(bytes), "`{file}` byte {byte}, value {number}");
            }
        }
    }
}

#[test]
fn a_file_that_is_short_or_gone_stops_the_start_and_changes_nothing() {
    let disk = at_rest();
    for (file, bytes) in dump(&disk, "ledger") {
        for keep in [None, Some(bytes.len() - 1)] {
            let damaged = disk.fork();
            match keep {
                None => damaged.remove_file(&file).unwrap(),
                Some(len) => {
                    let open = damaged.open(&file, OpenMode::ReadWrite).unwrap();
                    open.set_len(u64_of(len)).unwrap();
                }
            }
            let before = dump(&damaged, "ledger");
            match look(&damaged) {
                Err(StoreError::Damaged { file: named, .. }) => assert_eq!(named, file),
                other => panic!("`{file}` cut to {keep:?}: {other:?}"),
            }
            assert_eq!(dump(&damaged, "ledger"), before);
        }
    }
}

#[test]
fn a_ledger_that_contradicts_its_marker_does_not_start() {
    // Entries, offsets and tree of another history, in themselves without fault.
    let (disk, other) = (at_rest(), SimDisk::new());
    let mut b = open(&other);
    let lines: Vec<Vec<u8>> = (0..41).map(|seq| entry(seq).to_ascii_uppercase()).collect();
    b.ledger.append(&lines).unwrap();
    b.markers.write(draft(&b.ledger, 1)).unwrap();
    for (path, bytes) in dump(&other, "ledger") {
        disk.write_durable(&path, &bytes, 0o644).unwrap();
    }
    // The marker's tails are put back over the other history, and do not make it this one.
    let error = look(&disk).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn the_first_damage_of_each_place_is_registered_and_nothing_else() {
    let disk = at_rest();
    let clean = open(&disk.fork());
    let reader = clean.ledger.reader();
    read_all(&reader).unwrap();
    assert!(reader.entry(Seq(41)).is_err(), "beyond the end");
    assert!(reader.damages().borrow().is_empty());

    let lines = disk.read(&names::lines(0)).unwrap().unwrap();
    let third = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let third = third.map(|(at, _)| at + 5).nth(2).unwrap();
    disk.flip_bit(&names::lines(0), third, 1).unwrap();
    let value_file = dump(&disk, "values").into_keys().next().unwrap();
    // The second frame; the first value is empty.
    disk.flip_bit(&value_file, 570, 1).unwrap();
    let opened = open(&disk);
    let reader = opened.ledger.reader();
    let mut watched = reader.damages();
    assert!(watched.borrow_and_update().is_empty(), "nobody has looked");
    for _ in 0..2 {
        reader.entry(Seq(3)).unwrap_err();
        for number in 0..6 {
            let _ = reader.value("acme", &value(number).0);
        }
    }
    assert!(watched.has_changed().unwrap());
    let found: Vec<_> = watched
        .borrow()
        .iter()
        .map(|damage| (damage.kind, damage.file.clone(), damage.place))
        .collect();
    let expected = [
        (DamageKind::Ledger, names::lines(0), 3),
        (DamageKind::Value, value_file, 512),
    ];
    assert_eq!(found, expected);
    assert_eq!(ledger_damage(&watched.borrow()).unwrap().place, 3);
}

#[test]
fn a_marker_waits_while_the_end_of_a_file_is_damaged_and_takes_it_along_once_it_is_healed() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    a.ledger.append(&entries(0..3)).unwrap();
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    a.ledger.append(&entries(3..5)).unwrap();
    let ends = names::offsets(0);
    // What the offsets say of the last line is not believed.
    disk.flip_bit(&ends, 4 * 8, 0).unwrap();
    a.markers.write(draft(&a.ledger, 2)).unwrap();
    // A file that ends early is no reason to end, and is known from now on.
    let lines = disk.open(&names::lines(0), OpenMode::ReadWrite).unwrap();
    let whole = disk.read(&names::lines(0)).unwrap().unwrap();
    lines.set_len(10).unwrap();
    let refused = a.markers.write(draft(&a.ledger, 3)).unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { file, .. } if *file == names::lines(0)));
    assert!(!a.markers.has_stopped());
    assert_eq!(a.ledger.reader().damages().borrow().len(), 1);
    lines.write_all_at(&whole, 0).unwrap();
    lines.sync_data().unwrap();
    a.markers.write(draft(&a.ledger, 3)).unwrap();
    // Healed behind the marker that has the damage in it: without another a start would put it back.
    disk.flip_bit(&ends, 4 * 8, 0).unwrap();
    a.markers.again().unwrap();
    drop(a);
    disk.kill();
    assert_eq!(open(&disk).restored, [""; 0]);
}
