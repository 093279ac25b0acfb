// SPDX-License-Identifier: MIT OR Apache-2.0
//! The certificate table that the host supplies (56421, 4.1.8.1), and what the certificate of the
//! key that signs reports says of the chip (57230, "VCEK certificate extensions").

use anyhow::{Context as _, Result, bail, ensure};
use sev::certs::snp::Certificate;
use sev::firmware::guest::AttestationReport;

/// Bytes of an entry: GUID, offset, length.
const ENTRY: usize = 24;
/// GUID of the certificate of the chip's key (VCEK).
const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;
/// GUID of the certificate of the authority that signs it (ASK).
const ASK: u128 = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782;

/// The certificates that lead up to the root. The table's own root is of no interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Certificates<'a> {
    /// Of the chip's key, in DER.
    pub(crate) vcek: &'a [u8],
    /// Of the key that signs it, in DER.
    pub(crate) ask: &'a [u8],
}

impl<'a> Certificates<'a> {
    /// Finds them in `table`. The `sev` crate's own reader trusts the offsets in it, which come
    /// from the guest.
    pub(crate) fn parse(table: &'a [u8]) -> Result<Self> {
        let (mut vcek, mut ask) = (None, None);
        for entry in table.chunks_exact(ENTRY) {
            let (guid, place) = entry.split_at(16);
            let guid = u128::from_be_bytes(guid.try_into()?);
            if guid == 0 {
                return Ok(Self {
                    vcek: vcek.context("the table has no certificate of the chip's key (VCEK)")?,
                    ask: ask.context("the table has no certificate of the signing key (ASK)")?,
                });
            }
            let (offset, length) = place.split_at(4);
            let offset = u32::from_le_bytes(offset.try_into()?) as usize;
            let length = u32::from_le_bytes(length.try_into()?) as usize;
            let certificate = offset
                .checked_add(length)
                .and_then(|end| table.get(offset..end))
                .context("an entry leads out of the table")?;
            let slot = match guid {
                VCEK => &mut vcek,
                ASK => &mut ask,
                _ => continue,
            };
            ensure!(
                slot.replace(certificate).is_none(),
                "a certificate is there twice"
            );
        }
        bail!("the table has no end")
    }
}

/// Fails unless the certificate is of the chip, and of the firmware version, that the report names.
pub(crate) fn same_chip(vcek: &Certificate, report: &AttestationReport) -> Result<()> {
    let certificate = x509_cert::Certificate::from(vcek.clone());
    let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
    // All of AMD's arcs are below this one.
    let value = |arcs: &str| {
        let name = format!("1.3.6.1.4.1.3704.1.{arcs}");
        let found = extensions
            .iter()
            .find(|extension| extension.extn_id.to_string() == name);
        found
            .map(|extension| extension.extn_value.as_bytes())
            .with_context(|| format!("the certificate has no extension {name}"))
    };
    let id = value("4")?;
    // A string of octets by the specification; certificates are seen with the bytes alone.
    ensure!(
        id == report.chip_id || id.strip_prefix(&[0x04, 64]) == Some(&report.chip_id),
        "the certificate is another chip's"
    );
    let tcb = &report.reported_tcb;
    for (arcs, part, number) in [
        ("3.1", "boot loader", tcb.bootloader),
        ("3.2", "trusted execution environment", tcb.tee),
        ("3.3", "SNP firmware", tcb.snp),
        ("3.8", "microcode", tcb.microcode),
    ] {
        // A DER integer has a zero before a byte with its top bit set.
        ensure!(
            matches!(value(arcs)?, [0x02, 1, byte] | [0x02, 2, 0, byte] if *byte == number),
            "the certificate is for another version of the {part}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u128, u32, u32)], data: &[u8]) -> Vec<u8> {
        let mut table = Vec::new();
        for (guid, offset, length) in entries {
            table.extend(guid.to_be_bytes());
            table.extend(offset.to_le_bytes());
            table.extend(length.to_le_bytes());
        }
        table.extend([0; ENTRY]);
        table.extend(data);
        table
    }

    #[test]
    fn finds_certificates_by_their_guids() {
        let table = table(&[(ASK, 72, 2), (VCEK, 74, 1)], b"abc");
        let found = Certificates::parse(&table).unwrap();
        assert_eq!((found.ask, found.vcek), (&b"ab"[..], &b"c"[..]));
    }

    #[test]
    fn refuses_broken_tables() {
        let refused = |entries: &[_]| Certificates::parse(&table(entries, b"abc")).is_err();
        assert!(refused(&[(ASK, 72, 2)]));
        assert!(refused(&[(ASK, 72, 2), (VCEK, 74, 3)]));
        assert!(refused(&[(ASK, u32::MAX, u32::MAX), (VCEK, 74, 1)]));
        assert!(refused(&[(ASK, 96, 1), (ASK, 96, 1), (VCEK, 96, 1)]));
        assert!(Certificates::parse(&[]).is_err());
        assert!(Certificates::parse(&[1; 50]).is_err());
    }
}
