//! The checkpoint that a node shows over HTTP.

use anyhow::{Context as _, ensure};

/// Where it is.
pub const PATH: &str = "/checkpoint";

/// What is sent to ask for a path.
pub fn question(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
}

/// The note in an HTTP answer, head and body.
///
/// # Errors
/// When it is no whole answer, or says something else than 200.
pub fn note_of(answer: &str) -> anyhow::Result<String> {
    let (head, note) = answer.split_once("\r\n\r\n").context("no answer")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("no length")?.parse()?;
    ensure!(head.starts_with("HTTP/1.1 200") && note.len() == length);
    Ok(note.to_owned())
}
