//! `candor-audit` as a process of its own: found, built where need be, run, quoted.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::failure::WithLines;

const NAME: &str = "candor-audit";

/// How `candor-audit` and `candor` are called from where we are.
#[derive(Clone, Debug)]
pub(crate) struct Auditor {
    /// The program itself, from whatever folder it is started.
    program: PathBuf,
    audit: Vec<String>,
    candor: Vec<String>,
}

/// What a run of the auditor gave.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// What was run, as it is typed where the program is on the path.
    pub(crate) command: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) text: String,
}

impl Auditor {
    /// Finds the auditor: through cargo in a build folder, where it is built if need be, else
    /// beside this program, else on the path.
    ///
    /// # Errors
    /// When there is none, or it cannot be built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        if let Some(cargo) = CargoFolder::of(&program) {
            cargo.build()?;
            return Ok(Self {
                program: program.with_file_name(NAME),
                audit: cargo.run(NAME),
                candor: cargo.run("candor"),
            });
        }
        let beside = program.with_file_name(NAME);
        let on_path = |name: &str| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path)
                .filter_map(|folder| std::path::absolute(folder.join(name)).ok())
                .find(|file| file.is_file())
        };
        let (auditor, audit) = match on_path(NAME) {
            Some(file) => (file, NAME.to_owned()),
            None if beside.is_file() => (beside.clone(), shown(&beside)),
            None => bail!(
                "`{NAME}` is neither beside `{}` nor on the path",
                program.display()
            ),
        };
        let is_ours = on_path("candor").and_then(|file| file.canonicalize().ok());
        let candor = match is_ours {
            Some(file) if program.canonicalize().is_ok_and(|program| program == file) => {
                "candor".to_owned()
            }
            _ => shown(&program),
        };
        Ok(Self {
            program: auditor,
            audit: vec![audit],
            candor: vec![candor],
        })
    }

    /// Runs the auditor and waits for it.
    pub(crate) async fn run(&self, arguments: &[&str], folder: &Path) -> anyhow::Result<Ran> {
        let ran = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("cannot run `{}`", self.program.display()))?;
        let text = [ran.stdout, ran.stderr].concat();
        Ok(Ran {
            command: typed(&[NAME.to_owned()], arguments),
            exit_code: ran.status.code(),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    /// A call of `candor-audit` as it is typed.
    pub(crate) fn audit(&self, arguments: &[&str]) -> String {
        typed(&self.audit, arguments)
    }

    /// A call of `candor` as it is typed.
    pub(crate) fn candor(&self, arguments: &[&str]) -> String {
        typed(&self.candor, arguments)
    }
}

impl Ran {
    /// What came out is not what must; with everything that the auditor said.
    pub(crate) fn problem(&self, message: &str) -> anyhow::Error {
        WithLines {
            message: message.to_owned(),
            lines: self.text.lines().map(str::to_owned).collect(),
        }
        .into()
    }

    /// The first line that holds a text, cut to what fits a line.
    pub(crate) fn line_with(&self, text: &str) -> Option<String> {
        let line = self.text.lines().find(|line| line.contains(text))?;
        let words: Vec<&str> = line
            .trim_start_matches([' ', '-'])
            .split_whitespace()
            .collect();
        let line = words.join(" ");
        let cut: String = line.chars().take(LINE_MAX).collect();
        Some(if cut.len() < line.len() {
            cut + " .."
        } else {
            cut
        })
    }
}

/// Longer lines of the auditor are cut in the acts.
const LINE_MAX: usize = 160;

/// A program that cargo built, and the workspace it was built from.
struct CargoFolder {
    workspace: PathBuf,
    profile: String,
}

impl CargoFolder {
    /// `<target>/<profile>/candor`, where cargo keeps its lock, run from within the workspace or
    /// through cargo. (Cargo tags a target folder only if it made it, so the tag says less.)
    fn of(program: &Path) -> Option<Self> {
        let folder = program.parent()?;
        if !folder.join(".cargo-lock").is_file() {
            return None;
        }
        let profile = folder.file_name()?.to_str()?.to_owned();
        let through_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = std::env::current_dir().ok();
        let starts = [Some(folder.to_owned()), through_cargo, here];
        let mut places = starts.iter().flatten().flat_map(|start| start.ancestors());
        let workspace = places.find(|place| place.join("client/auditor/Cargo.toml").is_file())?;
        Some(Self {
            workspace: workspace.to_owned(),
            profile,
        })
    }

    fn build(&self) -> anyhow::Result<()> {
        let mut arguments = vec!["build".to_owned()];
        arguments.extend(self.selection(NAME));
        eprintln!(
            "building {NAME} where need be: {}",
            typed(&["cargo".to_owned()], &arguments)
        );
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let status = std::process::Command::new(cargo)
            .args(&arguments)
            .stdin(Stdio::null())
            .status()
            .context("cannot run cargo, which builds the auditor")?;
        if !status.success() {
            bail!("cargo could not build `{NAME}` ({status})");
        }
        Ok(())
    }

    /// `cargo run ... -p <package> --`
    fn run(&self, package: &str) -> Vec<String> {
        let mut words = vec!["cargo".to_owned(), "run".to_owned()];
        words.extend(self.selection(package));
        words.push("--".to_owned());
        words
    }

    fn selection(&self, package: &str) -> Vec<String> {
        let mut words = vec!["-q".to_owned()];
        match self.profile.as_str() {
            "debug" => {}
            "release" => words.push("--release".to_owned()),
            other => words.extend(["--profile".to_owned(), other.to_owned()]),
        }
        if std::env::current_dir().ok().as_ref() != Some(&self.workspace) {
            let manifest = self.workspace.join("Cargo.toml");
            words.extend(["--manifest-path".to_owned(), manifest.display().to_string()]);
        }
        words.extend(["-p".to_owned(), package.to_owned()]);
        words
    }
}

/// A path as short as it can be typed from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    match relative {
        Some(relative) => format!("./{}", relative.display()),
        None => path.display().to_string(),
    }
}

/// A command line that a shell reads as these words.
fn typed(program: &[String], arguments: &[impl AsRef<str>]) -> String {
    let mut line = String::new();
    for word in program
        .iter()
        .map(String::as_str)
        .chain(arguments.iter().map(AsRef::as_ref))
    {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@".contains(c);
        let gap = if line.is_empty() { "" } else { " " };
        let written = if !word.is_empty() && word.chars().all(plain) {
            write!(line, "{gap}{word}")
        } else {
            write!(line, "{gap}'{}'", word.replace('\'', r"'\''"))
        };
        written.expect("invariant: a string takes all");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_where_a_shell_needs_it() {
        let program = ["candor-audit".to_owned()];
        let line = typed(&program, &["verify", "my file", "it's", ""]);
        assert_eq!(line, r"candor-audit verify 'my file' 'it'\''s' ''");
    }
}
