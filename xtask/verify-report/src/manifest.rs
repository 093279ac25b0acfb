// SPDX-License-Identifier: MIT OR Apache-2.0
//! The services manifest (58019, 7.1): which services the SVSM vouches for.

use anyhow::{Context as _, Result, ensure};
use svsm_abi::attestation::{ManifestEntry, ManifestHeader, SERVICES_MANIFEST_GUID};
use zerocopy::FromBytes as _;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its GUID, as text.
    pub(crate) guid: String,
    /// Bytes of what it says of itself.
    pub(crate) size: usize,
}

/// The services of a manifest.
pub(crate) fn parse(manifest: &[u8]) -> Result<Vec<Service>> {
    let (header, mut rest) = ManifestHeader::read_from_prefix(manifest)
        .ok()
        .context("the manifest is too short")?;
    ensure!(
        header.guid == SERVICES_MANIFEST_GUID,
        "this is no services manifest"
    );
    ensure!(
        header.size as usize == manifest.len(),
        "the manifest says that it has {} bytes, not {}",
        header.size,
        manifest.len()
    );
    let mut services = Vec::new();
    for _ in 0..header.services {
        let (entry, after) = ManifestEntry::read_from_prefix(rest)
            .ok()
            .context("the manifest has fewer entries than it says")?;
        rest = after;
        let (start, size) = (entry.offset as usize, entry.size as usize);
        let inside = start
            .checked_add(size)
            .is_some_and(|end| end <= manifest.len());
        ensure!(inside, "an entry leads out of the manifest");
        services.push(Service {
            guid: guid(&entry.guid),
            size,
        });
    }
    Ok(services)
}

/// A GUID as text: its first three parts are little endian.
fn guid(bytes: &[u8; 16]) -> String {
    let mut bytes = *bytes;
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    let digits = crate::hex::digits(&bytes);
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .map(|(start, end)| &digits[start..end])
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    fn manifest(services: u32, entries: &[(u32, u32)]) -> Vec<u8> {
        let size = 24 + 24 * entries.len() as u32;
        let guid = SERVICES_MANIFEST_GUID;
        let header = ManifestHeader {
            guid,
            size,
            services,
        };
        let mut bytes = header.as_bytes().to_vec();
        for &(offset, size) in entries {
            bytes.extend(ManifestEntry { guid, offset, size }.as_bytes());
        }
        bytes
    }

    #[test]
    fn lists_the_services() {
        assert_eq!(parse(&manifest(0, &[])).unwrap(), []);
        let services = parse(&manifest(1, &[(24, 24)])).unwrap();
        assert_eq!(services[0].guid, "63849ebb-3d92-4670-a1ff-58f9c94b87bb");
        assert_eq!(services[0].size, 24);
    }

    #[test]
    fn refuses_broken_manifests() {
        assert!(parse(&manifest(u32::MAX, &[(24, 0)])).is_err());
        assert!(parse(&manifest(1, &[(25, 24)])).is_err());
        assert!(parse(&manifest(1, &[(u32::MAX, u32::MAX)])).is_err());
        let good = manifest(1, &[(24, 24)]);
        for length in 0..good.len() {
            assert!(parse(&good[..length]).is_err());
        }
        let mut other = good.clone();
        other[0] ^= 1;
        assert!(parse(&other).is_err());
    }
}
