// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delivery of an exception with an error code by software.
//!
//! #VC (vector 29) can't be injected through EVENTINJ under TCG, which pushes an error code for the
//! old exceptions only. So the emulator does what the processor does: reads the gate, switches the
//! stack, pushes, and continues at the handler (24593, 8.9 and 8.7).

use core::fmt;

use snp_defs::vmsa::Segment;

use crate::paging::EFER_LMA;
use crate::vmcb::Save;

/// #UD.
pub const INVALID_OPCODE: u8 = 6;
/// #DF.
pub const DOUBLE_FAULT: u8 = 8;
/// #GP.
pub const GENERAL_PROTECTION: u8 = 13;
/// #PF.
pub const PAGE_FAULT: u8 = 14;
/// #VC.
pub const VC: u8 = 29;

const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_NT: u64 = 1 << 14;
const RFLAGS_RF: u64 = 1 << 16;
const RFLAGS_VM: u64 = 1 << 17;
// Bits of [`Segment::attributes`].
/// A data segment's.
const ATTRIBUTE_WRITABLE: u16 = 1 << 1;
const ATTRIBUTE_CODE: u16 = 1 << 3;
/// Code or data, not the system's.
const ATTRIBUTE_USER: u16 = 1 << 4;
const ATTRIBUTE_PRESENT: u16 = 1 << 7;
/// Of a code segment: 64-bit.
const ATTRIBUTE_LONG: u16 = 1 << 9;
const ATTRIBUTE_BIG: u16 = 1 << 10;
const ATTRIBUTE_GRANULARITY: u16 = 1 << 11;

/// The guest's memory by linear address, as the processor sees it while it delivers an exception:
/// supervisor accesses, whatever the CPL.
pub trait LinearMemory {
    /// Reads; false if the guest can't.
    fn read(&self, linear: u64, into: &mut [u8]) -> bool;
    /// Writes; false if the guest can't.
    fn write(&self, linear: u64, from: &[u8]) -> bool;
}

/// Why the exception can't be delivered. A processor would end in a double fault or shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeliverable {
    /// Real mode or virtual-8086 mode.
    Mode,
    /// No such entry in the IDT, or it is no present gate.
    Gate,
    /// The handler's code segment is not usable.
    CodeSegment,
    /// The task state segment has no stack for the handler.
    TaskState,
    /// The stack can't be written; the address.
    Stack(u64),
}

impl fmt::Display for Undeliverable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode => write!(f, "the vCPU is not in protected mode"),
            Self::Gate => write!(f, "the IDT has no usable gate for it"),
            Self::CodeSegment => write!(f, "its gate has no usable code segment"),
            Self::TaskState => write!(f, "the TSS has no stack for its handler"),
            Self::Stack(address) => write!(f, "the stack at {address:#x} is not writable"),
        }
    }
}

/// Delivers exception `vector` with `error_code` to the vCPU whose registers are `save`. On failure
/// the registers are unchanged.
pub fn deliver(
    save: &mut Save,
    memory: &impl LinearMemory,
    vector: u8,
    error_code: u32,
) -> Result<(), Undeliverable> {
    if save.cr0 & 1 == 0 || save.rflags & RFLAGS_VM != 0 {
        return Err(Undeliverable::Mode);
    }
    if save.efer & EFER_LMA != 0 {
        deliver_64(save, memory, vector, error_code)
    } else {
        deliver_32(save, memory, vector, error_code)
    }
}

fn read_u64(memory: &impl LinearMemory, linear: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory
        .read(linear, &mut bytes)
        .then(|| u64::from_le_bytes(bytes))
}

/// Offset in the IDT of the gate with `size` bytes, if the limit covers it.
fn gate_address(save: &Save, vector: u8, size: u64) -> Option<u64> {
    let offset = u64::from(vector) * size;
    (offset + size - 1 <= u64::from(save.idtr.limit)).then(|| save.idtr.base.wrapping_add(offset))
}

