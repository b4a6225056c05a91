//! `candor-audit ledger URL`: the same audit over HTTP, from servers that lie in every part.
#![cfg(feature = "online")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;

use candor_ledger::ids::TreeSize;
use candor_ledger::tile::{TileId, TileKind, push_to_bundle};
use candor_ledger::tree::{Frontier, leaf_hash};
use serde_json::Value;

mod desk;
#[path = "../../../ledger/tests/common/sample.rs"]
mod sample;

use desk::{Desk, TOKEN};
use sample::Sample;

type Pages = BTreeMap<String, Vec<u8>>;

/// 299 entries under three checkpoints: a full bundle and one of 43.
fn shared() -> &'static Sample {
    static SHARED: OnceLock<Sample> = OnceLock::new();
    SHARED.get_or_init(|| Sample::of_hits("online", 299))
}

/// What an honest node serves.
fn honest(sample: &Sample) -> Pages {
    let size = sample.sealed();
    let mut pages = Pages::new();
    for (size, note) in &sample.notes {
        pages.insert(format!("/checkpoint/{size}"), note.clone().into());
    }
    let newest = sample.notes.last_key_value().unwrap().1;
    pages.insert("/checkpoint".to_owned(), newest.clone().into());
    let mut levels: BTreeMap<u8, Vec<[u8; 32]>> = BTreeMap::new();
    let mut frontier = Frontier::new();
    for line in &sample.lines {
        frontier.push_with(leaf_hash(line), &mut |level, _, hash| {
            if level % 8 == 0 {
                levels.entry(level / 8).or_default().push(hash.0);
            }
        });
    }
    let mut put = |kind, index, bytes: Vec<u8>| {
        let tile = TileId::at(kind, index, size).unwrap();
        pages.insert(format!("/{tile}"), bytes);
    };
    for (level, hashes) in levels {
        for (index, row) in (0..).zip(hashes.chunks(256)) {
            put(TileKind::Hashes(level), index, row.concat());
        }
    }
    for (index, lines) in (0..).zip(sample.lines.chunks(256)) {
        let mut bundle = Vec::new();
        for line in lines {
            push_to_bundle(&mut bundle, line);
        }
        put(TileKind::Entries, index, bundle);
    }
    pages
}

/// Serves these pages for the rest of the test; entries to the bearer of the token, and every page
/// only after it was asked for `refusals` times.
fn serve(pages: Pages, refusals: u32) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut asked: BTreeMap<String, u32> = BTreeMap::new();
        for stream in listener.incoming() {
            answer(&stream.unwrap(), &pages, refusals, &mut asked);
        }
    });
    url
}

