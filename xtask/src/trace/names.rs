// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the numbers in a record mean, for people.

use std::borrow::Cow;

use emulator_defs::trace::{Kind, Record, page_op};
use snp_defs::msr::protocol;
use snp_defs::{exit, guest_message, psc};
use svsm_abi::{CallId, attestation, core_protocol};

use super::perfetto::Detail;

/// The kind of a record, if it is a known one.
pub(super) fn kind(number: u8) -> Option<Kind> {
    const KINDS: [Kind; 13] = [
        Kind::Guest,
        Kind::Exit,
        Kind::Vmgexit,
        Kind::Switch,
        Kind::SvsmCall,
        Kind::PageState,
        Kind::Interrupt,
        Kind::InterruptPosted,
        Kind::Exception,
        Kind::Idle,
        Kind::Flush,
        Kind::Firmware,
        Kind::Hostile,
    ];
    KINDS.into_iter().find(|kind| *kind as u8 == number)
}

/// What a record is called.
pub(super) fn of(record: &Record) -> Cow<'static, str> {
    let small = record.small;
    let Some(kind) = kind(record.kind) else {
        return format!("unknown record {}", record.kind).into();
    };
    match kind {
        Kind::Guest => "runs".into(),
        Kind::Exit if record.a == exit::IOIO => port(record.b).into(),
        Kind::Exit if record.a == exit::MSR => msr(record.b, small).into(),
        Kind::Exit => exit(record.a),
        Kind::Vmgexit if record.a == exit::IOIO => format!("GHCB: {}", port(record.b)).into(),
        Kind::Vmgexit if record.a == exit::MSR => format!("GHCB: {}", msr(record.b, small)).into(),
        Kind::Vmgexit => request(record.a),
        Kind::Switch => format!("switch to VMPL{small}").into(),
        Kind::SvsmCall => call(record.a),
        Kind::PageState => page_state(small, record.b),
        Kind::Interrupt => format!("interrupt {small:#x}").into(),
        Kind::InterruptPosted => format!("posts interrupt {small:#x}").into(),
        Kind::Exception => exception(small),
        Kind::Idle => "idle".into(),
        Kind::Flush => "flush of all vCPUs".into(),
        Kind::Firmware => firmware(record.a),
        Kind::Hostile => format!("hostile rule {}", record.a).into(),
    }
}

/// What else a record says.
pub(super) fn details(record: &Record) -> Vec<(&'static str, Detail)> {
    use Detail::{Address, Number, Text};
    let (a, b) = (record.a, record.b);
    let Some(kind) = kind(record.kind) else {
        return vec![("a", Address(a)), ("b", Address(b))];
    };
    match kind {
        Kind::Guest => vec![("exit", Text(exit(a).into_owned())), ("RIP", Address(b))],
        Kind::Exit => match a {
            exit::MSR => vec![],
            exit::NPF => vec![("GPA", Address(b)), ("write", Number(record.small.into()))],
            exit::IOIO => vec![("EXITINFO1", Address(b))],
            _ => vec![("code", Address(a)), ("EXITINFO1", Address(b))],
        },
        Kind::Vmgexit => match a {
            exit::MSR => vec![],
            exit::CPUID => vec![("leaf", Address(b))],
            exit::MMIO_READ | exit::MMIO_WRITE => vec![("GPA", Address(b))],
            exit::IOIO => vec![("EXITINFO1", Address(b))],
            _ => vec![("request", Address(a)), ("EXITINFO1", Address(b))],
        },
        Kind::Switch => vec![("VMSA", Address(a))],
        Kind::SvsmCall => vec![("RAX", Address(a)), ("RCX", Address(b))],
        Kind::PageState => vec![("GPA", Address(a)), ("bytes", Number(b))],
        Kind::InterruptPosted => vec![("APIC id", Number(a))],
        Kind::Exception => vec![("error code", Address(a))],
        Kind::Firmware => vec![("message type", Number(a)), ("status", Address(b))],
        Kind::Interrupt | Kind::Idle | Kind::Flush | Kind::Hostile => vec![],
    }
}