/// The segment that `selector` names, from the GDT or the LDT, and its DPL. `None` if there is no
/// such descriptor, it is not present, or it is a system segment's.
fn descriptor(save: &Save, memory: &impl LinearMemory, selector: u16) -> Option<(Segment, u8)> {
    let (base, limit) = if selector & 4 != 0 {
        (save.ldtr.base, save.ldtr.limit)
    } else {
        (save.gdtr.base, save.gdtr.limit)
    };
    let offset = u32::from(selector & !7);
    if offset == 0 && selector & 4 == 0 || offset + 7 > limit {
        return None;
    }
    let descriptor = read_u64(memory, base.wrapping_add(u64::from(offset)))?;
    let attributes = ((descriptor >> 40) & 0xFF | (descriptor >> 44) & 0xF00) as u16;
    if attributes & (ATTRIBUTE_PRESENT | ATTRIBUTE_USER) != (ATTRIBUTE_PRESENT | ATTRIBUTE_USER) {
        return None;
    }
    let dpl = ((attributes >> 5) & 3) as u8;
    let raw_limit = ((descriptor & 0xFFFF) | (descriptor >> 32) & 0xF_0000) as u32;
    let segment = Segment {
        selector,
        attributes,
        limit: if attributes & ATTRIBUTE_GRANULARITY != 0 {
            (raw_limit << 12) | 0xFFF
        } else {
            raw_limit
        },
        base: (descriptor >> 16) & 0xFF_FFFF | (descriptor >> 32) & 0xFF00_0000,
    };
    Some((segment, dpl))
}

/// The handler's code segment and its DPL.
fn code_segment(
    save: &Save,
    memory: &impl LinearMemory,
    selector: u16,
) -> Result<(Segment, u8), Undeliverable> {
    descriptor(save, memory, selector)
        .filter(|(segment, _)| segment.attributes & ATTRIBUTE_CODE != 0)
        .ok_or(Undeliverable::CodeSegment)
}

/// The stack of a handler at `cpl` in protected mode: SS and ESP out of the 32-bit TSS
/// (24593, 12.2.5 and 8.7.3).
fn stack_32(
    save: &Save,
    memory: &impl LinearMemory,
    cpl: u8,
) -> Result<(Segment, u32), Undeliverable> {
    const NO_STACK: Undeliverable = Undeliverable::TaskState;
    // ESP0 at 4, SS0 at 8; eight bytes a level.
    let offset = 4 + 8 * u64::from(cpl);
    if offset + 7 > u64::from(save.tr.limit) {
        return Err(NO_STACK);
    }
    let pointer = read_u64(memory, save.tr.base.wrapping_add(offset)).ok_or(NO_STACK)?;
    let selector = (pointer >> 32) as u16;
    let (segment, dpl) = descriptor(save, memory, selector).ok_or(NO_STACK)?;
    let writable_data =
        segment.attributes & (ATTRIBUTE_CODE | ATTRIBUTE_WRITABLE) == ATTRIBUTE_WRITABLE;
    if !writable_data || dpl != cpl || selector & 3 != u16::from(cpl) {
        return Err(NO_STACK);
    }
    Ok((segment, pointer as u32))
}

/// CPL at which the handler runs. Conforming segments keep the CPL.
fn handler_cpl(save: &Save, segment: &Segment, dpl: u8) -> Result<u8, Undeliverable> {
    let conforming = segment.attributes & 4 != 0;
    if dpl > save.cpl {
        return Err(Undeliverable::CodeSegment);
    }
    Ok(if conforming { save.cpl } else { dpl })
}

