// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls to the SVSM (58019, 5 and 6): the calling area, and the lists that calls take.

use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::msr::protocol;
use snp_defs::secrets::SecretsPage;
use svsm_abi::CallId;
use svsm_abi::calling_area;
use svsm_abi::core_protocol::{self as core_calls, ListHeader, PvalidateEntry};
use svsm_abi::result::ResultCode;

use crate::machine::access;
use crate::machine::boot_params::BootParams;
use crate::machine::ghcb::{self, NoGhcb, Registers};
use crate::scratch;

/// How often a call is made again that the SVSM could not finish, before that is its answer.
const PATIENCE: u32 = 100_000;

/// Base and size of the SVSM's memory, and the first vCPU's calling area; zeros where there is no SVSM.
static BASE: AtomicU64 = AtomicU64::new(0);
static SIZE: AtomicU64 = AtomicU64::new(0);
static FIRST_AREA: AtomicU64 = AtomicU64::new(0);
/// A page for the lists of the first vCPU's helper calls.
static LIST: AtomicU64 = AtomicU64::new(0);

/// Reads the secrets page.
pub(crate) fn find(params: &BootParams) {
    let Some(secrets) = params.secrets_gpa() else {
        return;
    };
    let field = |offset: usize| access::load::<u64>(secrets + offset as u64);
    SIZE.store(
        field(core::mem::offset_of!(SecretsPage, svsm_size)),
        Ordering::Relaxed,
    );
    BASE.store(
        field(core::mem::offset_of!(SecretsPage, svsm_base)),
        Ordering::Relaxed,
    );
    FIRST_AREA.store(
        field(core::mem::offset_of!(SecretsPage, svsm_caa)),
        Ordering::Relaxed,
    );
    LIST.store(scratch::page(), Ordering::Relaxed);
}

/// Whether there is an SVSM.
pub(crate) fn present() -> bool {
    SIZE.load(Ordering::Relaxed) != 0
}

/// First address of the SVSM's memory.
pub(crate) fn base() -> u64 {
    BASE.load(Ordering::Relaxed)
}

/// Bytes of the SVSM's memory.
pub(crate) fn size() -> u64 {
    SIZE.load(Ordering::Relaxed)
}

/// The first vCPU's calling area.
pub(crate) fn first_area() -> u64 {
    FIRST_AREA.load(Ordering::Relaxed)
}

/// A call that the SVSM did not process: `call_pending` was still set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotProcessed;

/// A vCPU's way to the SVSM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// Guest-physical address of its calling area.
    pub(crate) area: u64,
    /// Whether the vCPU has a GHCB whose address must stand in the MSR between calls.
    pub(crate) has_ghcb: bool,
}

impl Caller {
    /// The first vCPU.
    pub(crate) fn first() -> Self {
        Self {
            area: first_area(),
            has_ghcb: true,
        }
    }

    /// Calls with these registers.
    pub(crate) fn call(&self, mut registers: Registers) -> Result<Registers, NotProcessed> {
        access::swap_byte(self.area + calling_area::CALL_PENDING, 1);
        let answer = ghcb::vmgexit(protocol::RUN_VMPL_REQUEST, &mut registers);
        if self.has_ghcb {
            ghcb::restore();
        }
        let pending = access::swap_byte(self.area + calling_area::CALL_PENDING, 0);
        if answer == protocol::RUN_VMPL_RESPONSE && pending == 0 {
            Ok(registers)
        } else {
            Err(NotProcessed)
        }
    }

    /// Calls `call` of `protocol` with RCX, RDX, R8: the result code.
    pub(crate) fn result(&self, protocol: u32, call: u32, arguments: [u64; 3]) -> ResultCode {
        self.outcome(protocol, call, arguments)
            .map_or(ResultCode(u64::MAX), |out| ResultCode(out.rax))
    }

    /// Calls `call` of `protocol` with RCX, RDX, R8: all registers.
    pub(crate) fn outcome(
        &self,
        protocol: u32,
        call: u32,
        [rcx, rdx, r8]: [u64; 3],
    ) -> Result<Registers, NotProcessed> {
        let rax = CallId { protocol, call }.to_rax();
        self.call(Registers {
            rax,
            rcx,
            rdx,
            r8,
            r9: 0,
        })
    }

    /// The same, again and again while the SVSM says that it is not done or that something is in use.
    pub(crate) fn settled(&self, protocol: u32, call: u32, arguments: [u64; 3]) -> ResultCode {
        for _ in 0..PATIENCE {
            match self.result(protocol, call, arguments) {
                ResultCode::INCOMPLETE | ResultCode::BUSY => {}
                done => return done,
            }
        }
        ResultCode::BUSY
    }

    /// PVALIDATE of a list that is written to `list` first.
    pub(crate) fn pvalidate(&self, list: u64, entries: &[PvalidateEntry]) -> ResultCode {
        write_list(list, entries);
        loop {
            match self.result(core_calls::PROTOCOL, core_calls::PVALIDATE, [list, 0, 0]) {
                ResultCode::INCOMPLETE => {}
                done => return done,
            }
        }
    }
}

/// Writes a list with all its entries to do.
pub(crate) fn write_list(list: u64, entries: &[PvalidateEntry]) {
    let header = ListHeader {
        entries: entries.len() as u16,
        next: 0,
        reserved: 0,
    };
    access::store(list, header);
    for (index, entry) in entries.iter().enumerate() {
        access::store(list + 8 + 8 * index as u64, entry.0);
    }
}

/// Where the list at `list` stands: its `next` field.
pub(crate) fn next_of(list: u64) -> u16 {
    access::load::<ListHeader>(list).next
}

/// Invalidates a 4K page, by the SVSM or, without one, by the probe itself.
pub(crate) fn rescind(gpa: u64) -> Result<(), NoGhcb> {
    if !present() {
        return ghcb::rescind_here(gpa);
    }
    let caller = Caller {
        area: first_area(),
        has_ghcb: false,
    };
    let entry = PvalidateEntry::new(gpa, false, false, false);
    match caller.pvalidate(LIST.load(Ordering::Relaxed), &[entry]) {
        ResultCode::SUCCESS => Ok(()),
        _ => Err(NoGhcb),
    }
}