/// The name of an SVM exit code (24593, appendix C).
fn exit(code: u64) -> Cow<'static, str> {
    let name = match code {
        exit::CR0_READ..=0x0F => return format!("read of CR{code}").into(),
        exit::CR0_WRITE..=0x1F => return format!("write of CR{}", code - exit::CR0_WRITE).into(),
        exit::DR0_READ..=0x2F => return format!("read of DR{}", code - exit::DR0_READ).into(),
        exit::DR0_WRITE..=0x3F => return format!("write of DR{}", code - exit::DR0_WRITE).into(),
        exit::EXCEPTION..=0x5F => return exception((code - exit::EXCEPTION) as u16),
        exit::INTR => "physical interrupt",
        exit::NMI => "NMI",
        exit::SMI => "SMI",
        exit::VINTR => "interrupt window",
        exit::CR0_SEL_WRITE => "write of CR0",
        exit::RDTSC => "RDTSC",
        exit::RDPMC => "RDPMC",
        exit::CPUID => "CPUID",
        exit::IRET => "IRET",
        exit::INVD => "INVD",
        exit::PAUSE => "PAUSE",
        exit::HLT => "HLT",
        exit::INVLPG => "INVLPG",
        exit::INVLPGA => "INVLPGA",
        exit::IOIO => "port I/O",
        exit::MSR => "MSR access",
        exit::SHUTDOWN => "shutdown",
        exit::VMRUN => "VMRUN",
        // TCG reports VMGEXIT so, the guest has no other use for it.
        exit::VMMCALL | exit::VMGEXIT => "VMGEXIT",
        exit::VMLOAD => "VMLOAD",
        exit::VMSAVE => "VMSAVE",
        exit::STGI => "STGI",
        exit::CLGI => "CLGI",
        exit::SKINIT => "SKINIT",
        exit::RDTSCP => "RDTSCP",
        exit::WBINVD => "WBINVD",
        exit::MONITOR => "MONITOR",
        exit::MWAIT => "MWAIT",
        exit::XSETBV => "XSETBV",
        exit::NPF => "nested page fault",
        exit::INVALID => "invalid guest state",
        exit::BUSY => "VMSA in use",
        _ => return format!("exit {code:#x}").into(),
    };
    name.into()
}

/// What an access to an I/O port does, from its EXITINFO1 (24593, 15.10.2).
fn port(info1: u64) -> String {
    const IN: u64 = 1 << 0;
    const STRING: u64 = 1 << 2;
    let verb = match (info1 & IN != 0, info1 & STRING != 0) {
        (true, false) => "IN",
        (true, true) => "INS",
        (false, false) => "OUT",
        (false, true) => "OUTS",
    };
    format!("{verb} {:#x}", info1 >> 16 & 0xFFFF)
}

fn msr(number: u64, written: u16) -> String {
    let verb = if written == 0 { "RDMSR" } else { "WRMSR" };
    format!("{verb} {number:#x}")
}

/// The name of what a VMGEXIT asks for: the MSR protocol has codes below 0x1000 in its low bits,
/// and none of the GHCB's exit codes that are asked for this way is as large as a page number.
fn request(value: u64) -> Cow<'static, str> {
    let name = match value {
        exit::MMIO_READ => "MMIO read",
        exit::MMIO_WRITE => "MMIO write",
        exit::NMI_COMPLETE => "NMI complete",
        exit::AP_RESET_HOLD => "AP reset hold",
        exit::AP_JUMP_TABLE => "AP jump table",
        exit::PAGE_STATE_CHANGE => "page state change",
        exit::GUEST_REQUEST => "guest request",
        exit::EXT_GUEST_REQUEST => "extended guest request",
        exit::AP_CREATION => "AP creation",
        exit::HV_DOORBELL => "#HV doorbell page",
        exit::HV_IPI => "#HV IPI",
        exit::HV_TIMER => "#HV timer",
        exit::APIC_ID_LIST => "APIC id list",
        exit::RUN_VMPL => "run VMPL",
        exit::HV_FEATURES => "hypervisor features",
        exit::TERMINATE => "termination",
        exit::UNSUPPORTED_EVENT => "unsupported event",
        exit::CPUID
        | exit::IOIO
        | exit::MSR
        | exit::RDTSC
        | exit::RDTSCP
        | exit::RDPMC
        | exit::WBINVD
        | exit::INVD
        | exit::MONITOR
        | exit::MWAIT
        | exit::VMMCALL
        | exit::DR7_READ
        | exit::DR7_WRITE => return format!("GHCB: {}", exit(value)).into(),
        _ => match value & protocol::CODE_MASK {
            protocol::SEV_INFO_REQUEST => "MSR: SEV information",
            protocol::CPUID_REQUEST => "MSR: CPUID",
            protocol::AP_RESET_HOLD_REQUEST => "MSR: AP reset hold",
            protocol::PREFERRED_GHCB_REQUEST => "MSR: preferred GHCB",
            protocol::REGISTER_GHCB_REQUEST => "MSR: register GHCB",
            protocol::PSC_REQUEST => {
                let op = psc::Entry(value).op();
                return format!("MSR: page state change, {}", operation(op)).into();
            }
            protocol::RUN_VMPL_REQUEST => "MSR: run VMPL",
            protocol::HV_FEATURES_REQUEST => "MSR: hypervisor features",
            protocol::TERMINATE_REQUEST => "MSR: termination",
            _ => return format!("request {value:#x}").into(),
        },
    };
    name.into()
}

