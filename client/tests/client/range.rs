//! Ranges: each page is proved when it arrives, or nothing of it is returned.

use std::sync::Arc;

use candor_client::{Client, Error, Located, RangeItem};
use candor_ledger::digest::sha3_256;
use candor_ledger::fold::{Get, Operation};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::time::Micros;
use candor_ledger::tree::leaf_hash;
use candor_proto::ErrorCode;
use candor_proto::audit_v1::ListRangeResponse;
use candor_proto::audit_v1::range_item::Item;

use crate::world::{self, Shared, World, lock};
use crate::{HOUR, fields, is, keys, with_paris};

const OTHER: &str = "globex";

/// A ledger of two tenants' entries, and a client of one of them.
async fn mixed() -> (Shared, Client) {
    let (world, client) = with_paris().await;
    for n in 0..12_u8 {
        {
            let mut world = lock(&world);
            world.advance(std::time::Duration::from_secs(1));
            let mut id = [n; 16];
            id[..6].copy_from_slice(&world.now.as_millis().to_be_bytes()[2..]);
            (id[6], id[8]) = (0x70, 0x80);
            let fingerprint = candor_ledger::fingerprint::Fingerprint([n; 32]);
            let get = Operation::Get(Get {
                fingerprint,
                semantic: None,
            });
            world.ask(OTHER, RequestId::from_bytes(id).unwrap(), get);
            world.page = 5;
        }
        let prompt = format!("prompt {n}");
        client
            .set_attested(&fields(&prompt), "x", HOUR)
            .await
            .unwrap();
    }
    (world, client)
}

/// All pages of a range.
async fn read(client: &Client, from: u64, to: u64) -> Result<Vec<RangeItem>, Error> {
    let under = client.checkpoint(None).await?;
    let mut range = client.range(Seq(from), Seq(to), under)?;
    let mut items = Vec::new();
    while let Some(page) = range.page().await? {
        items.extend(page);
    }
    Ok(items)
}

#[tokio::test]
async fn a_range_shows_what_is_the_tenants_and_of_all_others_the_leaf_hash() {
    let (world, client) = mixed().await;
    let last = lock(&world).sealed_size() - 1;
    for (from, to) in [(0, last), (3, last), (7, 7), (1, last - 3)] {
        let items = read(&client, from, to).await.unwrap();
        assert_eq!(items.len(), usize::try_from(to - from + 1).unwrap());
        let world = lock(&world);
        for (seq, item) in (from..).zip(items) {
            let line = &world.entries[usize::try_from(seq).unwrap()];
            match item {
                RangeItem::Entry(shown) => assert_eq!(&shown, line, "{seq}"),
                RangeItem::Hidden(hash) => {
                    assert_eq!(hash, leaf_hash(line));
                    assert_eq!(world.entry(seq).tenant, OTHER);
                }
            }
        }
    }
    // What is not sealed cannot be proved, so it is not asked for.
    is(read(&client, 0, last + 1).await, "INVALID_FIELD");
    is(read(&client, 5, 4).await, "INVALID_FIELD");
    // A refusal reaches the caller with its code.
    lock(&world).gate = Some(Box::new(|world, method, _| {
        (method == "range").then(|| world.refused(ErrorCode::PermissionDenied))
    }));
    is(read(&client, 0, last).await, "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_time_is_found_among_the_entries_that_are_shown() {
    let (world, client) = mixed().await;
    let under = client.checkpoint(None).await.unwrap();
    let entries: Vec<_> = {
        let world = lock(&world);
        (0..under.size().0).map(|seq| world.entry(seq)).collect()
    };
    let mut times: Vec<Micros> = entries.iter().map(|entry| entry.time).collect();
    times.dedup();
    for time in times
        .into_iter()
        .flat_map(|t| [Micros(t.0 - 1), t, Micros(t.0 + 1)])
    {
        let shown = || entries.iter().filter(|entry| entry.tenant != OTHER);
        let expected = Located {
            before: shown()
                .rfind(|entry| entry.time < time)
                .map(|entry| entry.seq),
            from: shown()
                .find(|entry| entry.time >= time)
                .map(|entry| entry.seq),
        };
        let located = client.locate(&under, |found| found >= time).await.unwrap();
        assert_eq!(located, expected, "{time}");
    }
}

#[tokio::test]
async fn a_page_that_is_changed_in_any_bit_is_refused_and_its_endpoint_named() {
    let seed = std::env::var("CANDOR_SEED").unwrap_or_else(|_| "range".to_owned());
    println!("CANDOR_SEED={seed}");
    let (world, client) = mixed().await;
    let under = client.checkpoint(None).await.unwrap();
    let last = under.size().0 - 1;
    // One try an endpoint: what is refused is refused at once.
    let endpoint = world::serve(&world).await;
    let strict = world::builder(&[&world], &[endpoint])
        .retries_max(1)
        .build()
        .unwrap();
    for round in 0..200_u32 {
        let random = sha3_256(format!("{seed} {round}").as_bytes());
        let number = move |at: usize| usize::from(u16::from_be_bytes([random[at], random[at + 1]]));
        lock(&world).lie_range = Some(Box::new(move |_, reply| flip(reply, number)));
        let from = u64::try_from(number(8)).unwrap() % last;
        let mut range = strict
            .range(Seq(from), Seq(last), Arc::clone(&under))
            .unwrap();
        let error = range.page().await.unwrap_err();
        assert!(
            matches!(error, Error::Unproven { .. }),
            "round {round}: {error}"
        );
        assert!(error.to_string().contains("http://127.0.0.1"), "{error}");
    }
    // Nor is anything left out, added, or shown in another's place.
    let lies: [fn(&mut World, &mut ListRangeResponse); 6] = [
        |_, reply| drop(reply.items.remove(1)),
        |_, reply| drop(reply.items.pop()),
        |_, reply| reply.items.clear(),
        |_, reply| reply.items.swap(0, 1),
        |_, reply| reply.items[2].item = None,
        |_, reply| reply.items.push(reply.items[0].clone()),
    ];
    for lie in lies {
        lock(&world).lie_range = Some(Box::new(lie));
        is(read(&strict, 1, last).await, "UNPROVEN");
    }
    // Beside an honest endpoint a lying one does no harm.
    let honest = lock(&world).fork().shared();
    lock(&honest).page = 5;
    let endpoints = [world::serve(&world).await, world::serve(&honest).await];
    let client = world::builder(&[&world], &endpoints).build().unwrap();
    assert_eq!(
        read(&client, 1, last).await.unwrap().len(),
        usize::try_from(last).unwrap()
    );
    drop(keys());
}

/// Flips one bit of an item, of the frontier or of the path.
fn flip(reply: &mut ListRangeResponse, number: impl Fn(usize) -> usize) {
    let mut parts: Vec<&mut bytes::Bytes> = Vec::new();
    for item in &mut reply.items {
        match item.item.as_mut().unwrap() {
            Item::Entry(bytes) | Item::LeafHash(bytes) => parts.push(bytes),
        }
    }
    parts.extend(&mut reply.frontier);
    parts.extend(&mut reply.path);
    let count = parts.len();
    let part = parts.swap_remove(number(0) % count);
    let mut changed = part.to_vec();
    let at = number(2) % changed.len();
    changed[at] ^= 1 << (number(4) % 8);
    *part = changed.into();
}
