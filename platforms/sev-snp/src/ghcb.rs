// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that need the GHCB, the page shared with the host (56421, 4).
//!
//! A request marks what it means in the valid bitmap and nothing else; whatever the page held
//! before is without effect. Of the answer each field is read once, and an answer that the
//! specification does not allow is [`HostError::Malformed`]. No secret enters the page: all of it
//! is addresses, counts and what goes to a port.

use core::mem::offset_of;

use snp_defs::exit;
use snp_defs::ghcb::{Ghcb as Layout, SHARED_BUFFER_OFFSET, USAGE_STANDARD, VERSION_SNP};
use snp_defs::ghcb::{ap_creation, bitmap_index, guest_request_error, result};
use snp_defs::psc;
use svsm::platform::HostError;
use zerocopy::{FromBytes, IntoBytes};

use crate::door::Door;
use crate::foreign::ForeignPage;

const RAX: usize = offset_of!(Layout, rax);
const RBX: usize = offset_of!(Layout, rbx);
const EXIT_CODE: usize = offset_of!(Layout, sw_exit_code);
const EXIT_INFO1: usize = offset_of!(Layout, sw_exit_info1);
const EXIT_INFO2: usize = offset_of!(Layout, sw_exit_info2);
const SCRATCH: usize = offset_of!(Layout, sw_scratch);
const VALID_BITMAP: usize = offset_of!(Layout, valid_bitmap);
/// The word with `protocol_version` in bits 31:16 and `usage` in bits 63:32.
const VERSION_WORD: usize = offset_of!(Layout, protocol_version) & !7;

/// How often a page-state change is issued again although the host got nowhere.
const PATIENCE: u32 = 1 << 12;

/// EXITINFO1 of IOIO: bits of the instruction (24593, figure 15-2).
mod ioio {
    pub(super) const IN: u64 = 1 << 0;
    pub(super) const SIZE_8: u64 = 1 << 4;
    pub(super) const ADDRESS_64: u64 = 1 << 9;
}

/// A GHCB, and where the host finds it.
#[derive(Debug, Clone, Copy)]
pub struct Ghcb<'a> {
    page: &'a ForeignPage,
    gpa: u64,
}

/// What a request says besides its code.
#[derive(Debug, Clone, Copy, Default)]
struct Request {
    info1: u64,
    info2: u64,
    rax: Option<u64>,
    rbx: Option<u64>,
    scratch: Option<u64>,
}

/// The status with which the host answers a guest request (56421, 4.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestRequestStatus {
    /// What the firmware is said to have answered.
    pub firmware: u32,
    /// What the hypervisor says for itself, [`snp_defs::ghcb::guest_request_error`].
    pub hypervisor: u32,
    /// Pages that certificates need, where `hypervisor` is INVALID_LENGTH; else 0.
    pub pages_needed: u64,
}

/// The buffer for certificates of a guest request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificatePages {
    /// Guest-physical address of the first.
    pub gpa: u64,
    /// Number of pages.
    pub count: u64,
}

impl<'a> Ghcb<'a> {
    /// The GHCB in `page`, whose guest-physical address is `gpa`.
    pub const fn new(page: &'a ForeignPage, gpa: u64) -> Self {
        Self { page, gpa }
    }

    /// Hands a request over; `Ok` holds SW_EXITINFO2 of the answer.
    fn call(&self, door: &impl Door, code: u64, request: Request) -> Result<u64, HostError> {
        let mut valid = [0u64; 2];
        let mut set = |offset: usize, value: u64| {
            self.page.write(offset, value);
            let bit = bitmap_index(offset);
            valid[bit / 64] |= 1 << (bit % 64);
        };
        set(EXIT_CODE, code);
        set(EXIT_INFO1, request.info1);
        set(EXIT_INFO2, request.info2);
        if let Some(rax) = request.rax {
            set(RAX, rax);
        }
        if let Some(rbx) = request.rbx {
            set(RBX, rbx);
        }
        if let Some(scratch) = request.scratch {
            set(SCRATCH, scratch);
        }
        self.page.write(VALID_BITMAP, valid[0]);
        self.page.write(VALID_BITMAP + 8, valid[1]);
        let version = (u64::from(VERSION_SNP) << 16) | (u64::from(USAGE_STANDARD) << 32);
        self.page.write(VERSION_WORD, version);

        door.by_page(self.gpa);

        let info2 = self.page.read(EXIT_INFO2);
        match self.page.read(EXIT_INFO1) & 0xFFFF_FFFF {
            result::OK => Ok(info2),
            result::EXCEPTION | result::MALFORMED => Err(HostError::Refused(info2)),
            _ => Err(HostError::Malformed),
        }
    }

