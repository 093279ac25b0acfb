// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a local APIC, by both of their faces.
//!
//! A register has one number: its offset in the xAPIC page divided by 16, which is also its MSR
//! minus 0x800 in x2APIC mode (SDM vol. 3, table 11-1 and 11.12.1.2).

use super::ipi::x2apic_logical_id;
use super::timer::Mode;
use super::{Effect, Gp, Ipi, LAPIC_BASE, Lapic, SVR_ENABLE, error};

const MSR_APIC_BASE: u32 = 0x1B;
const MSR_TSC_DEADLINE: u32 = 0x6E0;
const MSR_X2APIC_FIRST: u32 = 0x800;
const MSR_X2APIC_LAST: u32 = 0x8FF;

/// IA32_APIC_BASE: bootstrap processor.
pub(super) const BASE_BSP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
pub(super) const BASE_X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: enabled.
pub(super) const BASE_ENABLE: u64 = 1 << 11;

const ID: u8 = 0x02;
const VERSION: u8 = 0x03;
const TPR: u8 = 0x08;
const APR: u8 = 0x09;
const PPR: u8 = 0x0A;
const EOI: u8 = 0x0B;
const RRD: u8 = 0x0C;
const LDR: u8 = 0x0D;
const DFR: u8 = 0x0E;
const SVR: u8 = 0x0F;
const ISR: u8 = 0x10;
const ISR_LAST: u8 = 0x17;
const TMR: u8 = 0x18;
const TMR_LAST: u8 = 0x1F;
const IRR: u8 = 0x20;
const IRR_LAST: u8 = 0x27;
const ESR: u8 = 0x28;
const ICR: u8 = 0x30;
const ICR_HIGH: u8 = 0x31;
const LVT: u8 = 0x32;
const LVT_LAST: u8 = LVT + LVTS as u8 - 1;
const INITIAL_COUNT: u8 = 0x38;
const CURRENT_COUNT: u8 = 0x39;
const DIVIDE: u8 = 0x3E;
const SELF_IPI: u8 = 0x3F;

/// Entries of the local vector table, in the order of their registers.
pub(super) const LVTS: usize = 6;
/// The timer's entry.
pub(super) const LVT_TIMER: usize = 0;
/// The error entry.
pub(super) const LVT_ERROR: usize = 5;
/// Mask bit of an entry.
pub(super) const LVT_MASKED: u32 = 1 << 16;

/// Bits of each entry that software may set: timer, thermal sensor, performance counters, LINT0,
/// LINT1, error (SDM vol. 3, figure 11-8).
const LVT_WRITABLE: [u32; LVTS] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];
/// Bits of each entry that only the local APIC sets: delivery status and, of LINT0 and LINT1,
/// remote IRR. Writing them is no fault.
const LVT_READ_ONLY: [u32; LVTS] = [0x1000, 0x1000, 0x1000, 0x5000, 0x5000, 0x1000];

/// Version 0x14 (integrated), highest entry of the local vector table, no EOI suppression.
const VERSION_VALUE: u32 = 0x14 | (LVTS as u32 - 1) << 16;
const SVR_WRITABLE: u32 = SVR_ENABLE | 0xFF;
const DIVIDE_WRITABLE: u32 = 0b1011;
/// Vector, delivery mode, destination mode, level, trigger mode, shorthand.
const ICR_WRITABLE: u32 = 0x000C_CFFF;
const ICR_DELIVERY_STATUS: u32 = 1 << 12;

