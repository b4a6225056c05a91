//! A progress bar on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of a folder: so many bytes of entries.
    pub(crate) fn new(bytes: u64) -> Self {
        Self::with(bytes, "{bar:40} {bytes}/{total_bytes} {eta}")
    }

    /// Of a log: so many entries.
    #[cfg(feature = "online")]
    pub(crate) fn counting(entries: u64) -> Self {
        Self::with(entries, "{bar:40} {pos}/{len} entries {eta}")
    }

    fn with(all: u64, template: &str) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(all), target).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(crate) fn advance(&self, more: usize) {
        self.0.inc(u64::try_from(more).unwrap_or(0));
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
