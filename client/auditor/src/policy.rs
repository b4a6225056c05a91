//! `candor-audit policy`.

use std::path::Path;

use candor_ledger::policy::Policy;
use candor_ledger::shown::shown;
use serde_json::json;

use crate::Done;
use crate::args::{Output, PolicyArgs};
use crate::read;
use crate::report::Page;
use crate::trust;

pub(crate) fn run(args: &PolicyArgs, output: Output) -> Done {
    if let Some(path) = &args.check {
        return check(path, output);
    }
    let path = args.export_c2sp.as_ref();
    export(
        path.expect("invariant: clap demands one of the two"),
        output,
    )
}

/// What the policy trusts, so that a person can compare it with what the operator says elsewhere.
fn check(path: &Path, output: Output) -> Done {
    let policy = trust::policy(path, &[])?;
    read::print(&match output {
        Output::Json => check_json(&policy),
        Output::Text => check_text(path, &policy),
    });
    Ok(0)
}

fn check_text(path: &Path, policy: &Policy) -> String {
    let mut page = Page::default();
    page.line(
        "policy",
        format_args!("{} reads well", shown(&path.display().to_string())),
    );
    for keys in policy.keysets() {
        page.line("log", shown(keys.origin()));
        page.line(
            "key set",
            format_args!("sha3-256:{}", hex::encode(keys.id())),
        );
        page.line(
            "",
            "compare this id over another way than the one the policy came by",
        );
    }
    for pin in policy.pins() {
        let (origin, size, root) = (shown(&pin.origin), pin.size, pin.root);
        page.line(
            "pin",
            format_args!("{origin} at size {size} has root {root}"),
        );
    }
    let nodes = policy.required_nodes();
    page.line(
        "quorum",
        format_args!("takes cosignatures of {nodes} nodes at least"),
    );
    if nodes < 2 {
        page.line(
            "",
            "one compromised machine could make what this policy accepts",
        );
    }
    page.text
}

fn check_json(policy: &Policy) -> String {
    let keysets = policy.keysets().iter().map(|keys| {
        json!({ "origin": keys.origin(), "keyset": hex::encode(keys.id()), "vkeys": keys.vkeys() })
    });
    let pins = policy.pins().iter().map(
        |pin| json!({ "origin": pin.origin, "size": pin.size.0, "root": pin.root.to_string() }),
    );
    let report = json!({
        "report": "candor.audit.policy.v1",
        "keysets": keysets.collect::<Vec<_>>(),
        "pins": pins.collect::<Vec<_>>(),
        "required_nodes": policy.required_nodes(),
        "one_machine": policy.required_nodes() < 2,
    });
    format!("{report:#}\n")
}

/// The weaker form; the warning goes to standard error and into the JSON.
fn export(path: &Path, output: Output) -> Done {
    let export = trust::policy(path, &[])?.export_c2sp();
    match output {
        Output::Json => {
            let report = json!({ "c2sp": export.text, "warning": export.warning });
            read::print(&format!("{report:#}\n"));
        }
        Output::Text => {
            eprintln!("candor-audit: warning: {}", export.warning);
            read::print(&export.text);
        }
    }
    Ok(0)
}
