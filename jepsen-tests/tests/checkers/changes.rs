//! The changes by which a right run becomes a wrong one.

use std::collections::BTreeMap;

use candor_jepsen::history::{Answer, Asked, Event, Found, Miss, Process, Trouble, What};
use serde_json::{Value, json};

use crate::story::{Stored, Story};
use crate::world::output;

// Runs.

pub(crate) fn base() -> Stored {
    Story::whole().stored()
}

pub(crate) fn signed() -> Stored {
    changed(|run| {
        run.is_signed = true;
        run.prove();
    })
}

pub(crate) fn changed(change: impl FnOnce(&mut Stored)) -> Stored {
    let mut run = base();
    change(&mut run);
    run
}

pub(crate) fn told(more: impl FnOnce(&mut Story)) -> Stored {
    told_then(more, |_| {})
}

pub(crate) fn told_then(more: impl FnOnce(&mut Story), change: impl FnOnce(&mut Stored)) -> Stored {
    let mut story = Story::whole();
    more(&mut story);
    let mut run = story.stored();
    change(&mut run);
    run
}

/// The last entry with another member; nothing links to it and no checkpoint covers it.
pub(crate) fn last_entry(member: &str, value: Value) -> Stored {
    changed(|run| {
        let line = run.chains.get_mut(&1).unwrap().last_mut().unwrap();
        let mut entry: Value = serde_json::from_str(line).unwrap();
        entry[member] = value;
        *line = entry.to_string();
    })
}

pub(crate) fn last_answer(run: &mut Stored, change: impl FnOnce(&mut Answer)) {
    change(answers(run).last().unwrap());
}

/// The third checkpoint, which no receipt rests on.
pub(crate) fn third_note(change: impl FnOnce(&str) -> String) -> Stored {
    changed(|run| run.checkpoints[2] = change(&run.checkpoints[2]))
}

pub(crate) fn lookup_under_the_id_of_a_set(entries: &mut Vec<Value>) {
    let set = entries.last().unwrap().clone();
    renamed(entries, "cache.read_miss");
    entries.last_mut().unwrap()["request_id"] = set["request_id"].clone();
}

/// The hit on version 2, said to rest on the write of version 1.
pub(crate) fn hit_of_another_write() -> Stored {
    let is_it = |found: &Found| matches!(found, Found::Hit { version: 2, .. });
    let mut run = base();
    let seq = answers(&mut run)
        .find(|answer| is_it(&answer.found))
        .unwrap()
        .seq;
    run.rewrite(|entries| entries[usize::try_from(seq).unwrap()]["body"]["write_seq"] = json!(2));
    found(&mut run, is_it, |found| {
        if let Found::Hit { write_seq, .. } = found {
            *write_seq = 2;
        }
    });
    run
}

// Changes of the ledger.

pub(crate) fn unknown_on_some_nodes() -> Stored {
    told_then(
        |story| story.ask_in_vain(1, &story.set("k2", "A", 60_000), true),
        |run| drop(run.second_node().pop()),
    )
}

/// Repeats an entry at the end, id and all: a renewal that nobody asked for.
pub(crate) fn again(entries: &mut Vec<Value>, op: &str) {
    let last = entries
        .iter()
        .rfind(|entry| entry["op"] == op)
        .unwrap()
        .clone();
    let time = entries.last().unwrap()["time"].clone();
    entries.push(last);
    entries.last_mut().unwrap()["time"] = time;
}

/// Repeats an entry at the end, as a request of its own.
pub(crate) fn renamed(entries: &mut Vec<Value>, op: &str) {
    let newest = entries
        .iter()
        .rfind(|entry| entry["op"] == op)
        .unwrap()
        .clone();
    let time = entries.last().unwrap()["time"].clone();
    entries.push(newest);
    let last = entries.last_mut().unwrap();
    let id = last["request_id"].as_str().unwrap().replace("-8", "-9");
    last["request_id"] = json!(id);
    last["time"] = time;
}

pub(crate) fn sent_twice_and_done_twice(story: &mut Story) {
    let set = story.set("k4", "E", 60_000);
    let first = story.ask(0, &set);
    story.ask_as(0, &set, first.request.unwrap());
}

pub(crate) fn expires_at_the_end(entries: &mut Vec<Value>) {
    let written = entries.last().unwrap().clone();
    let mut expire = written.clone();
    expire["op"] = json!("cache.expire");
    expire["actor"] = json!("log");
    expire["request_id"] = Value::Null;
    expire["body"] = json!({"write_seq": written["seq"]});
    entries.push(expire);
}

// Changes of what was served.

pub(crate) fn is_first_hit(found: &Found) -> bool {
    matches!(found, Found::Hit { version: 1, .. })
}

pub(crate) fn answers(run: &mut Stored) -> impl Iterator<Item = &mut Answer> {
    run.history
        .events
        .iter_mut()
        .filter_map(|event| match &mut event.what {
            What::Answered { answer, .. } => Some(answer),
            _ => None,
        })
}

