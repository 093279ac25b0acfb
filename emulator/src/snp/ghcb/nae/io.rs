// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events for ports and memory-mapped I/O.

use super::super::request::{Field, MAX_SCRATCH, Request};
use super::{HostServices, INVALID_INPUT, Outcome, Served};

/// SW_EXITINFO1 of a port access, as EXITINFO1 of the intercept (APM vol. 2, 15.10.2).
#[derive(Clone, Copy)]
struct Port {
    port: u16,
    input: bool,
    string: bool,
    size: u8,
}

impl Port {
    fn parse(info: u64) -> Option<Self> {
        let size = match (info >> 4) & 7 {
            1 => 1,
            2 => 2,
            4 => 4,
            _ => return None,
        };
        Some(Self {
            port: (info >> 16) as u16,
            input: info & 1 != 0,
            string: info & (1 << 2) != 0,
            size,
        })
    }
}

pub(super) fn port<S: HostServices>(request: &mut Request, services: &mut S) -> Served {
    let port = Port::parse(request.info1()).ok_or(INVALID_INPUT)?;
    if port.string {
        return string(request, port, services);
    }
    if port.input {
        let value = services.port_in(port.port, port.size);
        // IN leaves the upper bytes of EAX alone, except that a 32-bit one clears RAX's upper half.
        let merged = if port.size == 4 {
            value.into()
        } else {
            let mask = (1 << (8 * u32::from(port.size))) - 1;
            (request.get(Field::RAX).unwrap_or(0) & !mask) | (u64::from(value) & mask)
        };
        request.set(Field::RAX, merged);
    } else {
        let value = request.need(Field::RAX)? as u32;
        services.port_out(port.port, port.size, truncate(value, port.size));
    }
    Ok(Outcome::Resume)
}

/// INS and OUTS: SW_EXITINFO2 units in the scratch area.
fn string<S: HostServices>(request: &Request, port: Port, services: &mut S) -> Served {
    let size = usize::from(port.size);
    let length = request
        .info2()
        .checked_mul(size as u64)
        .filter(|length| *length <= MAX_SCRATCH)
        .ok_or(INVALID_INPUT)?;
    let scratch = request.scratch(length, services)?;
    let mut at = scratch;
    while at < scratch + length {
        let mut bytes = [0; 4];
        if port.input {
            bytes = services.port_in(port.port, port.size).to_le_bytes();
            services.write_shared(at, &bytes[..size])?;
        } else {
            services.read_shared(at, &mut bytes[..size])?;
            services.port_out(port.port, port.size, u32::from_le_bytes(bytes));
        }
        at += size as u64;
    }
    Ok(Outcome::Resume)
}

const fn truncate(value: u32, size: u8) -> u32 {
    match size {
        1 => value & 0xFF,
        2 => value & 0xFFFF,
        _ => value,
    }
}

pub(super) fn mmio_read<S: HostServices>(request: &Request, services: &mut S) -> Served {
    let size = mmio_size(request.info2()).ok_or(INVALID_INPUT)?;
    let scratch = request.scratch(size as u64, services)?;
    let mut bytes = [0; 8];
    services
        .mmio_read(request.info1(), &mut bytes[..size])
        .map_err(|_| INVALID_INPUT)?;
    services.write_shared(scratch, &bytes[..size])?;
    Ok(Outcome::Resume)
}

pub(super) fn mmio_write<S: HostServices>(request: &Request, services: &mut S) -> Served {
    let size = mmio_size(request.info2()).ok_or(INVALID_INPUT)?;
    let scratch = request.scratch(size as u64, services)?;
    let mut bytes = [0; 8];
    services.read_shared(scratch, &mut bytes[..size])?;
    services
        .mmio_write(request.info1(), &bytes[..size])
        .map_err(|_| INVALID_INPUT)?;
    Ok(Outcome::Resume)
}

/// The widths that an instruction has.
fn mmio_size(length: u64) -> Option<usize> {
    matches!(length, 1 | 2 | 4 | 8).then_some(length as usize)
}
