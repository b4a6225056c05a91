//! A node's HTTP port, asked as plainly as by a probe.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::recorded::shown::question;

/// What is answered to a GET, head and body. Each part of the answer is waited for so long.
///
/// # Errors
/// When nothing answers, or not in time.
pub(crate) fn get(address: &str, path: &str, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(question(path).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