    /// An output register, where the host marked it valid.
    fn output(&self, offset: usize) -> Result<u64, HostError> {
        let bit = bitmap_index(offset);
        let bitmap = self.page.read(VALID_BITMAP + bit / 64 * 8);
        if bitmap & (1 << (bit % 64)) == 0 {
            return Err(HostError::Malformed);
        }
        Ok(self.page.read(offset))
    }

    /// Writes a byte to a port (56421, 4.1.2).
    pub fn port_write(&self, door: &impl Door, port: u16, value: u8) -> Result<(), HostError> {
        let info1 = (u64::from(port) << 16) | ioio::ADDRESS_64 | ioio::SIZE_8;
        let request = Request {
            info1,
            rax: Some(value.into()),
            ..Request::default()
        };
        self.call(door, exit::IOIO, request).map(|_| ())
    }

    /// Reads a byte from a port (56421, 4.1.2).
    pub fn port_read(&self, door: &impl Door, port: u16) -> Result<u8, HostError> {
        let info1 = (u64::from(port) << 16) | ioio::ADDRESS_64 | ioio::SIZE_8 | ioio::IN;
        let request = Request {
            info1,
            rax: Some(0),
            ..Request::default()
        };
        self.call(door, exit::IOIO, request)?;
        self.output(RAX).map(|rax| rax as u8)
    }

    /// Changes the state of pages, as many at a time as fit (56421, 4.1.6). The host may do a part
    /// and return; then it is asked again. What it did in truth only PVALIDATE tells.
    pub fn page_state_change(
        &self,
        door: &impl Door,
        entries: &mut dyn Iterator<Item = psc::Entry>,
    ) -> Result<(), HostError> {
        loop {
            let mut count = 0;
            for entry in (&mut *entries).take(psc::MAX_ENTRIES) {
                self.page
                    .write(SHARED_BUFFER_OFFSET + 8 + 8 * count, entry.0);
                count += 1;
            }
            let Some(last) = count.checked_sub(1) else {
                return Ok(());
            };
            self.page_state_batch(door, last as u16)?;
            if count < psc::MAX_ENTRIES {
                return Ok(());
            }
        }
    }

    /// Has the host work on entries 0 to `last` of the shared buffer.
    fn page_state_batch(&self, door: &impl Door, last: u16) -> Result<(), HostError> {
        let header = psc::Header {
            cur_entry: 0,
            end_entry: last,
            reserved: 0,
        };
        self.page
            .write_bytes(SHARED_BUFFER_OFFSET, header.as_bytes());
        let scratch = Some(self.gpa + SHARED_BUFFER_OFFSET as u64);
        let mut current = 0;
        for _ in 0..PATIENCE + u32::from(last) {
            let request = Request {
                scratch,
                ..Request::default()
            };
            match self.call(door, exit::PAGE_STATE_CHANGE, request)? {
                0 => (),
                error => return Err(HostError::Refused(error)),
            }
            let mut answer = [0; size_of::<psc::Header>()];
            self.page.read_bytes(SHARED_BUFFER_OFFSET, &mut answer);
            let answer = psc::Header::read_from_bytes(&answer).map_err(|_| HostError::Malformed)?;
            // The host only moves `cur_entry`, and never back (56421, 4.1.6).
            if answer.end_entry != last || answer.cur_entry < current || answer.reserved != 0 {
                return Err(HostError::Malformed);
            }
            current = answer.cur_entry;
            if current > last {
                return Ok(());
            }
        }
        Err(HostError::Malformed)
    }

