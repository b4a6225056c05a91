//! What this node shows over HTTP.

use std::sync::Arc;

use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tile::{TileId, TileKind, push_to_bundle};

use super::Pages;
use crate::env::Env;
use crate::grpc::Api;
use crate::grpc::status::{ApiError, ErrorCode};
use crate::principal::Right;

/// The HTTP face of [`Api`].
pub struct Face<E: Env>(pub Arc<Api<E>>);

impl<E: Env> Pages for Face<E> {
    fn not_ready(&self) -> Vec<String> {
        self.0.trouble()
    }

    fn metrics(&self) -> String {
        self.0.metrics.text()
    }

    fn checkpoint(&self) -> Result<String, ApiError> {
        let newest = self.0.reader.latest_checkpoint()?;
        let none = || ApiError::new(ErrorCode::UnknownCheckpoint, "there is no checkpoint yet");
        newest.map(|(_, note)| note).ok_or_else(none)
    }

    fn checkpoint_of(&self, size: TreeSize) -> Result<String, ApiError> {
        let none = || {
            ApiError::new(
                ErrorCode::UnknownCheckpoint,
                "no checkpoint of that size is kept",
            )
        };
        self.0.reader.checkpoint(size)?.ok_or_else(none)
    }

    fn tile(&self, tile: TileId, authorization: Option<&str>) -> Result<Vec<u8>, ApiError> {
        if tile.kind == TileKind::Entries {
            self.admit(authorization)?;
        }
        // Of what is committed and not sealed nothing is shown: no checkpoint vouches for it yet.
        let sealed = self.0.reader.newest_checkpoint().unwrap_or(TreeSize(0));
        let level = tile.tree_level().filter(|_| tile.is_within(sealed));
        let Some(level) = level else {
            let problem = format!("the sealed tree of {sealed} entries has no `{tile}`");
            return Err(ApiError::new(ErrorCode::UnknownTile, problem));
        };
        match tile.kind {
            TileKind::Entries => self.bundle(tile),
            TileKind::Hashes(_) => {
                let reader = &self.0.reader;
                let hashes = reader.hashes(level, tile.first(), usize::from(tile.width))?;
                Ok(hashes.iter().flat_map(|hash| hash.0).collect())
            }
        }
    }

    fn refused(&self, error: &ApiError) {
        self.0.note_refusal(error);
    }
}

impl<E: Env> Face<E> {
    /// Entry bundles hold the entries of every tenant.
    fn admit(&self, authorization: Option<&str>) -> Result<(), ApiError> {
        let principal = authorization.and_then(|header| self.0.tokens.bearer(header));
        let Some(principal) = principal else {
            let problem = "entry bundles need a known token as `authorization: Bearer <token>`";
            return Err(ApiError::new(ErrorCode::Unauthenticated, problem));
        };
        if !principal.may(Right::AuditAll) {
            let problem = format!("this needs the right `{}`", Right::AuditAll.as_str());
            return Err(ApiError::new(ErrorCode::PermissionDenied, problem));
        }
        Ok(())
    }

    fn bundle(&self, tile: TileId) -> Result<Vec<u8>, ApiError> {
        let range = Seq(tile.first())..Seq(tile.end());
        let mut bundle = Vec::new();
        for entry in self.0.reader.entries(range, u64::MAX)? {
            push_to_bundle(&mut bundle, &entry);
        }
        Ok(bundle)
    }
}
