// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decoding of the instructions that the emulator executes itself. TCG has no decode assists and
//! no next-RIP, so lengths and operands come from the bytes.
//!
//! Everything else is delivered to the guest as an exception and decoded there.

/// The most bytes of an instruction.
pub const MAX_LENGTH: usize = 15;

/// What the bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// PVALIDATE.
    Pvalidate,
    /// RMPADJUST.
    Rmpadjust,
    /// RMPQUERY.
    Rmpquery,
    /// INVLPGB.
    Invlpgb,
    /// TLBSYNC.
    Tlbsync,
    /// VMGEXIT.
    Vmgexit,
    /// VMMCALL.
    Vmmcall,
    /// HLT.
    Hlt,
    /// RDMSR.
    Rdmsr,
    /// WRMSR.
    Wrmsr,
    /// MOV to a control register.
    MovToCr {
        /// Number of the control register.
        register: u8,
        /// Number of the general register, as in machine code.
        source: u8,
    },
    /// CLTS.
    Clts,
    /// LMSW from a general register.
    Lmsw {
        /// Number of the general register, as in machine code.
        source: u8,
    },
    /// IRET.
    Iret,
    /// INT3, INT or INTO.
    Interrupt {
        /// The vector.
        vector: u8,
    },
    /// Anything else; the length is not known.
    Other,
}

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// Bytes, prefixes included; 0 for [`Operation::Other`].
    pub length: u8,
}

/// Decodes the instruction at the start of `bytes`. `long` says whether REX prefixes exist.
pub fn decode(bytes: &[u8], long: bool) -> Instruction {
    let mut reader = Reader { bytes, position: 0 };
    match operation(&mut reader, long) {
        Some(operation) if operation != Operation::Other && reader.position <= MAX_LENGTH => {
            Instruction {
                operation,
                length: reader.position as u8,
            }
        }
        _ => Instruction {
            operation: Operation::Other,
            length: 0,
        },
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.position).copied()?;
        self.position += 1;
        Some(byte)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    None,
    F2,
    F3,
}

fn operation(reader: &mut Reader<'_>, long: bool) -> Option<Operation> {
    let mut repeat = Repeat::None;
    let mut rex = 0;
    let mut lock = false;
    let opcode = loop {
        let byte = reader.next()?;
        match byte {
            0xF2 => repeat = Repeat::F2,
            0xF3 => repeat = Repeat::F3,
            0xF0 => lock = true,
            0x66 | 0x67 | 0x2E | 0x36 | 0x3E | 0x26 | 0x64 | 0x65 => {}
            0x40..=0x4F if long => {
                rex = byte;
                // A REX prefix counts only right before the opcode.
                continue;
            }
            _ => break byte,
        }
        rex = 0;
    };
    Some(match opcode {
        0xF4 => Operation::Hlt,
        0xCF => Operation::Iret,
        0xCC => Operation::Interrupt { vector: 3 },
        0xCD => Operation::Interrupt {
            vector: reader.next()?,
        },
        0xCE if !long => Operation::Interrupt { vector: 4 },
        0x0F => match reader.next()? {
            0x01 => group_7(reader.next()?, repeat, rex),
            0x06 => Operation::Clts,
            0x22 => {
                let modrm = reader.next()?;
                let extended = rex & 4 != 0;
                // LOCK makes CR8 of CR0: 32-bit code has no other way to it (24594, MOV CRn).
                Operation::MovToCr {
                    register: ((modrm >> 3) & 7) | (u8::from(lock || extended) << 3),
                    source: (modrm & 7) | ((rex & 1) << 3),
                }
            }
            0x30 => Operation::Wrmsr,
            0x32 => Operation::Rdmsr,
            _ => Operation::Other,
        },
        _ => Operation::Other,
    })
}

