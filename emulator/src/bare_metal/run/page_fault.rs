// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nested page faults: the leaf that the RMP allows, or what it has against the access.

use emulator::paging::Mode;
use emulator::snp::rmp::{Access, Decision};
use emulator::snp::rule::Rule;
use emulator_defs::exit::RunEnd;
use emulator_defs::layout::{C_BIT, ISA_RANGE};
use snp_defs::exit;
use snp_defs::rmp::RmpSize;

use crate::memory::backings::{GuestMemory, View};
use crate::memory::npt::Rights;
use crate::records::report::say;
use crate::vcpu::Vcpu;

impl Vcpu {
    /// A nested page fault: what the RMP says about it.
    pub(super) fn nested_page_fault(&mut self, vmpl: u8) {
        let level = &self.levels[usize::from(vmpl)];
        let (info, address) = (
            level.block.control.exit_info1,
            level.block.control.exit_info2,
        );
        let mode = Mode::of(&level.block.save);
        let gpa = address & !(1 << C_BIT);
        let table = info & exit::npf::TABLE != 0;
        let user = level.block.save.cpl == 3;
        // Which tree the walk went down, and what the access is: fetches and walks are private
        // whatever the C-bit says (24593, 15.34.5). Linux's decompressor has none in CR3.
        let tree = View::of(address & (1 << C_BIT) != 0 || !mode.has_c_bit());
        let fetch = info & exit::npf::FETCH != 0;
        let access = Access {
            gpa,
            c_bit: tree == View::Private || table || fetch,
            vmpl,
            write: info & exit::npf::WRITE != 0,
            fetch,
            user,
            table,
        };
        if access.c_bit {
            self.check_misled(vmpl, gpa);
        }
        match self.map(&access, tree) {
            Decision::Map(leaf) => {
                if leaf.size == RmpSize::Size4K && tree == View::of(leaf.private) {
                    self.map_around(&access, tree);
                }
            }
            Decision::Host(duty) => self.serve_duty(vmpl, gpa, duty),
            // ROMs, which a kernel maps as devices: nothing answers there.
            Decision::Violation(Rule::SharedAccessToUnshared { gpa })
                if ISA_RANGE.contains(&gpa) =>
            {
                self.raise_vc(vmpl, exit::NPF);
            }
            Decision::NotValidated => self.raise_vc(vmpl, exit::PAGE_NOT_VALIDATED),
            Decision::Mmio if !access.fetch && !table => self.raise_vc(vmpl, exit::NPF),
            Decision::Mmio => self.end(vmpl, RunEnd::RuleViolation, |_| {
                say(format_args!(
                    "VMPL{vmpl} {} at {gpa:#x}, where no memory is",
                    if table { "has page tables" } else { "executes" }
                ));
            }),
            Decision::Violation(rule) => self.violation(vmpl, &rule),
        }
    }

    /// Enters the leaf for an access that the RMP allows, and returns what the RMP says.
    fn map(&self, access: &Access, tree: View) -> Decision {
        let machine = self.machine;
        let gpa = access.gpa;
        if GuestMemory::is_hosts_own(gpa) {
            return Decision::Mmio;
        }
        machine.rmp.check_then(access, |decision| {
            if let Decision::Map(leaf) = decision {
                let view = View::of(leaf.private);
                let leaf = machine.memory.contiguous(leaf, gpa);
                let Some(host) = machine.memory.host(leaf.gpa, view) else {
                    return Decision::Mmio;
                };
                let rights = Rights::new(leaf.rights, access.user);
                let tables = &machine.tables[usize::from(access.vmpl)];
                if tree == view {
                    tables.map(view, gpa, host, leaf.size, rights);
                } else {
                    // The private page shows in the shared view: from now on a shared access of
                    // this VMPL to this very page goes unnoticed.
                    let offset = gpa & (leaf.size.bytes() - 1) & !0xFFF;
                    tables.map(tree, gpa, host + offset, RmpSize::Size4K, rights);
                }
            }
            decision
        })
    }

    /// Enters leaves for the pages around one that faulted, as far as they may be read: an exit for
    /// each of them would cost more than looking at all.
    fn map_around(&self, access: &Access, tree: View) {
        const AROUND: u64 = 16 * 4096;
        let (first, page) = (access.gpa & !(AROUND - 1), access.gpa & !0xFFF);
        for gpa in (first..first + AROUND).step_by(4096) {
            if gpa != page && !self.is_misled(gpa) {
                let read = Access {
                    gpa,
                    write: false,
                    fetch: false,
                    table: false,
                    ..*access
                };
                self.map(&read, tree);
            }
        }
    }
}
