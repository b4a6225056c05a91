//! With a tenant key: the caller sees no difference, everybody else sees nothing.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use candor_client::{
    Client, Error, GetOptions, Lookup, OpenError, Parameters, SetItem, SetOptions, TenantKey,
    Verified,
};
use candor_ledger::digest::{TaggedDigest, sha3_256, sha256_parts};
use candor_ledger::entry::{Body, Entry, Told, Write};

use crate::world::{self, Shared, World, bytes_from, lock};
use crate::{HOUR, fields, is, keys};

fn key(seed: &str) -> TenantKey {
    TenantKey::generate(world::TENANT, &mut bytes_from(seed)).unwrap()
}

fn keyed_client(world: &Shared, served: &str, seed: &str) -> Client {
    let builder = world::builder(&[world], &[served.to_owned()]);
    builder.tenant_key(key(seed)).build().unwrap()
}

fn writes(world: &Shared) -> Vec<Write> {
    let written = |line: &Vec<u8>| match Entry::parse(line).unwrap().body {
        Body::Write(write) => Some(*write),
        _ => None,
    };
    lock(world).entries.iter().filter_map(written).collect()
}

/// What somebody who has guessed the input would look for.
fn functions_of(input: &str) -> Vec<Vec<u8>> {
    let input = input.as_bytes();
    let mut found = vec![input.to_vec()];
    for digest in [sha3_256(input), sha256_parts(&[input])] {
        found.push(digest.to_vec());
        found.push(hex::encode(digest).into_bytes());
        found.push(BASE64_STANDARD.encode(digest).into_bytes());
        found.push(BASE64_URL_SAFE_NO_PAD.encode(digest).into_bytes());
    }
    found
}

#[tokio::test]
async fn a_tenant_key_leaves_nothing_guessable_and_changes_nothing_for_the_caller() {
    let world = World::new(&keys()).shared();
    let served = world::serve(&world).await;
    let client = keyed_client(&world, &served, "tenant");
    let inputs = ["Capital of France?", "be brief", "[the context]", "mallory"];
    let asked = || {
        let mut asked = fields(inputs[0]);
        asked.system_prompt_hash = hex::encode(sha3_256(inputs[1].as_bytes()));
        let context = Parameters::new().with_digest_of("context", inputs[2].as_bytes());
        asked.with_parameters(context.with("seed", 7))
    };
    let options = SetOptions {
        told: Told {
            person: Some(TaggedDigest::sha3(sha3_256(inputs[3].as_bytes()))),
            ..Told::default()
        },
        ..SetOptions::default()
    };
    client.set(&asked(), "Paris", HOUR, options).await.unwrap();
    let read: Verified<String> = client.get_verified(&asked()).await.unwrap().unwrap();
    assert_eq!(read.value(), "Paris");
    assert_eq!(read.about().media_type, "text/plain; charset=utf-8");
    assert_eq!(
        read.about().fingerprint,
        client.fingerprint(&asked()).unwrap()
    );
    let semantic = asked().semantic(hex::encode(sha3_256(b"France's capital?")), "0.97");
    client.set_attested(&semantic, "Paris", HOUR).await.unwrap();
    let items = vec![SetItem::new(&fields("2 + 2?"), "4", HOUR).unwrap()];
    for set in client.set_batch(items, None, None).await.unwrap() {
        set.unwrap();
    }
    let found = client
        .get_batch(&[&fields("2 + 2?"), &semantic], GetOptions::default())
        .await
        .unwrap();
    for (found, value) in found.into_iter().zip(["4", "Paris"]) {
        let Lookup::Hit(hit) = found.unwrap() else {
            panic!("a miss")
        };
        assert_eq!(hit.value(), value.as_bytes());
    }

    let outputs: Vec<_> = writes(&world)
        .iter()
        .map(|write| write.output_hash)
        .collect();
    assert_eq!(outputs[0], outputs[1], "equal outputs compare equal");
    assert_ne!(outputs[0], outputs[2]);
    let world = lock(&world);
    let haystack: Vec<&[u8]> = world
        .entries
        .iter()
        .chain(world.values.values())
        .map(Vec::as_slice)
        .collect();
    for input in [&inputs[..], &["France's capital?", "Paris", "2 + 2?"]].concat() {
        for needle in functions_of(input) {
            let holds = |hay: &&&[u8]| hay.windows(needle.len()).any(|part| part == needle);
            let found = haystack.iter().find(holds);
            assert!(found.is_none(), "a function of `{input}` is out");
        }
    }
}

#[tokio::test]
async fn what_another_key_or_none_wrote_never_reaches_a_reader() {
    let world = World::new(&keys()).shared();
    let served = world::serve(&world).await;
    let plain = world::client(&[&world], std::slice::from_ref(&served));
    let (ours, theirs) = (
        keyed_client(&world, &served, "ours"),
        keyed_client(&world, &served, "theirs"),
    );
    let asked = fields("Capital of France?");
    ours.set_attested(&asked, "Paris", HOUR).await.unwrap();
    assert_eq!(theirs.get_verified::<String>(&asked).await.unwrap(), None);
    assert_eq!(plain.get_verified::<String>(&asked).await.unwrap(), None);

    // By the fingerprint in the ledger anybody may ask; only the key opens.
    let fingerprint = ours.fingerprint(&asked).unwrap();
    let look_up = |client: Client| async move {
        client
            .look_up(fingerprint, None, GetOptions::default())
            .await
    };
    let Lookup::Hit(hit) = look_up(plain.clone()).await.unwrap() else {
        panic!("a miss")
    };
    assert!(
        hit.about()
            .media_type
            .starts_with("application/vnd.candor.aes-siv")
    );
    assert_ne!(hit.value(), b"Paris".as_slice());
    let error = is(look_up(theirs).await, "NOT_OPENED");
    assert!(matches!(
        error,
        Error::NotOpened {
            problem: OpenError::OtherKey { .. },
            ..
        }
    ));

    // Somebody may write but has no key: pseudonyms can be copied from the ledger.
    let copied = writes(&world).remove(0).fields;
    let output_hash = sha3_256(hit.value());
    let change = candor_client::ChangeOptions::default();
    ours.revoke(fingerprint, output_hash, "wrong", change)
        .await
        .unwrap();
    plain.set_attested(&copied, "Lyon", HOUR).await.unwrap();
    let error = is(ours.get_verified::<String>(&asked).await, "NOT_OPENED");
    assert!(matches!(
        error,
        Error::NotOpened {
            problem: OpenError::NotSealed(_),
            ..
        }
    ));
}
