//! A cluster's state, for people and for programs. Nothing of it is proved: it is what nodes say.

use std::process::ExitCode;

use candor_client::operator::messages::{
    CatchUp, GetStatusResponse, MemberStatus, NodeRole, SettledNode,
};
use candor_ledger::shown::shown;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use crate::output::{Lines, Output};

/// A node's view of the cluster as lines and a table.
pub(crate) fn status_text(status: &GetStatusResponse) -> String {
    let origin = if status.origin.is_empty() {
        "-"
    } else {
        &status.origin
    };
    let mut text = Lines::default();
    text.push(format_args!("ledger   {}", shown(origin)));
    text.push(format_args!(
        "entries  {} applied, {} sealed; head {}",
        status.ledger_size,
        status.sealed_size,
        hex::encode(&status.head),
    ));
    text.push(format_args!(
        "node     {} is {} in term {}; log {}, committed {}, applied {}",
        status.node_id,
        role(status),
        status.term,
        status.last_log_index,
        status.committed_index,
        status.applied_index,
    ));
    text.push(format_args!(
        "raft log {} bytes; purged up to {}",
        status.raft_log_bytes, status.purged_index,
    ));
    if let Some(catch_up) = &status.catch_up {
        text.push(format_args!("catch-up {}", catch_up_text(catch_up)));
    }
    if status.members.len() == 1 {
        text.push("note     a single node has nobody to ask about its clock or a lost folder");
    }
    for trouble in &status.trouble {
        text.push(format_args!("trouble  {}", shown(trouble)));
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "node",
        "part",
        "peers",
        "clients",
        "log on disk",
        "silent ms",
    ]);
    for member in &status.members {
        let node = member.node.clone().unwrap_or_default();
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        table.add_row([
            node.node_id.to_string(),
            part(status, member).to_owned(),
            shown(&node.peer_address).to_string(),
            shown(&node.client_address).to_string(),
            number(member.matched_index),
            number(member.silent_ms),
        ]);
    }
    text.push(table.trim_fmt());
    text.into_text()
}

/// The same for programs.
pub(crate) fn status_json(status: &GetStatusResponse) -> Value {
    let members = status.members.iter().map(|member| {
        let node = member.node.clone().unwrap_or_default();
        json!({
            "node_id": node.node_id,
            "part": part(status, member),
            "cosigner": member.cosigner,
            "peer_address": node.peer_address,
            "client_address": node.client_address,
            "matched_index": member.matched_index,
            "silent_ms": member.silent_ms,
            "clock_offset_ms": member.clock_offset_ms,
        })
    });
    json!({
        "origin": status.origin,
        "node_id": status.node_id,
        "role": role(status),
        "leader_id": status.leader_id,
        "term": status.term,
        "last_log_index": status.last_log_index,
        "committed_index": status.committed_index,
        "applied_index": status.applied_index,
        "ledger_size": status.ledger_size,
        "sealed_size": status.sealed_size,
        "head": hex::encode(&status.head),
        "raft_log_bytes": status.raft_log_bytes,
        "purged_index": status.purged_index,
        "catch_up": status.catch_up.as_ref().map(catch_up_json),
        "queued": status.queued,
        "log_syncs": status.log_syncs,
        "entries_appended": status.entries_appended,
        "checkpoints_applied": status.checkpoints_applied,
        "uptime_s": status.uptime_s,
        "software_version": status.software_version,
        "trouble": status.trouble,
        "members": members.collect::<Vec<_>>(),
    })
}

/// Where the nodes came to stand; exit status 1 when that is not one place.
pub(crate) fn print_settled(nodes: &[SettledNode], output: Output) -> anyhow::Result<ExitCode> {
    let settled = candor_client::operator::is_settled(nodes);
    let places = nodes.iter().map(|node| {
        json!({
            "node_id": node.node_id,
            "applied_index": node.applied_index,
            "ledger_size": node.ledger_size,
            "sealed_size": node.sealed_size,
            "head": hex::encode(&node.head),
            "trouble": node.trouble,
        })
    });
    let fields = json!({ "settled": settled, "nodes": places.collect::<Vec<_>>() });
    output.print(fields, || {
        let mut text = Lines::default();
        for node in nodes {
            let place = format!(
                "log index {}, {} entries",
                node.applied_index, node.ledger_size
            );
            let state = if node.trouble.is_empty() {
                place
            } else {
                shown(&node.trouble).to_string()
            };
            text.push(format_args!("node {}: {state}", node.node_id));
        }
        text.push(if settled {
            "settled"
        } else {
            "not settled; try again"
        });
        text.into_text()
    })?;
    Ok(if settled {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn catch_up_text(catch_up: &CatchUp) -> String {
    let (done, total) = (catch_up.entries_done, catch_up.entries_total);
    let source = catch_up
        .source_id
        .map_or("nobody yet".to_owned(), |id| format!("node {id}"));
    let since = catch_up.since.as_ref().map_or(0, |since| since.seconds);
    let stage = if catch_up.installing {
        "; installing"
    } else {
        ""
    };
    format!(
        "{done} of {total} entries, {} bytes, from {source}, since {since} (Unix time); {} sources refused{stage}",
        catch_up.bytes, catch_up.refused
    )
}

fn catch_up_json(catch_up: &CatchUp) -> Value {
    json!({
        "source_id": catch_up.source_id,
        "entries_done": catch_up.entries_done,
        "entries_total": catch_up.entries_total,
        "bytes": catch_up.bytes,
        "since_unix": catch_up.since.as_ref().map(|since| since.seconds),
        "installing": catch_up.installing,
        "refused": catch_up.refused,
    })
}

fn role(status: &GetStatusResponse) -> String {
    let role = NodeRole::try_from(status.role).unwrap_or(NodeRole::Unspecified);
    role.as_str_name()
        .trim_start_matches("NODE_ROLE_")
        .to_lowercase()
}

fn part(status: &GetStatusResponse, member: &MemberStatus) -> &'static str {
    let id = member.node.as_ref().map(|node| node.node_id);
    match (
        status.leader_id.is_some() && status.leader_id == id,
        member.voter,
    ) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}
