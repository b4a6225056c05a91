//! What the acts proved, what they did not, and what to try next.

use super::acts::Subject;
use super::auditor::Auditor;
use super::folder::DevFolder;
use crate::output::write_data;

/// Above the commands: a test finds them by it.
const TRY: &str = "try:";

/// Prints the end of the story. The commands run verbatim from the folder that `candor dev` was
/// started in: with nodes behind them when it serves, without any after `--exit`.
pub(crate) fn print(
    folder: &DevFolder,
    auditor: &Auditor,
    subject: &Subject,
    exit: bool,
) -> anyhow::Result<()> {
    let commands = if exit {
        offline(folder, auditor)
    } else {
        online(folder, auditor, subject)
    };
    let text = format!(
        "\nproved      every acknowledged request of act 2 stands in the ledger, also after its leader was killed\n\
         \x20           a changed byte is found, and its entry named, by whoever has the public keys\n\
         \x20           each hit was verified before it was used: three signatures, a majority of nodes, its path\n\
         not proved  that an output is right, that the caller told the truth about its model, or who it was\n\
         \x20           that no newer event of a subject exists: that takes the whole ledger\n\
         \x20           safety against all nodes together: they run on one machine here; witnesses stand outside\n\
         {TRY}\n  {}\n",
        commands.join("\n  ")
    );
    write_data(text.as_bytes(), false)
}

fn online(folder: &DevFolder, auditor: &Auditor, subject: &Subject) -> [String; 3] {
    let digits: String = subject.fingerprint.to_hex().chars().take(12).collect();
    let file = folder.path("mine.json").display().to_string();
    let policy = folder.path("policy").display().to_string();
    let mut auditlog = vec!["auditlog", &digits];
    let mut evidence = vec!["evidence", &digits, "--out", &file];
    let config = folder.path("client.toml").display().to_string();
    if !folder.is_default() {
        for arguments in [&mut auditlog, &mut evidence] {
            arguments.extend(["--config", &config]);
        }
    }
    [
        auditor.candor(&auditlog),
        auditor.candor(&evidence),
        auditor.audit(&["verify", &file, "--trust", &policy]),
    ]
}

fn offline(folder: &DevFolder, auditor: &Auditor) -> [String; 3] {
    let path = |name: &str| folder.path(name).display().to_string();
    let policy = path("policy");
    [
        auditor.audit(&["verify", &path("evidence.json"), "--trust", &policy]),
        auditor.audit(&["ledger", &path("node-1"), "--trust", &policy]),
        auditor.audit(&["policy", "--check", &policy]),
    ]
}
