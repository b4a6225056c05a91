//! One byte of a copy, changed: what somebody with write access to a disk could do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use candor_ledger::evidence::Evidence;
use candor_ledger::ids::Seq;

/// The byte that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flipped {
    pub(crate) file: PathBuf,
    pub(crate) offset: usize,
    pub(crate) from: char,
    pub(crate) to: char,
}

/// Changes a digit of the `output_hash` of one entry in a copy of a `ledger/` folder: the ledger
/// then says that the model gave another answer.
pub(crate) fn flip_in_ledger(ledger: &Path, seq: Seq) -> anyhow::Result<Flipped> {
    let (file, first) = entries_file(ledger, seq)?;
    let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let skip = usize::try_from(seq.0 - first)?;
    let before: usize = lines(&bytes).take(skip).map(<[u8]>::len).sum();
    let line = lines(&bytes)
        .nth(skip)
        .with_context(|| format!("there is no entry {seq}"))?;
    let at = before + digit_of_hash(line).context("that entry names no output")?;
    flip(file, bytes, at)
}

/// Changes the same digit in a copy of an evidence file.
pub(crate) fn flip_in_evidence(file: &Path) -> anyhow::Result<Flipped> {
    let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let at = digit_of_hash(&bytes).context("no entry of the evidence names an output")?;
    flip(file.to_owned(), bytes, at)
}

/// The first entry of the evidence that names an output.
pub(crate) fn first_with_output(evidence: &Evidence) -> anyhow::Result<Seq> {
    let mut entries = evidence.entries.iter();
    let found = entries.find(|entry| digit_of_hash(entry.line.as_bytes()).is_some());
    Ok(found
        .context("no entry of the evidence names an output")?
        .index)
}

/// The file with an entry, and the first entry in it, which is its name.
fn entries_file(ledger: &Path, seq: Seq) -> anyhow::Result<(PathBuf, u64)> {
    let folder = ledger.join("entries");
    let mut found = None;
    for file in fs::read_dir(&folder).with_context(|| format!("`{}`", folder.display()))? {
        let path = file?.path();
        let is_entries = path
            .extension()
            .is_some_and(|extension| extension == "jsonl");
        let first = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        if let Some(first) = first.filter(|first| is_entries && *first <= seq.0) {
            found = found.max(Some((first, path)));
        }
    }
    let (first, path) = found.with_context(|| format!("no file holds entry {seq}"))?;
    Ok((path, first))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

/// Where the first decimal digit of the first `output_hash` stands.
fn digit_of_hash(bytes: &[u8]) -> Option<usize> {
    let key = find(bytes, b"output_hash")?;
    let tag = key + find(bytes.get(key..)?, b"sha3-256:")? + b"sha3-256:".len();
    let digits = bytes.get(tag..)?.iter().take(64);
    Some(tag + digits.into_iter().position(u8::is_ascii_digit)?)
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// The lowest bit of a decimal digit gives another decimal digit.
fn flip(file: PathBuf, mut bytes: Vec<u8>, offset: usize) -> anyhow::Result<Flipped> {
    let byte = bytes.get_mut(offset).context("the byte is in the file")?;
    let from = char::from(*byte);
    ensure!(from.is_ascii_digit(), "the byte to change is a digit");
    *byte ^= 1;
    let to = char::from(*byte);
    fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
    Ok(Flipped {
        file,
        offset,
        from,
        to,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn changes_one_digit_of_the_entry_meant_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let entries = folder.path().join("entries");
        fs::create_dir(&entries).unwrap();
        let line = |hash: &str| format!("{{\"output_hash\":\"sha3-256:{}\"}}\n", hash.repeat(32));
        let text = format!("{{\"seq\":0}}\n{}{}", line("a7"), line("b4"));
        fs::write(entries.join("000000000256.jsonl"), &text).unwrap();
        fs::write(entries.join("000000000000.jsonl"), "").unwrap();
        fs::write(entries.join("000000000256.offsets"), "").unwrap();

        let flipped = flip_in_ledger(folder.path(), Seq(258)).unwrap();
        assert_eq!((flipped.from, flipped.to), ('4', '5'));
        let after = fs::read_to_string(entries.join("000000000256.jsonl")).unwrap();
        assert_eq!(after, text.replacen("b4", "b5", 1));
        assert!(
            flip_in_ledger(folder.path(), Seq(256)).is_err(),
            "it names no output"
        );
        assert!(
            flip_in_ledger(folder.path(), Seq(259)).is_err(),
            "it is not there"
        );
    }
}
