// SPDX-License-Identifier: MIT OR Apache-2.0
//! A level's memory by linear address, within what its VMPL may do.

use emulator::decode::MAX_LENGTH;
use emulator::exception::LinearMemory;
use emulator::paging::{Fault, Mode, Tables, Translation, translate};
use emulator::snp::rmp::{Access, Decision};

use crate::host::physical;
use crate::machine::Machine;
use crate::memory::access_cache::{AccessCache, Key};
use crate::memory::backings::{GuestMemory, View};

/// The memory of a level in its current mode.
pub(crate) struct Linear<'a> {
    machine: &'a Machine,
    cache: &'a AccessCache,
    vmpl: u8,
    mode: Mode,
}

impl<'a> Linear<'a> {
    /// The memory of a level whose registers say `mode`.
    pub(crate) const fn new(
        machine: &'a Machine,
        cache: &'a AccessCache,
        vmpl: u8,
        mode: Mode,
    ) -> Self {
        Self {
            machine,
            cache,
            vmpl,
            mode,
        }
    }

    /// Where `linear` leads.
    pub(crate) fn translate(&self, linear: u64) -> Result<Translation, Fault> {
        translate(self, &self.mode, linear)
    }

    /// Host-physical address of `gpa`, if an access of this kind needs nothing done first.
    fn host(&self, gpa: u64, private: bool, write: bool) -> Option<u64> {
        let (page, offset) = (gpa & !0xFFF, gpa & 0xFFF);
        let key = Key {
            page,
            vmpl: self.vmpl,
            private,
            write,
        };
        if let Some(host) = self.cache.get(&self.machine.generation, key) {
            return Some(host + offset);
        }
        let access = Access {
            gpa: page,
            c_bit: private,
            vmpl: self.vmpl,
            write,
            fetch: false,
            user: false,
            table: false,
        };
        if GuestMemory::is_hosts_own(page) {
            return None;
        }
        let Decision::Map(_) = self.machine.rmp.check(&access) else {
            return None;
        };
        let host = self.machine.memory.host(page, View::of(private))?;
        self.cache.put(key, host);
        Some(host + offset)
    }

    /// Calls `each` with host address, offset and length of each piece of a range; false where the
    /// guest can't.
    fn pieces(
        &self,
        linear: u64,
        length: usize,
        write: bool,
        mut each: impl FnMut(u64, usize, usize),
    ) -> bool {
        let mut done = 0;
        while done < length {
            let at = linear.wrapping_add(done as u64);
            let piece = (4096 - (at as usize & 0xFFF)).min(length - done);
            let host = self
                .translate(at)
                .ok()
                .filter(|page| page.writable || !write)
                .and_then(|page| self.host(page.gpa, page.private, write));
            let Some(host) = host else {
                return false;
            };
            each(host, done, piece);
            done += piece;
        }
        true
    }

    /// Host-physical address of the code at `linear`.
    pub(crate) fn code_host(&self, linear: u64) -> Option<u64> {
        let page = self.translate(linear).ok()?;
        self.host(page.gpa, true, false)
    }

    /// The bytes of the instruction at `linear`, as many as the guest can read. Instructions are
    /// always fetched from private memory (24593, 15.34.5).
    pub(crate) fn code(&self, linear: u64) -> ([u8; MAX_LENGTH], usize) {
        let mut bytes = [0; MAX_LENGTH];
        let mut done = 0;
        while done < MAX_LENGTH {
            let at = linear.wrapping_add(done as u64);
            let piece = (4096 - (at as usize & 0xFFF)).min(MAX_LENGTH - done);
            let host = self
                .translate(at)
                .ok()
                .and_then(|page| self.host(page.gpa, true, false));
            let Some(host) = host else {
                break;
            };
            physical::read(host, &mut bytes[done..done + piece]);
            done += piece;
        }
        (bytes, done)
    }
}

impl Tables for Linear<'_> {
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        let host = self.host(gpa, true, false)?;
        Some(physical::read_volatile(host))
    }
}

impl LinearMemory for Linear<'_> {
    fn read(&self, linear: u64, into: &mut [u8]) -> bool {
        self.pieces(linear, into.len(), false, |host, offset, length| {
            physical::read(host, &mut into[offset..offset + length]);
        })
    }

    fn write(&self, linear: u64, from: &[u8]) -> bool {
        self.pieces(linear, from.len(), true, |host, offset, length| {
            physical::write(host, &from[offset..offset + length]);
        })
    }
}
