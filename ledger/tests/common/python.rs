//! A Python with the packages of `.ci/requirements.txt`, for programs that share no code with us.

/// `None`, with a word about it, where there is no such Python and nobody demands one.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("CANDOR_PYTHON").ok();
    let demanded = std::env::var_os("CI").is_some();
    assert!(python.is_some() || !demanded, "CI must set CANDOR_PYTHON");
    if python.is_none() {
        eprintln!("not run: CANDOR_PYTHON names no Python with cryptography and slh-dsa");
    }
    python
}
