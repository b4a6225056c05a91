//! Folders compared byte by byte, and copied.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// What equal folders hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Same {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// Compares folders with the first of them: names and contents of all files below.
///
/// # Errors
/// Names the first file that differs or that one of them lacks.
pub(crate) fn same(folders: &[PathBuf]) -> anyhow::Result<Same> {
    let first = folders.first().context("no folder to compare")?;
    let files = files_below(first)?;
    let mut bytes = 0;
    for other in folders.iter().skip(1) {
        let of_other = files_below(other)?;
        if let Some(odd) = files.symmetric_difference(&of_other).next() {
            bail!(
                "`{}` is in one of `{}` and `{}` only",
                odd.display(),
                first.display(),
                other.display()
            );
        }
        bytes = 0;
        for file in &files {
            bytes += same_file(&first.join(file), &other.join(file))?;
        }
    }
    Ok(Same {
        files: files.len(),
        bytes,
    })
}

/// Copies a folder with everything below.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in files_below(from)? {
        let target = to.join(&file);
        let parent = target.parent().context("a file lies in a folder")?;
        fs::create_dir_all(parent)?;
        fs::copy(from.join(&file), &target)
            .with_context(|| format!("cannot write `{}`", target.display()))?;
    }
    Ok(())
}

fn files_below(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::new()];
    while let Some(folder) = left.pop() {
        let path = root.join(&folder);
        let entries =
            fs::read_dir(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                left.push(name);
            } else {
                found.insert(name);
            }
        }
    }
    Ok(found)
}

fn same_file(one: &Path, other: &Path) -> anyhow::Result<u64> {
    let open = |path: &Path| {
        fs::File::open(path)
            .map(|file| BufReader::new(file).bytes())
            .with_context(|| format!("cannot read `{}`", path.display()))
    };
    let (mut left, mut right) = (open(one)?, open(other)?);
    let mut at = 0;
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(at),
            (a, b) if a == b => at += 1,
            _ => bail!(
                "`{}` and `{}` differ at byte {at}",
                one.display(),
                other.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn a_copy_is_the_same_until_a_byte_or_a_name_differs() {
        let outside = tempfile::tempdir().unwrap();
        let path = |name: &str| outside.path().join(name);
        fs::create_dir_all(path("a/tree")).unwrap();
        fs::write(path("a/tree/00-000000000000"), [1, 2, 3]).unwrap();
        fs::write(path("a/empty"), []).unwrap();
        copy(&path("a"), &path("b")).unwrap();
        let both = [path("a"), path("b")];
        assert_eq!(same(&both).unwrap(), Same { files: 2, bytes: 3 });

        fs::write(path("b/tree/00-000000000000"), [1, 2, 4]).unwrap();
        assert!(same(&both).unwrap_err().to_string().contains("byte 2"));
        fs::write(path("b/tree/00-000000000000"), [1, 2]).unwrap();
        assert!(same(&both).unwrap_err().to_string().contains("byte 2"));
        fs::write(path("b/tree/00-000000000000"), [1, 2, 3]).unwrap();
        fs::write(path("b/more"), []).unwrap();
        assert!(same(&both).unwrap_err().to_string().contains("more"));
    }
}
