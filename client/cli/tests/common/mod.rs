//! What the tests of the command line share.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, in a folder, with no settings from outside.
pub fn candor(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor"));
    command
        .current_dir(folder)
        .env_remove("CANDOR_CONFIG")
        .env("NO_COLOR", "1");
    command
}

/// Both programs in a folder of their own, as they lie on a machine that built neither.
pub struct Installed(tempfile::TempDir);

impl Installed {
    /// Copies `candor` and the auditor. `CANDOR_AUDIT` names an auditor that was just built; without it
    /// cargo builds one, which takes minutes where other features were built before.
    pub fn copy() -> Self {
        let candor = Path::new(env!("CARGO_BIN_EXE_candor"));
        let auditor = std::env::var_os("CANDOR_AUDIT").map_or_else(
            || {
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut build = Command::new(cargo);
                let build = build.args(["build", "-q", "-p", "candor-audit"]);
                assert!(build.status().unwrap().success(), "no auditor");
                candor.with_file_name("candor-audit")
            },
            PathBuf::from,
        );
        let folder = tempfile::tempdir().unwrap();
        for program in [candor, &auditor] {
            let copy = folder.path().join(program.file_name().unwrap());
            let copied = std::fs::copy(program, copy);
            assert!(copied.is_ok(), "{}: {copied:?}", program.display());
        }
        Self(folder)
    }

    /// The program there, in a folder, with no settings from outside.
    pub fn candor(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.0.path().join("candor"));
        command
            .current_dir(folder)
            .env_remove("CANDOR_CONFIG")
            .env("NO_COLOR", "1");
        command
    }
}

/// What it wrote, both streams one after the other.
pub fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs a line as it would be typed.
pub fn shell(folder: &Path, line: &str) -> Output {
    Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env_remove("CANDOR_CONFIG")
        .output()
        .unwrap()
}

/// A port with so many free ones after it. Somebody may take one in between: then a test fails and
/// says which.
pub fn free_ports(count: u16) -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = 20_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    (start..start + 5_000)
        .step_by(usize::from(count))
        .find(|base| (1..=count).all(|offset| free(base + offset)))
        .expect("a range of free ports")
}

/// Where a long-running child writes.
pub fn log(folder: &Path, name: &str) -> File {
    File::create(folder.join(name)).unwrap()
}