fn answer(stream: &TcpStream, pages: &Pages, refusals: u32, asked: &mut BTreeMap<String, u32>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let bearer = format!("authorization: Bearer {TOKEN}").to_lowercase();
    let known = lines
        .take_while(|line| !line.is_empty())
        .any(|line| line.to_lowercase() == bearer);
    let times = asked.entry(path.clone()).or_default();
    *times += 1;
    let (status, body) = match pages.get(&path) {
        _ if *times <= refusals => ("503 Service Unavailable", &b"later"[..]),
        Some(_) if path.starts_with("/tile/entries/") && !known => {
            ("401 Unauthorized", &b"who?"[..])
        }
        Some(body) => ("200 OK", &body[..]),
        None => ("404 Not Found", &b"no"[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

impl Desk {
    /// The audit of a server that changed one page; its first finding.
    fn lied(
        &self,
        path: &str,
        change: impl FnOnce(&mut Vec<u8>),
        more: &[&str],
    ) -> (i32, String, Option<u64>) {
        let mut pages = honest(shared());
        change(pages.get_mut(path).unwrap_or_else(|| panic!("{path}")));
        let (status, report, _) = self.audit(&serve(pages, 0), more);
        let finding = &report["findings"][0];
        let code = finding["code"].as_str().unwrap_or_default().to_owned();
        (status, code, finding["seq"].as_u64())
    }
}

const READER: &[&str] = &["--token-file", "token"];
const STRANGER: &[&str] = &["--hashes-only"];

#[test]
fn the_audit_over_tiles_is_the_audit_of_the_folder() {
    let desk = Desk::of(shared());
    let (_, folder, _) = desk.audit("node", &[]);
    // A node that is just starting is asked again.
    let (status, online, _) = desk.audit(&serve(honest(shared()), 1), READER);
    assert_eq!(status, 0, "{online:#}");
    let facts = [
        "outcome",
        "origin",
        "size",
        "root",
        "head",
        "seals",
        "checkpoints",
        "tests",
        "findings",
    ];
    for key in facts {
        assert_eq!(online[key], folder[key], "{key}");
    }
    // Older checkpoints may be thinned out by now: said, and no fault.
    let mut thinned = honest(shared());
    assert!(thinned.remove("/checkpoint/2").is_some() || thinned.remove("/checkpoint/5").is_some());
    let (status, report, _) = desk.audit(&serve(thinned, 0), READER);
    assert_eq!(
        (status, &report["findings"]),
        (0, &Value::Array(Vec::new())),
        "{report:#}"
    );
    // Without the right nothing is said about the ledger.
    let (status, report, _) = desk.audit(&serve(honest(shared()), 0), &[]);
    assert_eq!((status, report), (3, Value::Null));
}

#[test]
fn a_stranger_rebuilds_the_root_and_is_never_told_that_this_proves_the_entries() {
    let desk = Desk::of(shared());
    let url = serve(honest(shared()), 0);
    let first = shared().notes.first_key_value().unwrap().0;
    let since = ["--hashes-only", "--since", &format!("note-{first}")];
    let (status, report, _) = desk.audit(&url, &since);
    let (_, folder, _) = desk.audit("node", &[]);
    assert_eq!(
        (status, &report["root"]),
        (3, &folder["root"]),
        "{report:#}"
    );
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    assert_eq!(report["findings"][0]["code"], "entries-not-shown");
    for (test, verdict) in [("tamper_evident", "not-proved"), ("complete", "not-proved")] {
        assert_eq!(report["tests"][test]["verdict"], verdict, "{report:#}");
    }
    let caveats = report["caveats"].to_string();
    assert!(
        caveats.contains("give the root that was signed"),
        "{caveats}"
    );
    assert!(caveats.contains("that you knew before"), "{caveats}");
}

#[test]
fn whatever_a_server_changes_is_found_and_named() {
    let desk = Desk::of(shared());
    let bundle = "/tile/entries/001.p/43";
    let flip = |at: usize| move |page: &mut Vec<u8>| page[at] ^= 1;
    // In a text of an entry: the next one names another hash.
    let (status, code, _) = desk.lied(
        bundle,
        |page| {
            let at = page.windows(5).position(|text| text == b"nonce").unwrap() + 10;
            page[at] = if page[at] == b'A' { b'B' } else { b'A' };
        },
        READER,
    );
    assert_eq!((status, &*code), (1, "chain-broken"));
    // The stored hashes, of leaves and above.
    let (status, code, seq) = desk.lied("/tile/0/000", flip(32 * 7), READER);
    assert_eq!((status, &*code, seq), (1, "derived-file-differs", Some(7)));
    let (status, code, seq) = desk.lied("/tile/1/000.p/1", flip(0), READER);
    assert_eq!(
        (status, &*code, seq),
        (1, "derived-file-differs", Some(255))
    );
    let (status, code, _) = desk.lied("/tile/0/001.p/43", flip(0), STRANGER);
    assert_eq!((status, &*code), (1, "checkpoint-contradicts-ledger"));
    let (status, code, seq) = desk.lied("/tile/1/000.p/1", flip(0), STRANGER);
    assert_eq!(
        (status, &*code, seq),
        (1, "derived-file-differs", Some(255))
    );
    // A checkpoint, the newest and an older one.
    for path in [
        "/checkpoint",
        &format!("/checkpoint/{}", shared().notes.keys().next().unwrap()),
    ] {
        let (status, code, _) = desk.lied(
            path,
            |page| {
                let at = page.len() - 40;
                page[at] = if page[at] == b'A' { b'B' } else { b'A' };
            },
            READER,
        );
        assert_eq!((status, &*code), (1, "signature-bad"), "{path}");
    }
    // An older ledger than the auditor knows.
    let mut older = honest(shared());
    let first = shared().notes.first_key_value().unwrap();
    older.insert("/checkpoint".to_owned(), first.1.clone().into());
    for index in 0..2 {
        let tile = TileId::at(TileKind::Entries, 0, TreeSize(*first.0)).unwrap();
        let full = older["/tile/entries/000"].clone();
        let lines = candor_ledger::tile::bundle_entries(&full, 256).unwrap();
        let mut bundle = Vec::new();
        for line in &lines[..usize::from(tile.width)] {
            push_to_bundle(&mut bundle, line);
        }
        older.insert(format!("/{tile}"), bundle);
        let leaves = TileId {
            kind: TileKind::Hashes(0),
            ..tile
        };
        let row = older["/tile/0/000"][..32 * usize::from(tile.width)].to_vec();
        older.insert(format!("/{leaves}"), row);
        let newest = shared().sealed();
        let since = format!("note-{newest}");
        let who = [READER, STRANGER][index];
        let (status, report, _) = desk.audit(
            &serve(older.clone(), 0),
            &[who, &["--since", &since]].concat(),
        );
        assert_eq!(
            (status, &report["findings"][0]["code"]),
            (1, &"rolled-back".into()),
            "{report:#}"
        );
    }
    // What is no bundle, no tile or no note says nothing about the ledger.
    for (path, who) in [
        (bundle, READER),
        ("/tile/0/000", READER),
        ("/checkpoint", STRANGER),
    ] {
        let mut pages = honest(shared());
        pages.get_mut(path).unwrap().pop();
        assert_eq!(desk.audit(&serve(pages, 0), who).0, 3, "{path}");
    }
}