const fn operation(op: u8) -> &'static str {
    match op {
        psc::OP_PRIVATE => "private",
        psc::OP_SHARED => "shared",
        psc::OP_PSMASH => "split",
        psc::OP_UNSMASH => "merge",
        _ => "unknown operation",
    }
}

/// The name of an SVSM call (58019).
fn call(rax: u64) -> Cow<'static, str> {
    let CallId { protocol, call } = CallId::from_rax(rax);
    let name = match (protocol, call) {
        (core_protocol::PROTOCOL, core_protocol::REMAP_CA) => "REMAP_CA",
        (core_protocol::PROTOCOL, core_protocol::PVALIDATE) => "PVALIDATE",
        (core_protocol::PROTOCOL, core_protocol::CREATE_VCPU) => "CREATE_VCPU",
        (core_protocol::PROTOCOL, core_protocol::DELETE_VCPU) => "DELETE_VCPU",
        (core_protocol::PROTOCOL, core_protocol::DEPOSIT_MEM) => "DEPOSIT_MEM",
        (core_protocol::PROTOCOL, core_protocol::WITHDRAW_MEM) => "WITHDRAW_MEM",
        (core_protocol::PROTOCOL, core_protocol::QUERY_PROTOCOL) => "QUERY_PROTOCOL",
        (core_protocol::PROTOCOL, core_protocol::CONFIGURE_VTOM) => "CONFIGURE_VTOM",
        (attestation::PROTOCOL, attestation::ATTEST_SERVICES) => "ATTEST_SERVICES",
        (attestation::PROTOCOL, attestation::ATTEST_SINGLE_SERVICE) => "ATTEST_SINGLE_SERVICE",
        _ => return format!("protocol {protocol} call {call}").into(),
    };
    name.into()
}

fn page_state(op: u16, bytes: u64) -> Cow<'static, str> {
    let name = match op {
        page_op::PRIVATE => "makes private",
        page_op::SHARED => "makes shared",
        page_op::PSMASH => "splits",
        page_op::UNSMASH => "merges",
        page_op::VALIDATE => "validates",
        page_op::RESCIND => "rescinds",
        page_op::ADJUST => "adjusts",
        _ => return format!("page operation {op}").into(),
    };
    match bytes {
        0x1000 => format!("{name} 4K"),
        0x20_0000 => format!("{name} 2M"),
        _ => format!("{name} {bytes} bytes"),
    }
    .into()
}

/// The name of an exception (24593, 8.2).
fn exception(vector: u16) -> Cow<'static, str> {
    const NAMES: [&str; 32] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS",
        "#GP", "#PF", "", "#MF", "#AC", "#MC", "#XF", "", "#CP", "", "", "", "", "", "", "#HV",
        "#VC", "#SX", "",
    ];
    match NAMES.get(usize::from(vector)) {
        None | Some(&"") => format!("exception {vector}").into(),
        Some(name) => (*name).into(),
    }
}

fn firmware(message: u64) -> Cow<'static, str> {
    const KEY: u64 = guest_message::TYPE_KEY_REQ as u64;
    const REPORT: u64 = guest_message::TYPE_REPORT_REQ as u64;
    match message {
        KEY => "firmware: derived key".into(),
        REPORT => "firmware: report".into(),
        _ => format!("firmware: message type {message}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        assert_eq!(exit(0x78), "HLT");
        assert_eq!(exit(0x10), "write of CR0");
        assert_eq!(exit(0x5D), "#VC");
        assert_eq!(exit(0x400), "nested page fault");
        assert_eq!(exit(0x777), "exit 0x777");
        assert_eq!(port(0x03F8_0010), "OUT 0x3f8");
        assert_eq!(port(0x0CFC_0045), "INS 0xcfc");
        assert_eq!(msr(0x1B, 0), "RDMSR 0x1b");
        assert_eq!(request(0x8000_0010), "page state change");
        assert_eq!(request(0x7B), "GHCB: port I/O");
        assert_eq!(request(0x1_0000_0000_0004), "MSR: CPUID");
        assert_eq!(
            request(0x0010_0000_0123_4014),
            "MSR: page state change, private"
        );
        assert_eq!(request(0x0000_0002_0000_0016), "MSR: run VMPL");
        assert_eq!(call(1), "PVALIDATE");
        assert_eq!(call(1 << 32), "ATTEST_SERVICES");
        assert_eq!(call(9 << 32 | 4), "protocol 9 call 4");
        assert_eq!(page_state(5, 0x20_0000), "validates 2M");
        assert_eq!(exception(14), "#PF");
        assert_eq!(exception(9), "exception 9");
        assert_eq!(exception(900), "exception 900");
    }
}
