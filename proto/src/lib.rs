//! Candor's wire types: what travels between clients and nodes, and between nodes.
//!
//! The messages and services come from the `.proto` files under `proto/candor`, where every field is
//! documented; the Rust in `src/generated` is checked in and made by `cargo codegen`. [`ErrorCode`] is
//! the other half of the contract: the stable reasons that statuses carry.
//!
//! No rule of the product lives here. Domain types are in `candor-ledger`; the crates that own a
//! conversion validate while converting. Protobuf bytes are never hashed or signed.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod code;
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    elided_lifetimes_in_paths,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated;

pub use code::{Effect, ErrorCode, error_domain, error_metadata};
/// `candor.audit.v1`: entries, lifecycles, checkpoints, proofs.
pub use generated::candor::audit::v1 as audit_v1;
/// `candor.cache.v1`: gets, sets and the ends of results.
pub use generated::candor::cache::v1 as cache_v1;
/// `candor.cluster.v1`: operating a cluster.
pub use generated::candor::cluster::v1 as cluster_v1;
/// `candor.raft.v1`: between the nodes of one cluster; private.
pub use generated::candor::raft::v1 as raft_v1;

/// Encoded `google.protobuf.FileDescriptorSet` of all packages and their imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");

/// Microseconds since the Unix epoch as a protobuf timestamp.
///
/// Range: all of `u64`; times past the year 9999 are beyond what the protobuf type promises.
pub fn timestamp(unix_us: u64) -> prost_types::Timestamp {
    let nanos = u32::try_from(unix_us % 1_000_000 * 1_000).expect("invariant: below 10^9");
    prost_types::Timestamp {
        seconds: i64::try_from(unix_us / 1_000_000).expect("invariant: u64::MAX / 10^6 fits"),
        nanos: i32::try_from(nanos).expect("invariant: below 10^9"),
    }
}

/// A protobuf timestamp as microseconds since the Unix epoch, cut to whole microseconds.
///
/// `None` before 1970, beyond the range of `u64`, and for nanoseconds outside 0..10^9.
pub fn unix_us(timestamp: &prost_types::Timestamp) -> Option<u64> {
    let seconds = u64::try_from(timestamp.seconds).ok()?;
    let nanos = u64::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use prost::Message;

    use super::*;

    #[test]
    fn the_descriptor_set_describes_every_service() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services: Vec<_> = set
            .file
            .iter()
            .flat_map(|file| {
                file.service
                    .iter()
                    .map(|s| format!("{}.{}", file.package(), s.name()))
            })
            .collect();
        assert_eq!(
            services,
            [
                "candor.audit.v1.AuditService",
                "candor.cache.v1.CacheService",
                "candor.cluster.v1.ClusterService",
                "candor.raft.v1.PeerService",
            ]
        );
    }

    #[test]
    fn timestamps_keep_microseconds_and_refuse_what_no_ledger_says() {
        for us in [0, 1, 999_999, 1_000_000, 1_747_216_801_000_001, u64::MAX] {
            assert_eq!(unix_us(&timestamp(us)), Some(us), "{us}");
        }
        let odd = |seconds, nanos| unix_us(&prost_types::Timestamp { seconds, nanos });
        assert_eq!(odd(-1, 0), None);
        assert_eq!(odd(0, -1), None);
        assert_eq!(odd(0, 1_000_000_000), None);
        assert_eq!(odd(i64::MAX, 0), None);
    }
}
