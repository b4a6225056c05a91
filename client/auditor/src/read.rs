//! Reading the files named on the command line, each within its limit.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use candor_ledger::shown::shown;

/// A file that could not be read or is not what it should be; nothing is said about its content.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub(crate) struct CouldNotRead {
    path: String,
    problem: String,
}

type Problem = Box<dyn std::error::Error>;

impl CouldNotRead {
    pub(crate) fn new(path: &Path, problem: impl Into<Problem>) -> Self {
        Self {
            path: shown(&path.display().to_string()).to_string(),
            problem: shown(&problem.into().to_string()).to_string(),
        }
    }
}

/// Reads a whole file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read or is longer than `len_max` bytes.
pub(crate) fn file(path: &Path, len_max: usize) -> Result<Vec<u8>, CouldNotRead> {
    let failed = |error: io::Error| CouldNotRead::new(path, error);
    if path.as_os_str() == "-" {
        return within(io::stdin().lock(), path, len_max);
    }
    within(File::open(path).map_err(failed)?, path, len_max)
}

/// Prints the result; a reader who has gone away has seen enough.
pub(crate) fn print(text: &str) {
    drop(io::stdout().lock().write_all(text.as_bytes()));
}

fn within(from: impl Read, path: &Path, len_max: usize) -> Result<Vec<u8>, CouldNotRead> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX);
    from.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| CouldNotRead::new(path, error))?;
    if bytes.len() > len_max {
        return Err(CouldNotRead::new(
            path,
            format!("longer than {len_max} bytes"),
        ));
    }
    Ok(bytes)
}
