//! Plain HTTP for machines that watch: `/livez`, `/readyz`, `/metrics`, `/checkpoint`.
//!
//! Nothing here is secret: checkpoints may be read by anyone, and no entry is shown.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::env::Listener;

/// What the pages show, asked anew for each request.
pub trait Probes: Send + Sync + 'static {
    /// Why this node cannot serve; empty when it can.
    fn not_ready(&self) -> Vec<String>;
    /// `OpenMetrics` text.
    fn metrics(&self) -> String;
    /// The newest checkpoint's note.
    ///
    /// # Errors
    /// The disk's word.
    fn checkpoint(&self) -> Result<Option<String>, String>;
}

/// Serves until `stop` resolves.
pub async fn serve<L: Listener>(
    listener: L,
    probes: Arc<dyn Probes>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/checkpoint", get(checkpoint))
        .with_state(probes);
    let served = axum::serve(Accept(listener), routes)
        .with_graceful_shutdown(stop)
        .await;
    if let Err(problem) = served {
        tracing::error!(%problem, "the HTTP listener ended");
    }
}

async fn readyz(Shared(probes): Shared<Arc<dyn Probes>>) -> Response {
    let reasons = probes.not_ready();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let text = reasons.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(Shared(probes): Shared<Arc<dyn Probes>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], probes.metrics()).into_response()
}

async fn checkpoint(Shared(probes): Shared<Arc<dyn Probes>>) -> Response {
    let plain = "text/plain; charset=utf-8";
    match probes.checkpoint() {
        Ok(Some(note)) => {
            // A short life: a new checkpoint may come every 100 ms.
            let headers = [
                (header::CONTENT_TYPE, plain),
                (header::CACHE_CONTROL, "max-age=1"),
            ];
            (headers, note).into_response()
        }
        Ok(None) => (StatusCode::NOT_FOUND, "no checkpoint yet\n").into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

struct Accept<L>(L);

impl<L: Listener> axum::serve::Listener for Accept<L> {
    type Io = L::Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(connection) => return connection,
                Err(problem) => {
                    tracing::warn!(%problem, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