/// Opcode 0F 01: what it is depends on the ModRM byte and on the last repeat prefix (24594,
/// appendix A.2.5; 56421, 2.1 for VMGEXIT).
fn group_7(modrm: u8, repeat: Repeat, rex: u8) -> Operation {
    match (modrm, repeat) {
        (0xFF, Repeat::F2) => Operation::Pvalidate,
        (0xFF, Repeat::None) => Operation::Tlbsync,
        (0xFE, Repeat::F3) => Operation::Rmpadjust,
        (0xFD, Repeat::F3) => Operation::Rmpquery,
        (0xFE, Repeat::None) => Operation::Invlpgb,
        (0xD9, Repeat::F2 | Repeat::F3) => Operation::Vmgexit,
        (0xD9, Repeat::None) => Operation::Vmmcall,
        // LMSW, register form.
        (0xF0..=0xF7, _) => Operation::Lmsw {
            source: (modrm & 7) | ((rex & 1) << 3),
        },
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snp_defs::rmp;

    fn one(bytes: &[u8]) -> (Operation, usize) {
        let instruction = decode(bytes, true);
        (instruction.operation, usize::from(instruction.length))
    }

    #[test]
    fn snp_instructions() {
        for (bytes, operation) in [
            (&rmp::OPCODE_PVALIDATE[..], Operation::Pvalidate),
            (&rmp::OPCODE_RMPADJUST[..], Operation::Rmpadjust),
            (&rmp::OPCODE_RMPQUERY[..], Operation::Rmpquery),
            (&rmp::OPCODE_INVLPGB[..], Operation::Invlpgb),
            (&rmp::OPCODE_TLBSYNC[..], Operation::Tlbsync),
            (&rmp::OPCODE_VMGEXIT[..], Operation::Vmgexit),
            (&[0x0F, 0x01, 0xD9][..], Operation::Vmmcall),
        ] {
            assert_eq!(one(bytes), (operation, bytes.len()));
        }
    }

    #[test]
    fn control_registers() {
        // mov cr0, rax; mov cr0, r8; mov cr8, rdx; lock mov cr0, eax, which is mov cr8, eax.
        for (bytes, register, source) in [
            (&[0x0F, 0x22, 0xC0][..], 0, 0),
            (&[0x41, 0x0F, 0x22, 0xC0][..], 0, 8),
            (&[0x44, 0x0F, 0x22, 0xC2][..], 8, 2),
            (&[0xF0, 0x0F, 0x22, 0xC0][..], 8, 0),
        ] {
            assert_eq!(
                one(bytes),
                (Operation::MovToCr { register, source }, bytes.len())
            );
        }
        assert_eq!(one(&[0x0F, 0x06]), (Operation::Clts, 2));
        assert_eq!(one(&[0x0F, 0x01, 0xF1]), (Operation::Lmsw { source: 1 }, 3));
    }

    #[test]
    fn software_interrupts() {
        let interrupt = |vector| Operation::Interrupt { vector };
        assert_eq!(one(&[0xCC]), (interrupt(3), 1));
        assert_eq!(one(&[0xCD, 0x80]), (interrupt(0x80), 2));
        assert_eq!(one(&[0xCE]).0, Operation::Other);
        assert_eq!(decode(&[0xCE], false).operation, interrupt(4));
    }

    #[test]
    fn prefixes_count() {
        assert_eq!(one(&[0x2E, 0xF4]), (Operation::Hlt, 2));
        assert_eq!(one(&[0x48, 0x0F, 0x32]), (Operation::Rdmsr, 3));
        assert_eq!(one(&[0x48, 0xCF]), (Operation::Iret, 2));
        // Without long mode 0x48 is DEC EAX.
        assert_eq!(
            decode(&[0x48, 0x0F, 0x32], false).operation,
            Operation::Other
        );
        // The last repeat prefix counts.
        assert_eq!(one(&[0xF2, 0xF3, 0x0F, 0x01, 0xFE]).0, Operation::Rmpadjust);
    }

    #[test]
    fn nonsense_is_other() {
        assert_eq!(one(&[]), (Operation::Other, 0));
        assert_eq!(one(&[0x0F]), (Operation::Other, 0));
        assert_eq!(one(&[0x0F, 0x0B]), (Operation::Other, 0));
        assert_eq!(one(&[0x66; 20]), (Operation::Other, 0));
        let mut long = [0x66; 17];
        long[16] = 0xF4;
        assert_eq!(one(&long), (Operation::Other, 0));
    }
}
