// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs behind VMGEXIT, for the vCPU and the VMPL that exited.

use emulator::devices::{self, Effect, Lapic, PortEffect, RealLapic, Width};
use emulator::kvm_clock;
use emulator::snp::firmware::Status;
use emulator::snp::ghcb::{
    ApRequest, ApRequestKind, CpuidAnswer, HostServices, NotShared, Note, PageOp, Refused,
};
use emulator::snp::rmp::HostError;
use emulator_defs::exit::RunEnd;
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;
use snp_defs::rmp::RmpSize;
use zerocopy::IntoBytes;

use crate::end_of_run::end_run;
use crate::host::apic;
use crate::host::instructions::{cpuid, rdtsc};
use crate::host::physical;
use crate::machine::{Machine, Order, Request, Shared};
use crate::memory::backings::View;
use crate::records::report::say;
use crate::records::tracing::Event;

/// The x2APIC register that takes interprocessor interrupts.
const MSR_X2APIC_ICR: u32 = 0x830;

/// The host as one level sees it.
pub(crate) struct Services<'a> {
    pub(crate) machine: &'static Machine,
    pub(crate) shared: &'static Shared,
    pub(crate) vmpl: u8,
    pub(crate) restricted: bool,
    pub(crate) lapic: &'a mut Lapic<'static>,
    pub(crate) nmi_masked: &'a mut bool,
    /// Which VMPLs of the vCPU have a VMSA.
    pub(crate) present: [bool; VMPL_COUNT],
}

impl Services<'_> {
    /// Does what an access to the local APIC asks for.
    fn follow(&mut self, effect: Effect) {
        match effect {
            // The timer is looked at before each entry.
            Effect::None | Effect::TimerChanged | Effect::Eoi { level: false, .. } => {}
            Effect::Ipi(ipi) => {
                let vmpl = usize::from(self.vmpl);
                let vcpus = &self.machine.vcpus;
                let targets = ipi.send(|number| Some(&vcpus.get(number)?.levels[vmpl].posted));
                for number in targets.iter() {
                    self.machine.tracer.instant(
                        Kind::InterruptPosted,
                        Event {
                            vmpl: self.vmpl,
                            small: ipi.vector.into(),
                            a: number as u64,
                            ..Event::default()
                        },
                    );
                    vcpus[number].request(Request::LOOK);
                }
            }
            Effect::Eoi {
                vector,
                level: true,
            } => self.machine.bus.end_of_interrupt(vector),
            Effect::LogicalChanged(id) => {
                if self.vmpl == self.machine.config.guest_vmpl {
                    apic::Real.set_logical(id);
                }
            }
        }
    }

    /// A device access that is refused. Where no device is, the GHCB has an answer for; anything else
    /// would leave a device in a state that the emulator cannot vouch for.
    fn device_refused(&self, gpa: u64, refused: devices::Refused) -> Refused {
        let vmpl = self.vmpl;
        if !matches!(refused, devices::Refused::NoDevice { .. }) {
            self.end_refused(format_args!("VMPL{vmpl} writes to {gpa:#x}"), refused);
        }
        log::warn!("vCPU {} VMPL{vmpl}: {refused}", self.shared.index);
        Refused
    }

    fn end_refused(&self, what: core::fmt::Arguments<'_>, refused: devices::Refused) -> ! {
        end_run(self.machine, self.shared, RunEnd::Unsupported, |_| {
            say(format_args!("{what}, which is refused: {refused}"));
        })
    }

    fn shared_piece(&self, gpa: u64, length: usize) -> Result<u64, NotShared> {
        if !self.machine.rmp.is_shared(gpa, length as u64) {
            return Err(NotShared);
        }
        self.machine.memory.host(gpa, View::Shared).ok_or(NotShared)
    }

    /// Calls `each` with host address, offset and length of the pieces of a range: one a page.
    fn pieces(
        &self,
        gpa: u64,
        length: usize,
        mut each: impl FnMut(u64, usize, usize),
    ) -> Result<(), NotShared> {
        if !self.is_shared(gpa, length as u64) {
            return Err(NotShared);
        }
        let mut done = 0;
        while done < length {
            let at = gpa + done as u64;
            let piece = (4096 - (at as usize & 0xFFF)).min(length - done);
            each(self.shared_piece(at, piece)?, done, piece);
            done += piece;
        }
        Ok(())
    }
}

