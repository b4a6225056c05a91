//! Names of the files under `ledger/` and `values/`.

use candor_ledger::digest::sha3_256;

pub(super) const ENTRIES: &str = "ledger/entries";
pub(super) const TREE: &str = "ledger/tree";
pub(super) const CHECKPOINTS: &str = "ledger/checkpoints";
pub(super) const VALUES: &str = "values";

/// Longest escaped tenant that is a directory name by itself; file systems stop at 255 bytes.
const ESCAPED_BYTES_MAX: usize = 200;

/// Entries that start at `first`, one a line.
pub(super) fn lines(first: u64) -> String {
    format!("{ENTRIES}/{first:012}.jsonl")
}

/// Where each of those lines ends.
pub(super) fn offsets(first: u64) -> String {
    format!("{ENTRIES}/{first:012}.offsets")
}

/// Complete nodes of one level, from index `first` of that level on.
pub(super) fn nodes(level: u8, first: u64) -> String {
    format!("{TREE}/{level:02}-{first:012}")
}

/// One signed note.
pub(super) fn checkpoint(size: u64) -> String {
    format!("{CHECKPOINTS}/{size:016}")
}

/// One pack of a tenant's values.
pub(super) fn pack(tenant: &str, number: u32) -> String {
    format!("{}/{number:08}.pack", tenant_dir(tenant))
}

/// The folder of a tenant's packs.
pub(super) fn tenant_dir(tenant: &str) -> String {
    format!("{VALUES}/{}", tenant_name(tenant))
}

/// A directory name for a tenant: no two tenants share one, whatever the file system folds.
///
/// Bytes outside `[a-z0-9_-]` become `%` and two lower-case hex digits. What would be too long for
/// a name becomes `~` and the SHA3-256 of the tenant; the escape itself never makes a `~`.
pub(super) fn tenant_name(tenant: &str) -> String {
    let mut escaped = String::with_capacity(tenant.len());
    for byte in tenant.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            other => {
                escaped.push('%');
                escaped.push_str(&hex::encode([other]));
            }
        }
    }
    if escaped.len() > ESCAPED_BYTES_MAX {
        return format!("~{}", hex::encode(sha3_256(tenant.as_bytes())));
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_tenants_share_a_folder_and_none_leaves_it() {
        let printable: Vec<String> = (0x21_u8..0x7f).map(|b| char::from(b).to_string()).collect();
        let mut tenants = printable.clone();
        for a in &printable {
            tenants.extend(printable.iter().map(|b| format!("{a}{b}")));
        }
        tenants.extend(["%2e%2e", "acme", "Acme", "ac/me"].map(str::to_owned));
        tenants.extend([150, 199, 200, 201].map(|n| "x".repeat(n)));
        tenants.extend([66, 67, 128].map(|n| "X".repeat(n)));
        let names: BTreeSet<String> = tenants.iter().map(|t| tenant_name(t)).collect();
        assert_eq!(names.len(), tenants.iter().collect::<BTreeSet<_>>().len());
        for name in &names {
            let folded = name.to_lowercase();
            assert_eq!(*name, folded, "a file system that folds case merges it");
            assert!(!name.contains(['/', '.', '\\']) && name.len() <= ESCAPED_BYTES_MAX);
        }
        assert_eq!(pack("a.b", 3), "values/a%2eb/00000003.pack");
    }
}
