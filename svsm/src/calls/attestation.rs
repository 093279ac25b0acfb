// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attestation protocol (58019, 7): a report of the firmware's that the SVSM asked for, over a nonce of the guest's and a
//! manifest of the SVSM's services.
//!
//! The report is worth something to a verifier since only the SVSM can have it made: it says so in its
//! own field, and the digest ties the manifest to it.

use super::{Answer, Call, Protocol, memory_required};
use crate::memory::{MAX_PAGES, PAGE, Pages};
use crate::platform::{EvidenceError, Platform};
use sha2::{Digest, Sha512};
use svsm_abi::attestation::{
    ATTEST_SERVICES, ATTEST_SINGLE_SERVICE, AttestServices, AttestSingleService, Buffer,
    ManifestEntry, ManifestHeader, PROTOCOL, SERVICES_MANIFEST_GUID, VERSION,
};
use svsm_abi::result::ResultCode;
use zerocopy::IntoBytes;

/// Who serves which call.
pub(super) struct Handlers<P>(core::marker::PhantomData<P>);

impl<P: Platform> Handlers<P> {
    /// The protocol.
    pub(super) const PROTOCOL: Protocol<P> = Protocol {
        number: PROTOCOL,
        versions: (VERSION, VERSION),
        serve: Self::serve,
    };

    fn serve(call: &mut Call<'_, P>, number: u32) -> Answer {
        let answer = match number {
            ATTEST_SERVICES => all_services(call),
            ATTEST_SINGLE_SERVICE => single_service(call),
            _ => return Err(ResultCode::UNSUPPORTED_CALL),
        };
        // Pages of the guest's that were in use meanwhile could not be withdrawn, and can be again.
        call.tell_mem_available();
        answer
    }
}

/// A service and what it says of itself.
struct Service {
    guid: [u8; 16],
    manifest_version: u32,
    manifest: &'static [u8],
}

/// The services. There is none yet.
const SERVICES: &[Service] = &[];

/// ATTEST_SERVICES: RCX is the address of the arguments.
fn all_services<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let arguments: AttestServices = call.view.read_value(call.registers.rcx)?;
    attest(call, &arguments, &ServicesManifest(SERVICES))
}

/// ATTEST_SINGLE_SERVICE: the same, for one.
fn single_service<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let arguments: AttestSingleService = call.view.read_value(call.registers.rcx)?;
    let service = SERVICES.iter().find(|service| {
        service.guid == arguments.service_guid
            && service.manifest_version == arguments.manifest_version
    });
    match service {
        Some(service) if arguments.reserved == 0 => {
            attest(call, &arguments.common, &service.manifest)
        }
        _ => Err(ResultCode::INVALID_PARAMETER),
    }
}

/// What the report vouches for: bytes, in pieces.
trait Manifest {
    /// Calls `each` with one piece after the other, until it fails.
    fn pieces(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ResultCode>,
    ) -> Result<(), ResultCode>;

    /// Number of bytes.
    fn size(&self) -> usize {
        let mut size = 0;
        let _ = self.pieces(&mut |piece| {
            size += piece.len();
            Ok(())
        });
        size
    }
}

impl Manifest for &[u8] {
    fn pieces(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ResultCode>,
    ) -> Result<(), ResultCode> {
        each(self)
    }
}

/// The manifest of several services: a header, an entry for each, and then what each has to say
/// (58019, 7.1).
struct ServicesManifest<'a>(&'a [Service]);

impl Manifest for ServicesManifest<'_> {
    fn pieces(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ResultCode>,
    ) -> Result<(), ResultCode> {
        let count = self.0.len();
        let mut offset = size_of::<ManifestHeader>() + count * size_of::<ManifestEntry>();
        let data: usize = self.0.iter().map(|service| service.manifest.len()).sum();
        let header = ManifestHeader {
            guid: SERVICES_MANIFEST_GUID,
            size: (offset + data) as u32,
            services: count as u32,
        };
        each(header.as_bytes())?;
        for service in self.0 {
            let size = service.manifest.len();
            let entry = ManifestEntry {
                guid: service.guid,
                offset: offset as u32,
                size: size as u32,
            };
            each(entry.as_bytes())?;
            offset += size;
        }
        self.0.iter().try_for_each(|service| each(service.manifest))
    }
}