impl HostServices for Services<'_> {
    fn apic_id(&self) -> u32 {
        self.shared.index
    }

    fn vmpl(&self) -> u8 {
        self.vmpl
    }

    fn read_shared(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), NotShared> {
        self.pieces(gpa, to.len(), |host, offset, length| {
            physical::read(host, &mut to[offset..offset + length]);
        })
    }

    fn write_shared(&mut self, gpa: u64, from: &[u8]) -> Result<(), NotShared> {
        self.pieces(gpa, from.len(), |host, offset, length| {
            physical::write(host, &from[offset..offset + length]);
        })
    }

    fn is_shared(&self, gpa: u64, length: u64) -> bool {
        self.machine.rmp.is_shared(gpa, length)
    }

    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        match Width::from_bytes(size.into()) {
            Some(width) => self.machine.bus.port_read(port, width),
            None => u32::MAX,
        }
    }

    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        let Some(width) = Width::from_bytes(size.into()) else {
            return;
        };
        match self.machine.bus.port_write(port, width, value) {
            Ok(PortEffect::None) => {}
            Ok(PortEffect::PowerOff) => {
                end_run(self.machine, self.shared, RunEnd::PowerOff, |_| {})
            }
            Ok(PortEffect::Reset) => end_run(self.machine, self.shared, RunEnd::Reset, |_| {}),
            Err(refused) => self.end_refused(
                format_args!("VMPL{} writes {value:#x} to port {port:#x}", self.vmpl),
                refused,
            ),
        }
    }

    fn mmio_read(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Refused> {
        let width = Width::from_bytes(to.len()).ok_or(Refused)?;
        let value = self
            .machine
            .bus
            .mmio_read(self.lapic, rdtsc(), gpa, width)
            .map_err(|refused| self.device_refused(gpa, refused))?;
        to.copy_from_slice(&value.to_le_bytes()[..to.len()]);
        Ok(())
    }

    fn mmio_write(&mut self, gpa: u64, from: &[u8]) -> Result<(), Refused> {
        let width = Width::from_bytes(from.len()).ok_or(Refused)?;
        let mut bytes = [0; 8];
        bytes[..from.len()].copy_from_slice(from);
        let effect = self
            .machine
            .bus
            .mmio_write(self.lapic, rdtsc(), gpa, width, u64::from_le_bytes(bytes))
            .map_err(|refused| self.device_refused(gpa, refused))?;
        self.follow(effect);
        Ok(())
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32, _xcr0: u64, _xss: u64) -> CpuidAnswer {
        let apic_id = self.shared.index;
        let [eax, ebx, ecx, edx] = self.machine.cpuid.answer(&cpuid, apic_id, leaf, subleaf);
        CpuidAnswer { eax, ebx, ecx, edx }
    }

    fn tsc(&mut self) -> u64 {
        rdtsc()
    }

    fn apic_msr_read(&mut self, msr: u32) -> Result<u64, Refused> {
        self.lapic.msr_read(msr, rdtsc()).map_err(|_| Refused)
    }

    fn apic_msr_write(&mut self, msr: u32, value: u64) -> Result<(), Refused> {
        let effect = self
            .lapic
            .msr_write(msr, value, rdtsc())
            .map_err(|_| Refused)?;
        self.follow(effect);
        Ok(())
    }

    fn clock_msr_write(&mut self, msr: u32, value: u64) -> Result<(), Refused> {
        let clock = &self.machine.clock;
        match msr {
            kvm_clock::MSR_WALL_CLOCK => self.write_shared(value, clock.wall.as_bytes()),
            _ if value & 1 == 0 => Ok(()),
            _ => self.write_shared(value & !1, clock.system.as_bytes()),
        }
        .map_err(|_| Refused)
    }

    fn nmi_complete(&mut self) {
        *self.nmi_masked = false;
    }

    fn page_state(&mut self, gpa: u64, op: PageOp, size: RmpSize) -> Result<(), Refused> {
        let machine = self.machine;
        let mut revoked = false;
        let mut changed = |change: emulator::snp::rmp::Change| {
            revoked |= change.revokes();
            machine.apply(change);
        };
        let result = match op {
            PageOp::Private => machine.rmp.make_private(gpa, size, &mut changed),
            PageOp::Shared => machine.rmp.make_shared(gpa, size, &mut changed),
            PageOp::Psmash => match machine.rmp.psmash(gpa) {
                // Split already: as asked for.
                Err(HostError::NotUniform) => Ok(()),
                result => result.map(&mut changed),
            },
            PageOp::Unsmash => match machine.rmp.unsmash(gpa) {
                Err(HostError::NotUniform) => Ok(()),
                result => result.map(&mut changed),
            },
        };
        if revoked {
            machine.flush_others(self.shared.index);
        }
        result.map_err(|_| Refused)
    }

    fn ap_create(&mut self, request: &ApRequest) -> Result<(), Refused> {
        let target = self
            .machine
            .vcpus
            .get(request.apic_id as usize)
            .ok_or(Refused)?;
        // Nobody pulls away the ground on which it stands.
        if request.apic_id == self.shared.index && request.vmpl == self.vmpl {
            return Err(Refused);
        }
        let level = target
            .levels
            .get(usize::from(request.vmpl))
            .ok_or(Refused)?;
        let order = match request.kind {
            ApRequestKind::Create { vmsa, .. } => Order::Create(vmsa),
            ApRequestKind::CreateOnInit { vmsa, .. } => Order::CreateOnInit(vmsa),
            ApRequestKind::Destroy => Order::Destroy,
        };
        *level.order.lock() = Some(order);
        target.request(Request::ORDER);
        if order == Order::Destroy && target.index != self.shared.index {
            // The caller takes the VMSA's page back next. Who is waited for himself does not wait:
            // of two that destroy each other, both come out of here.
            while level.order.lock().is_some() && !self.shared.has_requests() {
                core::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn has_vmpl(&self, vmpl: u8) -> bool {
        self.present
            .get(usize::from(vmpl))
            .copied()
            .unwrap_or_default()
    }

    fn apic_id_of(&self, index: u32) -> Option<u32> {
        (index < self.machine.config.cpus).then_some(index)
    }

    fn ap_jump_table(&self) -> u64 {
        self.machine
            .ap_jump_table
            .load(core::sync::atomic::Ordering::Relaxed)
    }

    fn set_ap_jump_table(&mut self, gpa: u64) {
        self.machine
            .ap_jump_table
            .store(gpa, core::sync::atomic::Ordering::Relaxed);
    }

    fn guest_request(&mut self, request: &[u8; 4096], response: &mut [u8; 4096]) -> u32 {
        let started = self.machine.tracer.now();
        let status = match self.machine.firmware.lock().as_mut() {
            Some(guest) => guest.request(request, response) as u32,
            None => Status::InvalidGuestState as u32,
        };
        let kind = core::mem::offset_of!(snp_defs::guest_message::Header, msg_type);
        self.machine.tracer.since(
            Kind::Firmware,
            started,
            Event {
                vmpl: self.vmpl,
                small: 0,
                a: request[kind].into(),
                b: status.into(),
            },
        );
        status
    }

    fn certificates(&self) -> &[u8] {
        emulator::snp::firmware::certificates::table()
    }

    fn set_doorbell(&mut self, _gpa: Option<u64>) {
        // The level of the protocol keeps it, and it is asked for before each entry.
    }

    fn hv_ipi(&mut self, icr: u64) -> Result<(), Refused> {
        if !self.restricted {
            return Err(Refused);
        }
        self.apic_msr_write(MSR_X2APIC_ICR, icr)
    }

    fn restricted_injection(&self) -> bool {
        self.restricted
    }

    fn note(&mut self, note: Note) {
        log::warn!(
            "vCPU {} VMPL{}: {}",
            self.shared.index,
            self.vmpl,
            NoteText(note)
        );
    }
}

struct NoteText(Note);

impl core::fmt::Display for NoteText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Note::Malformed { code, reason } => {
                write!(f, "GHCB request {code:#x} is malformed (reason {reason})")
            }
            Note::UnknownMsrRead { msr } => write!(f, "RDMSR of {msr:#x}, which is not there"),
            Note::UnknownMsrWrite { msr, value } => {
                write!(f, "WRMSR of {value:#x} to {msr:#x}, which does not take it")
            }
            Note::UnsupportedEvent { code } => {
                write!(f, "the guest does not support exit {code:#x}")
            }
            Note::PageStateRefused { gpa, op } => {
                write!(f, "page state change {op:?} of {gpa:#x} is refused")
            }
            Note::ApCreationRefused { apic_id, vmpl } => {
                write!(f, "creation of vCPU {apic_id} at VMPL{vmpl} is refused")
            }
        }
    }
}
