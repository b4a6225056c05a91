//! Test cases that others published. They lie beside this repository, not in it.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Reads a file that holds a list of cases, and checks that all `expected` of them are there.
pub(crate) fn outside_cases(file: &str, expected: usize) -> Vec<Value> {
    let path = outside_folder().join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: set CANDOR_VECTORS", path.display()));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(
        expected > 0 && cases.len() == expected,
        "{file} is incomplete"
    );
    cases
}

/// `$CANDOR_VECTORS`, or `../shared/vectors` from the root of the workspace.
fn outside_folder() -> PathBuf {
    match std::env::var_os("CANDOR_VECTORS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
    }
}
