// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: lines to a 16550 UART of the host's. The host reads them, so nothing that it must not know is logged.
//!
//! A byte is a request to the host, which is slow: a release image is quiet, and no call logs unless something
//! is wrong.
#![forbid(unsafe_code)]

use crate::cpu::Lock;
use crate::fatal;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// I/O port of the UART; 0 for none.
static PORT: AtomicU16 = AtomicU16::new(0);
/// Keeps lines in one piece.
static LINE: Lock<()> = Lock::new(());

/// Registers of a 16550, from its first port.
mod register {
    pub(super) const DATA: u16 = 0;
    pub(super) const INTERRUPTS: u16 = 1;
    pub(super) const FIFO: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const LINE_STATUS: u16 = 5;
}
/// The last register is this much behind the first port.
pub(crate) const LAST_REGISTER: u16 = 7;
/// Line status: the transmitter takes a byte.
const READY: u8 = 1 << 5;
/// How often to look whether it does. A host that says no for longer loses bytes.
const PATIENCE: usize = 64;
/// How long to wait for another CPU's line. It may be that of a CPU that ended in the middle of it.
const LINE_PATIENCE: usize = 1 << 20;

struct Logger;

/// Starts the log at the UART at `port`, for messages of at least the severity `level` (0 none, 1 error, ... 5 trace).
/// No log where there are no such ports; then `start::layout` ends the machine.
pub(crate) fn start(port: u16, level: u8) {
    let port = port.checked_add(LAST_REGISTER).map_or(0, |_| port);
    let filter = match level {
        _ if port == 0 => LevelFilter::Off,
        0 => LevelFilter::Off,
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if let (Some(host), true) = (fatal::host(), filter != LevelFilter::Off) {
        // No interrupts, 8 bits, no parity, FIFO on. The speed is what it is.
        host.port_write(port + register::INTERRUPTS, 0);
        host.port_write(port + register::LINE_CONTROL, 3);
        host.port_write(port + register::FIFO, 1);
    }
    PORT.store(port, Ordering::Relaxed);
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(filter);
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let line = (0..LINE_PATIENCE).find_map(|_| LINE.try_lock());
        let _ = writeln!(Uart, "svsm {level}: {}\r", record.args());
        drop(line);
    }

    fn flush(&self) {}
}

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let port = PORT.load(Ordering::Relaxed);
        let host = fatal::host().ok_or(fmt::Error)?;
        for byte in text.bytes() {
            let status = port + register::LINE_STATUS;
            let _ = (0..PATIENCE).find(|_| host.port_read(status) & READY != 0);
            host.port_write(port + register::DATA, byte);
        }
        Ok(())
    }
}
