//! Folders compared byte by byte, copied and put in place of each other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// What equal folders hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Same {
    /// Files in each.
    pub files: usize,
    /// Bytes in each.
    pub bytes: u64,
}

/// Compares folders with the first of them: names and contents of all files below.
///
/// # Errors
/// Names the first file that differs or that one of them lacks.
pub fn same(folders: &[PathBuf]) -> anyhow::Result<Same> {
    let (first, others) = folders.split_first().context("no folder to compare")?;
    let names = files_below(first)?;
    let mut bytes = 0;
    for name in &names {
        bytes += u64::try_from(read(&first.join(name))?.len())?;
    }
    for other in others {
        let of_other = files_below(other)?;
        if let Some(odd) = names.symmetric_difference(&of_other).next() {
            bail!(
                "`{}` is in one of `{}` and `{}` only",
                odd.display(),
                first.display(),
                other.display()
            );
        }
        for name in &names {
            let (one, two) = (first.join(name), other.join(name));
            same_file(&one, &two)?;
        }
    }
    let files = names.len();
    Ok(Same { files, bytes })
}

/// Changes one bit of a file in place, as a bad device would: open handles see it.
///
/// # Errors
/// The disk's word; a file that ends before.
pub fn flip(file: &Path, at: usize) -> anyhow::Result<()> {
    let open = fs::File::options().read(true).write(true).open(file);
    let open = open.with_context(|| format!("cannot open `{}`", file.display()))?;
    let at = u64::try_from(at)?;
    let mut byte = [0];
    open.read_exact_at(&mut byte, at)?;
    open.write_all_at(&byte.map(|byte| byte ^ 1), at)?;
    Ok(())
}

/// Copies a folder with everything below to a place where nothing is yet.
///
/// # Errors
/// The disk's word, with the file.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot write `{}`", target.display()))?;
        }
    }
    let permissions = fs::metadata(from)?.permissions();
    Ok(fs::set_permissions(to, permissions)?)
}

/// Puts a copy of one folder in the place of another, which is deleted.
///
/// # Errors
/// The disk's word.
pub fn replace(folder: &Path, with: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot delete `{}`", folder.display()))?;
    }
    copy(with, folder)
}

/// Names of all files below a folder, relative to it.
///
/// # Errors
/// The disk's word.
pub fn files_below(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
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

fn same_file(one: &Path, other: &Path) -> anyhow::Result<()> {
    let (left, right) = (read(one)?, read(other)?);
    if left == right {
        return Ok(());
    }
    let equal = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    bail!(
        "`{}` ({} bytes) and `{}` ({} bytes) differ at byte {equal}",
        one.display(),
        left.len(),
        other.display(),
        right.len()
    )
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
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
        replace(&path("b"), &path("a")).unwrap();
        assert_eq!(same(&both).unwrap(), Same { files: 2, bytes: 3 });
    }
}