impl Lapic<'_> {
    /// Whether RDMSR and WRMSR of `msr` are the local APIC's: IA32_APIC_BASE, IA32_TSC_DEADLINE
    /// and 0x800 to 0x8FF.
    pub const fn owns_msr(msr: u32) -> bool {
        matches!(
            msr,
            MSR_APIC_BASE | MSR_TSC_DEADLINE | MSR_X2APIC_FIRST..=MSR_X2APIC_LAST
        )
    }

    /// RDMSR. An MSR that is not the local APIC's is #GP.
    pub fn msr_read(&mut self, msr: u32, now: u64) -> Result<u64, Gp> {
        self.tick(now);
        match msr {
            MSR_APIC_BASE => Ok(self.base),
            MSR_TSC_DEADLINE => Ok(self.timer.deadline()),
            _ => match self.x2apic_register(msr)? {
                ICR => Ok(self.icr),
                ID => Ok(self.posted.apic_id().into()),
                LDR => Ok(x2apic_logical_id(self.posted.apic_id()).into()),
                EOI | DFR | APR | RRD | ICR_HIGH | SELF_IPI => Err(Gp),
                register => self.read(register, now).map(u64::from).ok_or(Gp),
            },
        }
    }

    /// WRMSR. An MSR that is not the local APIC's is #GP.
    pub fn msr_write(&mut self, msr: u32, value: u64, now: u64) -> Result<Effect, Gp> {
        self.tick(now);
        match msr {
            MSR_APIC_BASE => self.write_base(value),
            MSR_TSC_DEADLINE => {
                self.timer.set_deadline(value);
                Ok(Effect::TimerChanged)
            }
            _ => match self.x2apic_register(msr)? {
                // Bit 12 was the delivery status; as on hardware it may be written and is not kept.
                ICR if value as u32 & !(ICR_WRITABLE | ICR_DELIVERY_STATUS) != 0 => Err(Gp),
                ICR => {
                    self.icr = value & !u64::from(ICR_DELIVERY_STATUS);
                    Ok(self.send())
                }
                register => {
                    let value = u32::try_from(value).map_err(|_| Gp)?;
                    let writable = x2apic_writable(register).ok_or(Gp)?;
                    if value & !writable != 0 {
                        return Err(Gp);
                    }
                    Ok(self.write(register, value, now).unwrap_or(Effect::None))
                }
            },
        }
    }

    /// Whether the local APIC's registers are at `address`: only in xAPIC mode.
    pub fn claims(&self, address: u64) -> bool {
        self.is_present() && !self.is_x2apic() && address & !0xFFF == LAPIC_BASE
    }

    /// A load of 32 bits at `offset` into the registers' page, in xAPIC mode.
    ///
    /// What the manual leaves undefined (other offsets than multiples of 16) reads as 0.
    pub fn mmio_read(&mut self, offset: u16, now: u64) -> u32 {
        self.tick(now);
        match xapic_register(offset) {
            Some(ID) => self.posted.apic_id() << 24,
            Some(LDR) => u32::from(self.ldr) << 24,
            Some(DFR) => u32::from(self.dfr) << 28 | 0x0FFF_FFFF,
            Some(ICR) => self.icr as u32,
            Some(ICR_HIGH) => (self.icr >> 32) as u32,
            Some(EOI | APR | RRD) | None => 0,
            Some(register) => self.read(register, now).unwrap_or_else(|| {
                self.raise(error::ILLEGAL_REGISTER);
                0
            }),
        }
    }

    /// A store of 32 bits at `offset` into the registers' page, in xAPIC mode.
    ///
    /// Reserved bits, and what the manual leaves undefined, are ignored.
    pub fn mmio_write(&mut self, offset: u16, value: u32, now: u64) -> Effect {
        self.tick(now);
        match xapic_register(offset) {
            Some(LDR) => {
                self.ldr = (value >> 24) as u8;
                self.logical_changed()
            }
            Some(DFR) => {
                self.dfr = (value >> 28) as u8;
                self.logical_changed()
            }
            Some(ICR) => {
                self.icr = self.icr & !0xFFFF_FFFF | u64::from(value & ICR_WRITABLE);
                self.send()
            }
            Some(ICR_HIGH) => {
                self.icr = u64::from(value & 0xFF00_0000) << 32 | self.icr & 0xFFFF_FFFF;
                Effect::None
            }
            // Read only: ignored. They exist, so it is no access to an illegal register.
            Some(ID | VERSION | APR | PPR | RRD | ISR..=IRR_LAST | CURRENT_COUNT) | None => {
                Effect::None
            }
            Some(SELF_IPI) => {
                self.raise(error::ILLEGAL_REGISTER);
                Effect::None
            }
            Some(register) => self.write(register, value, now).unwrap_or_else(|| {
                self.raise(error::ILLEGAL_REGISTER);
                Effect::None
            }),
        }
    }

    /// What both faces read alike.
    fn read(&self, register: u8, now: u64) -> Option<u32> {
        Some(match register {
            VERSION => VERSION_VALUE,
            TPR => self.tpr.into(),
            PPR => self.ppr().into(),
            SVR => self.svr,
            ISR..=ISR_LAST => self.in_service.word((register - ISR).into()),
            TMR..=TMR_LAST => self.level.word((register - TMR).into()),
            IRR..=IRR_LAST => self.requested.word((register - IRR).into()),
            ESR => self.esr,
            LVT..=LVT_LAST => self.lvt[usize::from(register - LVT)],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT => self.timer.current(now),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// What both faces write alike. Bits that are not writable are ignored.
    fn write(&mut self, register: u8, value: u32, now: u64) -> Option<Effect> {
        match register {
            TPR => self.tpr = value as u8,
            EOI => return Some(self.end_of_interrupt()),
            SVR => {
                self.svr = value & SVR_WRITABLE;
                if !self.is_software_enabled() {
                    // SDM vol. 3, 11.4.7.2: all entries are masked and stay so.
                    self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
                }
                self.publish();
                return Some(Effect::TimerChanged);
            }
            ESR => {
                // SDM vol. 3, 11.5.3: a write shows what has gathered, and starts anew.
                self.esr = core::mem::take(&mut self.errors);
            }
            LVT..=LVT_LAST => return Some(self.write_lvt((register - LVT).into(), value)),
            INITIAL_COUNT => {
                self.timer.set_initial(value, now);
                return Some(Effect::TimerChanged);
            }
            DIVIDE => {
                self.timer.set_divide(value & DIVIDE_WRITABLE, now);
                return Some(Effect::TimerChanged);
            }
            SELF_IPI => {
                if value < 16 {
                    self.raise(error::SEND_ILLEGAL_VECTOR);
                } else {
                    self.request(value as u8, false);
                }
            }
            _ => return None,
        }
        Some(Effect::None)
    }

    fn write_lvt(&mut self, entry: usize, value: u32) -> Effect {
        let masked = if self.is_software_enabled() {
            0
        } else {
            LVT_MASKED
        };
        self.lvt[entry] = value & LVT_WRITABLE[entry] | masked;
        if entry != LVT_TIMER {
            return Effect::None;
        }
        self.timer.set_mode(Mode::from_lvt(value));
        Effect::TimerChanged
    }

    fn send(&mut self) -> Effect {
        match Ipi::from_icr(self.icr, self.posted.apic_id(), self.is_x2apic()) {
            Some(ipi) if ipi.is_illegal() => {
                self.raise(error::SEND_ILLEGAL_VECTOR);
                Effect::None
            }
            Some(ipi) => Effect::Ipi(ipi),
            None => Effect::None,
        }
    }

    fn logical_changed(&self) -> Effect {
        self.publish();
        Effect::LogicalChanged(self.logical_id())
    }

    /// IA32_APIC_BASE: the modes and the ways between them (SDM vol. 3, 11.12.5).
    fn write_base(&mut self, value: u64) -> Result<Effect, Gp> {
        const MODE: u64 = BASE_ENABLE | BASE_X2APIC;
        const DISABLED: u64 = 0;
        const INVALID: u64 = BASE_X2APIC;
        if value & !(MODE | BASE_BSP) != LAPIC_BASE {
            return Err(Gp);
        }
        match (self.base & MODE, value & MODE) {
            (_, INVALID) | (MODE, BASE_ENABLE) | (DISABLED, MODE) => return Err(Gp),
            (_, DISABLED) => *self = Self::reset(self.posted, value),
            _ => self.base = value,
        }
        Ok(self.logical_changed())
    }

    /// The register that `msr` names. #GP outside of x2APIC mode (SDM vol. 3, 11.12.2).
    fn x2apic_register(&self, msr: u32) -> Result<u8, Gp> {
        if !self.is_x2apic() {
            return Err(Gp);
        }
        msr.checked_sub(MSR_X2APIC_FIRST)
            .and_then(|register| u8::try_from(register).ok())
            .ok_or(Gp)
    }
}

/// The register at `offset` of the page, if it is a multiple of 16.
fn xapic_register(offset: u16) -> Option<u8> {
    offset.is_multiple_of(16).then_some((offset / 16) as u8)
}

/// Bits that WRMSR may set in a register; `None` if it is read only or does not exist.
fn x2apic_writable(register: u8) -> Option<u32> {
    Some(match register {
        TPR | SELF_IPI => 0xFF,
        EOI | ESR => 0,
        SVR => SVR_WRITABLE,
        LVT..=LVT_LAST => {
            let entry = usize::from(register - LVT);
            LVT_WRITABLE[entry] | LVT_READ_ONLY[entry]
        }
        INITIAL_COUNT => u32::MAX,
        DIVIDE => DIVIDE_WRITABLE,
        _ => return None,
    })
}
