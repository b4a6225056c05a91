//! A Python with the packages of `.ci/requirements.txt`, for programs that share no code with us.

/// The one that `$CANDOR_PYTHON` names.
pub(crate) fn python() -> String {
    std::env::var("CANDOR_PYTHON").expect("CANDOR_PYTHON must name a Python")
}
