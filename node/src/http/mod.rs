//! Plain HTTP: pages for machines that watch (`/livez`, `/readyz`, `/metrics`), and the ledger as C2SP
//! tlog-tiles (`/checkpoint`, `/tile/...`) for auditors, monitors and mirrors.
//!
//! Checkpoints and hash tiles hold nothing secret and are for anyone. Entry bundles show the entries
//! of all tenants, so they need the token of an auditor of the whole cluster.

mod face;
mod tiles;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use candor_ledger::ids::TreeSize;
use candor_ledger::tile::TileId;
use serde_json::json;
use tonic::Code;

pub use self::face::Face;
use crate::env::Listener;
use crate::grpc::status::{ApiError, ErrorCode};

/// What the pages show, asked anew for each request.
pub trait Pages: Send + Sync + 'static {
    /// Why this node cannot serve; empty when it can.
    fn not_ready(&self) -> Vec<String>;
    /// `OpenMetrics` text.
    fn metrics(&self) -> String;
    /// The newest checkpoint's note.
    ///
    /// # Errors
    /// No checkpoint yet; damage.
    fn checkpoint(&self) -> Result<String, ApiError>;
    /// The kept checkpoint of this size.
    ///
    /// # Errors
    /// None is kept; damage.
    fn checkpoint_of(&self, size: TreeSize) -> Result<String, ApiError>;
    /// The bytes of a tile for the bearer of this `authorization` header.
    ///
    /// # Errors
    /// Not sealed that far; no right; damage.
    fn tile(&self, tile: TileId, authorization: Option<&str>) -> Result<Vec<u8>, ApiError>;
    /// Takes note of what was refused.
    fn refused(&self, error: &ApiError);
}

type AllPages = Arc<dyn Pages>;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves until `stop` resolves.
pub async fn serve<L: Listener>(
    listener: L,
    pages: AllPages,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/checkpoint", get(checkpoint))
        .route("/checkpoint/{size}", get(tiles::checkpoint))
        .route("/tile/{*path}", get(tiles::tile))
        .with_state(pages);
    let served = axum::serve(Accept(listener), routes)
        .with_graceful_shutdown(stop)
        .await;
    if let Err(problem) = served {
        tracing::error!(%problem, "the HTTP listener ended");
    }
}

async fn readyz(Shared(pages): Shared<AllPages>) -> Response {
    let reasons = pages.not_ready();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let text = reasons.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(Shared(pages): Shared<AllPages>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], pages.metrics()).into_response()
}

async fn checkpoint(Shared(pages): Shared<AllPages>) -> Response {
    match pages.checkpoint() {
        // A short life: a new checkpoint may come every 100 ms.
        Ok(note) => {
            let headers = [
                (header::CONTENT_TYPE, PLAIN),
                (header::CACHE_CONTROL, "max-age=1"),
            ];
            (headers, note).into_response()
        }
        Err(error) => refuse(&pages, &error),
    }
}

/// An error as JSON, `{"code", "message"}`, under the HTTP status that its code means; no cache keeps
/// it, because what is missing now may be sealed in a moment.
fn refuse(pages: &AllPages, error: &ApiError) -> Response {
    pages.refused(error);
    let body = json!({ "code": error.code.as_str(), "message": error.message });
    let mut headers = HeaderMap::new();
    let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
    say(header::CONTENT_TYPE, "application/json");
    say(header::CACHE_CONTROL, "no-store");
    if error.code == ErrorCode::Unauthenticated {
        say(header::WWW_AUTHENTICATE, "Bearer");
    }
    (http_status(error.code), headers, format!("{body}\n")).into_response()
}

/// As google.rpc.Code says that gRPC's statuses stand in HTTP.
fn http_status(code: ErrorCode) -> StatusCode {
    match code.grpc() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
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