/// Where the caller wants something to be put: whole pages, or at least the start of one.
fn place(buffer: &Buffer) -> Result<(u64, usize), ResultCode> {
    if buffer.reserved != 0 || !buffer.gpa.is_multiple_of(PAGE as u64) {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    Ok((buffer.gpa, buffer.size as usize))
}

/// Has a report made over nonce and manifest, and hands over report, manifest and certificates.
///
/// RCX, RDX and R8 return the sizes of manifest, certificates and report. Where a buffer is too small, the call fails with
/// an invalid parameter, and they say what would have been enough.
fn attest<P: Platform>(
    call: &mut Call<'_, P>,
    arguments: &AttestServices,
    manifest: &impl Manifest,
) -> Answer {
    let (report_at, report_room) = place(&arguments.report)?;
    let (manifest_at, manifest_room) = place(&arguments.manifest)?;
    let (certificates_at, certificates_room) = place(&arguments.certificates)?;

    let digest = digest(call, &arguments.nonce, manifest)?;
    let manifest_size = manifest.size();
    call.registers.rcx = manifest_size as u64;
    call.registers.rdx = 0;
    call.registers.r8 = P::REPORT_SIZE as u64;
    if report_room < P::REPORT_SIZE || manifest_room < manifest_size {
        return Err(ResultCode::INVALID_PARAMETER);
    }

    let pool = call.machine.pool;
    let mut report = pool.allocate().ok_or(memory_required(1))?;
    // A buffer that is not a number of whole pages holds whole pages less.
    let wanted = (certificates_room / PAGE).min(MAX_PAGES);
    let mut certificates = Pages::allocate(pool, wanted).map_err(memory_required)?;
    let certificates_size = match call
        .platform
        .report(&digest, &mut *report, &mut certificates)
    {
        Ok(size) => size,
        Err(EvidenceError::CertificatesNeed(size)) => {
            call.registers.rdx = size as u64;
            return Err(ResultCode::INVALID_PARAMETER);
        }
        Err(EvidenceError::Busy) => return Err(ResultCode::BUSY),
        Err(EvidenceError::Closed | EvidenceError::Refused(_)) => {
            return Err(ResultCode::INVALID_REQUEST);
        }
    };
    call.registers.rdx = certificates_size as u64;

    let report = report
        .get(..P::REPORT_SIZE)
        .ok_or(ResultCode::INVALID_REQUEST)?;
    call.view.write(report_at, report)?;
    let mut at = manifest_at;
    manifest.pieces(&mut |piece| {
        call.view.write(at, piece)?;
        at += piece.len() as u64;
        Ok(())
    })?;
    let mut at = certificates_at;
    let mut left = certificates_size;
    for page in certificates.iter() {
        let part = page.get(..left.min(PAGE)).unwrap_or_default();
        call.view.write(at, part)?;
        at += part.len() as u64;
        left -= part.len();
    }
    Ok(ResultCode::SUCCESS)
}

/// SHA-512 of nonce and manifest: what the report is over. A nonce of the guest's is what makes it fresh.
fn digest<P: Platform>(
    call: &mut Call<'_, P>,
    nonce: &Buffer,
    manifest: &impl Manifest,
) -> Result<[u8; 64], ResultCode> {
    let size = nonce.size as usize;
    if nonce.reserved != 0 || !(1..=PAGE).contains(&size) {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    let bytes = &mut call.scratch.as_mut_bytes()[..size];
    call.view.read(nonce.gpa, bytes)?;
    let mut hash = Sha512::new();
    hash.update(bytes);
    manifest.pieces(&mut |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn bytes(manifest: &impl Manifest) -> Vec<u8> {
        let mut bytes = Vec::new();
        manifest
            .pieces(&mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(bytes.len(), manifest.size());
        bytes
    }

    #[test]
    fn manifest_without_services() {
        let bytes = bytes(&ServicesManifest(&[]));
        assert_eq!(bytes[..4], [0xBB, 0x9E, 0x84, 0x63]);
        assert_eq!(bytes[16..], [24, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn manifest_of_two_services() {
        let service = |byte, manifest| Service {
            guid: [byte; 16],
            manifest_version: 0,
            manifest,
        };
        let services = [service(1, b"abc".as_slice()), service(2, b"")];
        let bytes = bytes(&ServicesManifest(&services));
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((number(16), number(20)), (75, 2));
        assert_eq!(bytes[24..40], [1; 16]);
        assert_eq!((number(40), number(44)), (72, 3));
        assert_eq!(bytes[48..64], [2; 16]);
        assert_eq!((number(64), number(68)), (75, 0));
        assert_eq!(bytes[72..], *b"abc");
    }
}
