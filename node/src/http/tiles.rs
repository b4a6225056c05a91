//! `/tile/<L>/<N>[.p/<W>]` and `/tile/entries/<N>[.p/<W>]` of C2SP tlog-tiles, and the checkpoints of
//! former sizes.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use candor_ledger::ids::TreeSize;
use candor_ledger::tile::{TileId, TileKind};

use super::{AllPages, PLAIN, refuse};
use crate::grpc::status::{ApiError, ErrorCode};

/// What is under complete subtrees never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The same, but only the one who asked may keep it.
const FOR_EVER_HERE: &str = "private, max-age=31536000, immutable";

/// `/checkpoint/<size>`: a kept one, beside those that the specification names. An auditor asks for it
/// when its replay has come to a seal.
pub(super) async fn checkpoint(Shared(pages): Shared<AllPages>, uri: Uri) -> Response {
    let size = uri.path().strip_prefix("/checkpoint/").unwrap_or_default();
    let parsed = size.parse().ok();
    let parsed = parsed.filter(|number: &u64| number.to_string() == size);
    let found = parsed
        .ok_or_else(|| ApiError::new(ErrorCode::UnknownCheckpoint, "want `/checkpoint/<size>`"))
        .and_then(|size| pages.checkpoint_of(TreeSize(size)));
    match found {
        Ok(note) => {
            let headers = [
                (header::CONTENT_TYPE, PLAIN),
                (header::CACHE_CONTROL, FOR_EVER),
            ];
            (headers, note).into_response()
        }
        Err(error) => refuse(&pages, &error),
    }
}

/// One tile. The path is taken as it was sent: an escaped spelling is another name, and names nothing.
pub(super) async fn tile(
    Shared(pages): Shared<AllPages>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|header| header.to_str().ok());
    let found = TileId::parse(path)
        .map_err(|error| ApiError::new(ErrorCode::UnknownTile, error.to_string()))
        .and_then(|tile| Ok((tile.kind, pages.tile(tile, authorization)?)));
    let (kind, bytes) = match found {
        Ok(found) => found,
        Err(error) => return refuse(&pages, &error),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CACHE_CONTROL,
            match kind {
                TileKind::Entries => FOR_EVER_HERE,
                TileKind::Hashes(_) => FOR_EVER,
            },
        ),
    ];
    (headers, bytes).into_response()
}
