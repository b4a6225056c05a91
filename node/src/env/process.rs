//! What a process is told from outside: files named on its command line, signals, standard input.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Exit status of a process that a second signal ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// The text of a file.
pub(crate) fn text_of(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Resolves at SIGTERM, at SIGINT and, where followed, at the end of standard input. A signal after
/// that ends the process at once.
pub(crate) async fn stopped(follow_stdin: bool) {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    let stdin_ends = async {
        if follow_stdin {
            end_of_stdin().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, () = stdin_ends => {} }
    // A second signal: whoever sends it does not want to wait.
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
}

/// Resolves when standard input ends. A thread of its own: a read of it cannot be cancelled, and
/// must not hold up the end of the runtime.
async fn end_of_stdin() {
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0; 64];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = ended.await;
}
