//! Where an auditor sits: a policy, tokens, kept notes, and the folder of a node that tells the truth.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::sample::Sample;

/// An auditor's of the whole cluster; in the file `token`.
pub(crate) const TOKEN: &str = "candor_of_an_auditor";

/// `policy`, `token`, `note-SIZE` and `node/ledger`.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn of(sample: &Sample) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("policy"), sample.policy().to_text()).unwrap();
        for (size, note) in &sample.notes {
            fs::write(at(&format!("note-{size}")), note).unwrap();
        }
        sample.write_folder(&at("node/ledger"));
        Self { folder }.token("token", TOKEN)
    }

    /// With one more file that holds a token.
    pub(crate) fn token(self, file: &str, token: &str) -> Self {
        fs::write(self.folder.path().join(file), format!("{token}\n")).unwrap();
        self
    }

    /// Exit status, report (null where there is none) and what was said beside it.
    pub(crate) fn audit(&self, place: &str, more: &[&str]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-audit"));
        command.args(["ledger", place, "--trust", "policy", "--output", "json"]);
        let output = command
            .args(more)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), report, said)
    }
}