    /// Has the host run the VMSA at `vmsa` at `vmpl` of the vCPU with `apic_id`: at once where
    /// `now` is set, else when that VMPL is asked for (56421, 4.1.9).
    pub fn create_ap(
        &self,
        door: &impl Door,
        apic_id: u32,
        vmpl: u8,
        vmsa: u64,
        sev_features: u64,
        now: bool,
    ) -> Result<(), HostError> {
        let operation = if now {
            ap_creation::NOW
        } else {
            ap_creation::ON_INIT
        };
        let request = Request {
            info1: operation | (u64::from(vmpl & 0xF) << 16) | (u64::from(apic_id) << 32),
            info2: vmsa,
            rax: Some(sev_features),
            ..Request::default()
        };
        match self.call(door, exit::AP_CREATION, request)? {
            0 => Ok(()),
            error => Err(HostError::Refused(error)),
        }
    }

    /// Passes the message in the page at `request` to the firmware, which answers in the page at
    /// `response` (56421, 4.1.7 and 4.1.8). With `certificates` the host adds what it has.
    pub fn guest_request(
        &self,
        door: &impl Door,
        request: u64,
        response: u64,
        certificates: Option<CertificatePages>,
    ) -> Result<GuestRequestStatus, HostError> {
        let code = match certificates {
            Some(_) => exit::EXT_GUEST_REQUEST,
            None => exit::GUEST_REQUEST,
        };
        let request = Request {
            info1: request,
            info2: response,
            rax: certificates.map(|pages| pages.gpa),
            rbx: certificates.map(|pages| pages.count),
            scratch: None,
        };
        let status = self.call(door, code, request)?;
        let hypervisor = (status >> 32) as u32;
        // Only then is RBX an output.
        let pages_needed = match u64::from(hypervisor) {
            guest_request_error::INVALID_LENGTH => self.output(RBX)?,
            _ => 0,
        };
        Ok(GuestRequestStatus {
            firmware: status as u32,
            hypervisor,
            pages_needed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const GPA: u64 = 0x80_0000_D000;

    type Script<'a> = Box<dyn FnMut(&ForeignPage) + 'a>;

    /// A host that does to the page what its script says.
    struct Scripted<'a> {
        page: &'a ForeignPage,
        script: RefCell<Script<'a>>,
    }

    impl Door for Scripted<'_> {
        fn by_msr(&self, _: u64) -> u64 {
            unreachable!("requests here have a page")
        }

        fn by_page(&self, ghcb: u64) {
            assert_eq!(ghcb, GPA);
            (self.script.borrow_mut())(self.page);
        }
    }

    /// Runs a request against a host.
    fn against<T>(
        script: impl FnMut(&ForeignPage),
        request: impl FnOnce(&Ghcb<'_>, &Scripted<'_>) -> T,
    ) -> T {
        let page = ForeignPage::zeroed();
        let door = Scripted {
            page: &page,
            script: RefCell::new(Box::new(script)),
        };
        request(&Ghcb::new(&page, GPA), &door)
    }

    fn is_valid(page: &ForeignPage, offset: usize) -> bool {
        let bit = bitmap_index(offset);
        page.read(VALID_BITMAP + bit / 64 * 8) & (1 << (bit % 64)) != 0
    }

    fn answer(page: &ForeignPage, info1: u64, info2: u64) {
        page.write(EXIT_INFO1, info1);
        page.write(EXIT_INFO2, info2);
    }

    #[test]
    fn a_request_marks_what_it_means_and_no_more() {
        let script = |page: &ForeignPage| {
            assert_eq!(page.read(EXIT_CODE), exit::IOIO);
            assert_eq!(page.read(EXIT_INFO1), (0x3F8 << 16) | (1 << 9) | (1 << 4));
            assert_eq!(page.read(RAX), u64::from(b'x'));
            for offset in [EXIT_CODE, EXIT_INFO1, EXIT_INFO2, RAX] {
                assert!(is_valid(page, offset));
            }
            for offset in [RBX, SCRATCH] {
                assert!(!is_valid(page, offset));
            }
            assert_eq!(page.read(VERSION_WORD) >> 16, 2);
            answer(page, 0, 0);
        };
        assert_eq!(
            against(script, |ghcb, door| ghcb.port_write(door, 0x3F8, b'x')),
            Ok(())
        );
    }

    #[test]
    fn answers_that_the_specification_does_not_allow_are_malformed() {
        let unknown = |page: &ForeignPage| answer(page, 3, 0);
        assert_eq!(
            against(unknown, |ghcb, door| ghcb.port_write(door, 0x3F8, 0)),
            Err(HostError::Malformed),
        );
        let refused = |page: &ForeignPage| answer(page, result::MALFORMED, 6);
        assert_eq!(
            against(refused, |ghcb, door| ghcb.port_write(door, 0x3F8, 0)),
            Err(HostError::Refused(6)),
        );
    }

    #[test]
    fn a_register_that_the_host_does_not_return_is_not_read() {
        let without = |page: &ForeignPage| {
            answer(page, 0, 0);
            page.write(VALID_BITMAP, 0);
        };
        assert_eq!(
            against(without, |ghcb, door| ghcb.port_read(door, 0x3F8)),
            Err(HostError::Malformed),
        );
        let with = |page: &ForeignPage| {
            answer(page, 0, 0);
            page.write(RAX, 0x1234);
        };
        assert_eq!(
            against(with, |ghcb, door| ghcb.port_read(door, 0x3F8)),
            Ok(0x34)
        );
    }

    fn change(count: usize, script: impl FnMut(&ForeignPage)) -> Result<(), HostError> {
        let mut entries =
            (0..count as u64).map(|page| psc::Entry::new(page << 21, psc::OP_PRIVATE, true));
        against(script, |ghcb, door| {
            ghcb.page_state_change(door, &mut entries)
        })
    }

    fn header(page: &ForeignPage) -> (u16, u16) {
        let word = page.read(SHARED_BUFFER_OFFSET);
        (word as u16, (word >> 16) as u16)
    }

    fn set_header(page: &ForeignPage, current: u16, end: u16) {
        page.write(
            SHARED_BUFFER_OFFSET,
            u64::from(current) | (u64::from(end) << 16),
        );
    }

    #[test]
    fn a_long_list_goes_over_in_batches() {
        let mut seen = Vec::new();
        let all = |page: &ForeignPage| {
            let (current, end) = header(page);
            assert_eq!(page.read(SCRATCH), GPA + 0x800);
            for index in current..=end {
                let entry = page.read(SHARED_BUFFER_OFFSET + 8 + 8 * usize::from(index));
                seen.push(psc::Entry(entry).gpa() >> 21);
            }
            set_header(page, end + 1, end);
            answer(page, 0, 0);
        };
        assert_eq!(change(600, all), Ok(()));
        assert_eq!(seen, (0..600).collect::<Vec<_>>());
        assert_eq!(change(0, |_| panic!("nothing to ask")), Ok(()));
        let mut calls = 0;
        let count = |page: &ForeignPage| {
            calls += 1;
            set_header(page, 253, 252);
            answer(page, 0, 0);
        };
        assert_eq!(change(253, count), Ok(()));
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_host_that_does_a_part_is_asked_again() {
        let mut calls = 0;
        let slow = |page: &ForeignPage| {
            calls += 1;
            let (current, end) = header(page);
            set_header(page, current + 1, end);
            answer(page, 0, 0);
        };
        assert_eq!(change(10, slow), Ok(()));
        assert_eq!(calls, 10);
    }

    #[test]
    fn a_host_that_does_nothing_is_not_asked_for_ever() {
        assert_eq!(
            change(10, |page| answer(page, 0, 0)),
            Err(HostError::Malformed)
        );
    }

    #[test]
    fn a_host_must_not_go_back_or_move_the_end() {
        let mut position = 5;
        let back = |page: &ForeignPage| {
            set_header(page, position, 9);
            position -= 1;
            answer(page, 0, 0);
        };
        assert_eq!(change(10, back), Err(HostError::Malformed));
        let shorter = |page: &ForeignPage| {
            set_header(page, 5, 4);
            answer(page, 0, 0);
        };
        assert_eq!(change(10, shorter), Err(HostError::Malformed));
        let refuses = |page: &ForeignPage| answer(page, 0, psc::ERROR_GENERIC);
        assert_eq!(
            change(10, refuses),
            Err(HostError::Refused(psc::ERROR_GENERIC))
        );
    }

    #[test]
    fn creation_names_vcpu_vmpl_and_features() {
        let script = |page: &ForeignPage| {
            assert_eq!(page.read(EXIT_CODE), exit::AP_CREATION);
            assert_eq!(page.read(EXIT_INFO1), (3 << 32) | (2 << 16) | 1);
            assert_eq!(page.read(EXIT_INFO2), 0x7000);
            assert_eq!(page.read(RAX), 9);
            answer(page, 0, 0);
        };
        assert_eq!(
            against(script, |ghcb, door| ghcb
                .create_ap(door, 3, 2, 0x7000, 9, true)),
            Ok(()),
        );
    }

    #[test]
    fn a_guest_request_tells_firmware_from_hypervisor() {
        let script = |page: &ForeignPage| {
            assert_eq!(page.read(EXIT_CODE), exit::EXT_GUEST_REQUEST);
            assert_eq!(page.read(RAX), 0x9000);
            assert_eq!(page.read(RBX), 4);
            page.write(RBX, 7);
            answer(page, 0, (1 << 32) | 5);
        };
        let certificates = Some(CertificatePages {
            gpa: 0x9000,
            count: 4,
        });
        assert_eq!(
            against(script, |ghcb, door| {
                ghcb.guest_request(door, 0x1000, 0x2000, certificates)
            }),
            Ok(GuestRequestStatus {
                firmware: 5,
                hypervisor: 1,
                pages_needed: 7
            }),
        );
    }

    #[test]
    fn how_many_pages_are_needed_is_read_only_where_the_host_says_it() {
        let certificates = Some(CertificatePages {
            gpa: 0x9000,
            count: 4,
        });
        let ask = |valid: u64, info2: u64| {
            let script = move |page: &ForeignPage| {
                page.write(RBX, 7);
                page.write(VALID_BITMAP, valid);
                page.write(VALID_BITMAP + 8, valid);
                answer(page, 0, info2);
            };
            against(script, |ghcb, door| {
                ghcb.guest_request(door, 0x1000, 0x2000, certificates)
            })
        };
        // Too few, and no word of how many it takes.
        let too_few = guest_request_error::INVALID_LENGTH << 32;
        assert_eq!(ask(0, too_few), Err(HostError::Malformed));
        assert_eq!(
            ask(u64::MAX, too_few).map(|status| status.pages_needed),
            Ok(7)
        );
        // Fine, or busy: what is left in RBX means nothing.
        for info2 in [0, guest_request_error::BUSY << 32] {
            assert_eq!(ask(0, info2).map(|status| status.pages_needed), Ok(0));
        }
    }

    #[test]
    fn noise_is_survived() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..2_000 {
            let noise = |page: &ForeignPage| {
                for offset in (0..0x1000).step_by(8) {
                    page.write(offset, random());
                }
                // Half of the time the first hurdle is taken.
                if round % 2 == 0 {
                    answer(page, 0, random() % 2);
                }
            };
            against(noise, |ghcb, door| match round % 5 {
                0 => drop(ghcb.port_read(door, 0x3F8)),
                1 => drop(ghcb.port_write(door, 0x3F8, 0)),
                2 => drop(ghcb.create_ap(door, 1, 2, 0x1000, 1, true)),
                3 => drop(ghcb.guest_request(door, 0x1000, 0x2000, None)),
                _ => {
                    let mut entries = (0..300).map(|page| psc::Entry::new(page << 12, 1, false));
                    assert_ne!(ghcb.page_state_change(door, &mut entries), Ok(()));
                }
            });
        }
    }
}