/// Continues at the handler: what 64-bit and 32-bit delivery have in common.
fn enter(save: &mut Save, mut code: Segment, cpl: u8, rip: u64, rsp: u64, interrupt_gate: bool) {
    code.selector = code.selector & !3 | u16::from(cpl);
    save.cs = code;
    save.cpl = cpl;
    save.rip = rip;
    save.rsp = rsp;
    save.rflags &= !(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
    if interrupt_gate {
        save.rflags &= !RFLAGS_IF;
    }
}

fn deliver_64(
    save: &mut Save,
    memory: &impl LinearMemory,
    vector: u8,
    error_code: u32,
) -> Result<(), Undeliverable> {
    const NO_GATE: Undeliverable = Undeliverable::Gate;
    let address = gate_address(save, vector, 16).ok_or(NO_GATE)?;
    let mut gate = [0; 16];
    if !memory.read(address, &mut gate) {
        return Err(NO_GATE);
    }
    let gate = u128::from_le_bytes(gate);
    let (low, high) = (gate as u64, (gate >> 64) as u64);
    let kind = (low >> 40) & 0x1F;
    if (low >> 47) & 1 == 0 || kind & !1 != 0xE {
        return Err(NO_GATE);
    }
    let handler = low & 0xFFFF | (low >> 32) & 0xFFFF_0000 | high << 32;
    let (code, dpl) = code_segment(save, memory, (low >> 16) as u16)?;
    if code.attributes & ATTRIBUTE_LONG == 0 {
        return Err(Undeliverable::CodeSegment);
    }
    let cpl = handler_cpl(save, &code, dpl)?;

    let ist = (low >> 32) & 7;
    // Offsets in a 64-bit TSS: RSP0 at 4, IST1 at 0x24.
    let stack_slot = match ist {
        0 if cpl == save.cpl => None,
        0 => Some(4 + 8 * u64::from(cpl)),
        ist => Some(0x24 + 8 * (ist - 1)),
    };
    let stack = match stack_slot {
        None => save.rsp,
        Some(offset) if offset + 7 <= u64::from(save.tr.limit) => {
            read_u64(memory, save.tr.base.wrapping_add(offset)).ok_or(Undeliverable::TaskState)?
        }
        Some(_) => return Err(Undeliverable::TaskState),
    } & !0xF;

    let frame = [
        u64::from(error_code),
        save.rip,
        u64::from(save.cs.selector),
        save.rflags,
        save.rsp,
        u64::from(save.ss.selector),
    ];
    let rsp = stack.wrapping_sub(size_of_val(&frame) as u64);
    let mut bytes = [0; 48];
    for (slot, value) in bytes.chunks_exact_mut(8).zip(frame) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    if !memory.write(rsp, &bytes) {
        return Err(Undeliverable::Stack(rsp));
    }
    if cpl != save.cpl {
        // A null selector with the new CPL as its RPL.
        save.ss.selector = u16::from(cpl);
        save.ss.attributes =
            0x93 & !0x60 | u16::from(cpl) << 5 | ATTRIBUTE_BIG | ATTRIBUTE_GRANULARITY;
        save.ss.base = 0;
        save.ss.limit = u32::MAX;
    }
    enter(save, code, cpl, handler, rsp, kind == 0xE);
    Ok(())
}

fn deliver_32(
    save: &mut Save,
    memory: &impl LinearMemory,
    vector: u8,
    error_code: u32,
) -> Result<(), Undeliverable> {
    const NO_GATE: Undeliverable = Undeliverable::Gate;
    let address = gate_address(save, vector, 8).ok_or(NO_GATE)?;
    let gate = read_u64(memory, address).ok_or(NO_GATE)?;
    let kind = (gate >> 40) & 0x1F;
    // 32-bit interrupt and trap gates; nobody has used 16-bit or task gates for #VC.
    if (gate >> 47) & 1 == 0 || kind & !1 != 0xE {
        return Err(NO_GATE);
    }
    let handler = gate & 0xFFFF | (gate >> 32) & 0xFFFF_0000;
    let (code, dpl) = code_segment(save, memory, (gate >> 16) as u16)?;
    let cpl = handler_cpl(save, &code, dpl)?;
    let switched = if cpl == save.cpl {
        None
    } else {
        Some(stack_32(save, memory, cpl)?)
    };
    let (stack, top) = switched
        .as_ref()
        .map_or((&save.ss, save.rsp as u32), |(stack, top)| (stack, *top));
    let frame = [
        error_code,
        save.rip as u32,
        u32::from(save.cs.selector),
        save.rflags as u32,
        save.rsp as u32,
        u32::from(save.ss.selector),
    ];
    // The last two only where the stack changes.
    let frame = &frame[..if switched.is_some() { 6 } else { 4 }];
    let big = stack.attributes & ATTRIBUTE_BIG != 0;
    let esp = top.wrapping_sub(size_of_val(frame) as u32);
    let offset = if big { esp } else { esp & 0xFFFF };
    let linear = (stack.base as u32).wrapping_add(offset);
    let mut bytes = [0; 24];
    for (slot, value) in bytes.chunks_exact_mut(4).zip(frame) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    if !memory.write(u64::from(linear), &bytes[..size_of_val(frame)]) {
        return Err(Undeliverable::Stack(u64::from(linear)));
    }
    let rsp = if big {
        u64::from(esp)
    } else {
        u64::from(top & !0xFFFF | offset)
    };
    if let Some((stack, _)) = switched {
        save.ss = stack;
    }
    enter(save, code, cpl, handler, rsp, kind == 0xE);
    Ok(())
}

#[cfg(test)]
mod tests;
