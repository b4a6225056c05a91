//! A future that runs beside its owner.

use std::future::Future;

use futures::future::{AbortHandle, Abortable};
use tokio::sync::oneshot;

/// A running task or lane; dropping it lets the task run on without an owner.
#[must_use = "every task has an owner that joins or aborts it"]
#[derive(Debug)]
pub struct Task {
    name: &'static str,
    abort: AbortHandle,
    end: oneshot::Receiver<TaskEnd>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// It was aborted before it finished.
    Aborted,
    /// Its future finished.
    Finished,
    /// It panicked, or the runtime under it was shut down.
    Lost,
}

impl Task {
    /// Pairs a future with the handle of its owner; whoever calls runs the returned future.
    pub fn bind(
        name: &'static str,
        future: impl Future<Output = ()> + Send,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (abort, registration) = AbortHandle::new_pair();
        let (ended, end) = oneshot::channel();
        let run = async move {
            let how = match Abortable::new(future, registration).await {
                Ok(()) => TaskEnd::Finished,
                Err(_) => TaskEnd::Aborted,
            };
            // An owner that is gone does not want to know.
            let _ = ended.send(how);
        };
        (Self { name, abort, end }, run)
    }

    /// The name it was started under.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Asks it to stop at its next await point; [`Task::join`] tells when it has.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Waits until the task has ended and its future is dropped.
    pub async fn join(self) -> TaskEnd {
        self.end.await.unwrap_or(TaskEnd::Lost)
    }
}