pub(crate) fn found(run: &mut Stored, which: fn(&Found) -> bool, change: impl FnOnce(&mut Found)) {
    let answer = answers(run).find(|answer| which(&answer.found)).unwrap();
    change(&mut answer.found);
}

pub(crate) fn set_output(found: &mut Found, name: &str) {
    if let Found::Hit { output: held, .. } = found {
        *held = output(name);
    }
}

/// Has a question be asked, and answered, only after everything else: the ledger still says where it stood.
pub(crate) fn asked_later(run: &mut Stored, which: fn(&Found) -> bool) {
    let events = &mut run.history.events;
    let is_it = |event: &Event| match &event.what {
        What::Answered { answer, .. } => which(&answer.found),
        _ => false,
    };
    let at = events.iter().position(is_it).unwrap();
    let mut moved: Vec<Event> = events.drain(at - 1..=at).collect();
    let last_ns = events.last().unwrap().time_ns;
    for (step, event) in (1..).zip(&mut moved) {
        event.time_ns = last_ns + step * 1_000_000;
        event.process = Process::Client(100);
        if let What::Answered { answer, .. } = &mut event.what {
            answer.size = None;
        }
    }
    events.extend(moved);
    // A session of its own, so that only the order is wrong.
    run.plan["concurrency"] = json!(200);
    number(run);
}

/// Two clients look up what is not there, one after the other; the first is told the second's entry.
pub(crate) fn swapped_lookups(story: &mut Story) {
    story.ask(0, &story.get("k2"));
    story.ask(1, &story.get("k2"));
    story.swap_last_two_answers();
}

/// Has the question that lies so many events before the end be asked, and answered, after everything else, by
/// a client of its own: the ledger still says where it stood.
pub(crate) fn last_at(run: &mut Stored, at: usize) {
    let events = &mut run.history.events;
    let from = events.len() - at;
    let mut moved: Vec<Event> = events.drain(from..from + 2).collect();
    let last_ns = events.last().unwrap().time_ns;
    for (step, event) in (1..).zip(&mut moved) {
        event.time_ns = last_ns + step * 1_000_000;
        event.process = Process::Client(100);
    }
    events.extend(moved);
    run.plan["concurrency"] = json!(200);
    number(run);
}

/// A hit in place of a miss, in the history and in the ledger.
pub(crate) fn served_instead(miss: &Miss, name: &str, version: u64) -> Stored {
    let mut run = base();
    let is_it = |answer: &&mut Answer| answer.found == Found::Missed(miss.clone());
    let answer = answers(&mut run).find(is_it).unwrap().clone();
    hit_instead(run, &answer, name, version)
}

pub(crate) fn served_after_supersession() -> Stored {
    let mut run = base();
    let is_it = |found: &Found| matches!(found, Found::Missed(Miss::Superseded(_)));
    let answer = answers(&mut run)
        .find(|answer| is_it(&answer.found))
        .unwrap()
        .clone();
    hit_instead(run, &answer, "D", 2)
}

pub(crate) fn hit_instead(mut run: Stored, answer: &Answer, name: &str, version: u64) -> Stored {
    let at = usize::try_from(answer.seq).unwrap();
    let digest = format!("sha3-256:{}", output(name));
    let mut write_seq = 0;
    run.rewrite(|entries| {
        let subject = entries[at]["subject"].clone();
        let of_output = |entry: &&Value| {
            entry["subject"] == subject && entry["body"]["output_hash"] == json!(digest)
        };
        let is_write = |entry: &&Value| entry["op"] == "cache.write";
        let write = entries[..at]
            .iter()
            .filter(is_write)
            .rfind(of_output)
            .unwrap();
        write_seq = write["seq"].as_u64().unwrap();
        entries[at]["op"] = json!("cache.read_hit");
        entries[at]["body"] =
            json!({"output_hash": digest, "version": version, "write_seq": write_seq});
    });
    let told = answers(&mut run).find(|one| one.seq == answer.seq).unwrap();
    told.found = Found::Hit {
        output: output(name),
        version,
        write_seq,
    };
    run
}

pub(crate) fn missed_before_expiry() -> Stored {
    miss_instead("k4", &Miss::Expired)
}

/// A lookup at the end that is told another reason than the state's, by all nodes.
pub(crate) fn miss_instead(key: &str, miss: &Miss) -> Stored {
    let mut story = Story::whole();
    let answer = story.ask(0, &story.get(key));
    let mut run = story.stored();
    run.rewrite(|entries| {
        let last = entries.last_mut().unwrap();
        last["op"] = json!("cache.read_miss");
        last["body"] = json!({"reason": miss.as_str()});
    });
    let told = answers(&mut run).find(|one| one.seq == answer.seq).unwrap();
    told.found = Found::Missed(miss.clone());
    run
}

