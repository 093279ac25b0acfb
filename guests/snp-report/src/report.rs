// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests, and what is printed of their answers.

use crate::linux::{Errno, File};

/// `SNP_GET_DERIVED_KEY`: _IOWR('S', 1, struct snp_guest_request_ioctl).
const GET_DERIVED_KEY: u32 = 0xC020_5301;
/// `SNP_GET_EXT_REPORT`: _IOWR('S', 2, struct snp_guest_request_ioctl).
const GET_EXTENDED_REPORT: u32 = 0xC020_5302;
/// Bytes of room for certificates: what the driver allows at most.
const CERTIFICATES: usize = 0x4000;
/// Where the firmware's status is in its answer (56860, table 25).
const STATUS: core::ops::Range<usize> = 0..4;
/// Where the report starts in the firmware's answer, and its length (56860, table 25).
const REPORT: core::ops::Range<usize> = 32..32 + 1184;
/// Where the key is in the firmware's answer (56860, table 20).
const KEY: core::ops::Range<usize> = 32..64;

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct Request {
    version: u8,
    request: u64,
    response: u64,
    /// Firmware error in bits 31:0, the host's in bits 63:32.
    error: u64,
}

/// `struct snp_ext_report_req`, with `struct snp_report_req` at its start.
#[repr(C)]
struct ReportRequest {
    data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
    certificates: u64,
    certificates_length: u32,
}

/// `struct snp_derived_key_req`.
#[repr(C)]
struct KeyRequest {
    root_key: u32,
    reserved: u32,
    fields: u64,
    vmpl: u32,
    svn: u32,
    tcb: u64,
}

/// Makes the requests, for the guest's own VMPL unless the input names another.
pub(crate) fn run(input: File, output: File) -> Result<(), Errno> {
    let mut data = [0; 64];
    if !step(output, 1, input.read_all(&mut data))? {
        return step(output, 1, Err(Errno(0)));
    }
    let device = step(output, 2, File::open(c"/dev/sev-guest"))?;
    let own = vmpl();
    let mut digit = [0];
    let vmpl = match input.read_all(&mut digit) {
        Ok(true) => u32::from(digit[0].wrapping_sub(b'0')),
        _ => own,
    };

    let mut certificates = [0_u8; CERTIFICATES];
    let mut response = [0_u8; 4000];
    let mut asked = ReportRequest {
        data,
        vmpl,
        reserved: [0; 28],
        certificates: certificates.as_mut_ptr() as u64,
        certificates_length: CERTIFICATES as u32,
    };
    step(
        output,
        3,
        ask(device, GET_EXTENDED_REPORT, &mut asked, &mut response),
    )?;
    hexadecimal(output, b"status ", &response[STATUS])?;
    hexadecimal(output, b"report ", &response[REPORT])?;
    hexadecimal(output, b"certificates ", &certificates)?;

    if vmpl != own {
        return Ok(());
    }
    for _ in 0..2 {
        let mut response = [0_u8; 64];
        let mut asked = KeyRequest {
            root_key: 0,
            reserved: 0,
            fields: 0,
            vmpl,
            svn: 0,
            tcb: 0,
        };
        step(
            output,
            4,
            ask(device, GET_DERIVED_KEY, &mut asked, &mut response),
        )?;
        hexadecimal(output, b"key ", &response[KEY])?;
    }
    Ok(())
}

/// The guest's own VMPL, as sysfs has it.
fn vmpl() -> u32 {
    let mut text = [0];
    let read = File::open_to_read(c"/sys/devices/system/cpu/sev/vmpl")
        .and_then(|file| file.read_all(&mut text));
    match read {
        Ok(true) => u32::from(text[0].wrapping_sub(b'0')),
        _ => 0,
    }
}

fn ask<A, R>(device: File, number: u32, asked: &mut A, response: &mut R) -> Result<(), Errno> {
    let mut request = Request {
        version: 1,
        request: core::ptr::from_mut(asked) as u64,
        response: core::ptr::from_mut(response) as u64,
        error: 0,
    };
    // SAFETY: request, response and certificates are this program's own, as large as the driver's
    // interface says, and live until the call returns.
    unsafe { device.ioctl(number, &mut request) }
}

/// Tells of a step that failed.
fn step<T>(output: File, number: u8, result: Result<T, Errno>) -> Result<T, Errno> {
    if let Err(Errno(error)) = result {
        let digit = |value: u32| b'0' + (value % 10) as u8;
        let line = [
            b's',
            b't',
            b'e',
            b'p',
            b' ',
            b'0' + number,
            b' ',
            digit(error / 100),
            digit(error / 10),
            digit(error),
            b'\n',
        ];
        output.write_all(&line)?;
    }
    result
}

fn hexadecimal(output: File, title: &[u8], bytes: &[u8]) -> Result<(), Errno> {
    output.write_all(title)?;
    for chunk in bytes.chunks(256) {
        let mut text = [0; 512];
        for (byte, digits) in chunk.iter().zip(text.chunks_exact_mut(2)) {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
            digits.copy_from_slice(&[digit(byte >> 4), digit(*byte)]);
        }
        output.write_all(&text[..chunk.len() * 2])?;
    }
    output.write_all(b"\n")
}