/// The conflict left the other bytes behind: the next lookup is served them.
pub(crate) fn conflict_overwrote() -> Stored {
    let mut story = Story::whole();
    story.ask(0, &story.set("k4", "F", 60_000));
    let answer = story.ask(1, &story.get("k4"));
    let mut run = story.stored();
    run.rewrite(|entries| {
        let body = &mut entries.last_mut().unwrap()["body"];
        body["output_hash"] = json!(format!("sha3-256:{}", output("F")));
    });
    let told = answers(&mut run).find(|one| one.seq == answer.seq).unwrap();
    set_output(&mut told.found, "F");
    run
}

// Changes of the history.

/// Counts the events anew, and has receipts name theirs.
pub(crate) fn number(run: &mut Stored) {
    let mut now: BTreeMap<u64, u64> = BTreeMap::new();
    for (index, event) in (0..).zip(&mut run.history.events) {
        now.entry(event.index).or_insert(index);
        event.index = index;
    }
    for (index, _) in &mut run.receipts {
        *index = now[index];
    }
}

pub(crate) fn add(run: &mut Stored, process: u64, whats: Vec<What>) {
    let events = &mut run.history.events;
    for what in whats {
        let time_ns = events.last().unwrap().time_ns + 1_000_000;
        events.push(Event {
            index: u64::MAX,
            time_ns,
            process: Process::Client(process),
            node: Some(2),
            what,
        });
    }
    number(run);
}

pub(crate) fn get_of(run: &Stored) -> Asked {
    let asked = run
        .history
        .events
        .iter()
        .find_map(|event| match &event.what {
            What::Asked(asked @ Asked::Get { .. }) => Some(asked.clone()),
            _ => None,
        });
    asked.unwrap()
}

/// A timeout that the harness took for an answer.
pub(crate) fn unknown_as_success(run: &mut Stored) {
    let get = get_of(run);
    let key = get.key().unwrap().to_owned();
    let asked = Asked::Set {
        key,
        output: output("B"),
        ttl_ms: 60_000,
    };
    let answer = Answer {
        seq: 700,
        time_us: None,
        request: Some("019e2600-0000-7000-8000-0000000000ff".to_owned()),
        replayed: false,
        size: None,
        found: Found::Written {
            version: 2,
            renewed: true,
            expires_us: 1_778_752_900_000_000,
        },
    };
    let f = asked.f();
    add(
        run,
        90,
        vec![What::Asked(asked), What::Answered { f, answer }],
    );
}

pub(crate) fn unknown_as_failure(run: &mut Stored) {
    for event in &mut run.history.events {
        if let What::Unknown(trouble) = &event.what
            && trouble.request.is_some()
        {
            event.what = What::Failed(trouble.clone());
        }
    }
}

/// The first set, called a failure.
pub(crate) fn failure_was_served() -> Stored {
    changed(|run| {
        let event = &mut run.history.events[1];
        let What::Answered { f, answer } = &event.what else {
            panic!("the second event is the first answer")
        };
        event.what = What::Failed(Trouble {
            f: *f,
            error: "DEADLINE_PASSED".to_owned(),
            request: answer.request.clone(),
        });
        run.receipts.remove(0);
    })
}

pub(crate) fn session_went_back(run: &mut Stored) {
    let last = answers(run).last().unwrap();
    last.size = Some(2);
}

pub(crate) fn error(run: &mut Stored, code: &str) {
    let get = get_of(run);
    let trouble = Trouble {
        f: get.f(),
        error: code.to_owned(),
        request: None,
    };
    add(run, 90, vec![What::Asked(get), What::Unknown(trouble)]);
}

pub(crate) fn speaks_after_info(run: &mut Stored) {
    error(run, "UNAVAILABLE");
    let get = get_of(run);
    add(run, 90, vec![What::Asked(get)]);
}

pub(crate) fn never_came_back(run: &mut Stored) {
    let get = get_of(run);
    add(run, 90, vec![What::Asked(get)]);
}

// Changes of what was signed.

pub(crate) fn with_other_root(note: &str) -> String {
    let root = note.lines().nth(2).unwrap();
    note.replace(root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
}

pub(crate) fn of_size(note: &str, size: u64) -> String {
    let old = note.lines().nth(1).unwrap();
    note.replacen(&format!("\n{old}\n"), &format!("\n{size}\n"), 1)
}

/// The receipts and checkpoints of before, with a ledger that was written anew.
pub(crate) fn receipt_outlived() -> Stored {
    let mut before = base();
    let mut after = before.clone();
    after.rewrite(|entries| entries[2]["body"]["media_type"] = json!("text/plane"));
    before.chains = after.chains;
    before
}

pub(crate) fn signature_missing() -> Stored {
    let mut run = signed();
    let note = run.checkpoints.last_mut().unwrap();
    let line = note
        .lines()
        .filter(|line| line.starts_with('\u{2014}'))
        .nth(1)
        .unwrap();
    *note = note.replace(&format!("{line}\n"), "");
    run
}
