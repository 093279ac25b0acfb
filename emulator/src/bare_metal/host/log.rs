// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator's log, a line at a time, on QEMU's debugcon device.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use emulator_defs::config;
use emulator_defs::exit::LOG_PORT;
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;

use super::instructions::{out8, rdtsc};

struct Debugcon;

static PORT: Mutex<Debugcon> = Mutex::new(Debugcon);
static LOGGER: Logger = Logger;
/// Set once the run is ending: a processor that died with the lock must not keep the report back.
static IMPATIENT: AtomicBool = AtomicBool::new(false);

impl Write for Debugcon {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            out8(LOG_PORT, byte);
        }
        Ok(())
    }
}

/// Puts the kind of the line before each line of the text.
struct Lines<'a> {
    port: &'a mut Debugcon,
    kind: char,
    at_start: bool,
}

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.at_start {
                self.port.write_char(self.kind)?;
                self.port.write_char(' ')?;
                self.at_start = false;
            }
            self.port.write_char(character)?;
            self.at_start = character == '\n';
        }
        Ok(())
    }
}

/// Writes one entry; each of its lines starts with `kind` and a space.
pub(crate) fn line(kind: char, text: fmt::Arguments<'_>) {
    let mut guard = None;
    let mut spare = Debugcon;
    let started = rdtsc();
    while guard.is_none() {
        guard = PORT.try_lock();
        if IMPATIENT.load(Ordering::Relaxed) && rdtsc() - started > 1 << 31 {
            break;
        }
        core::hint::spin_loop();
    }
    let port = guard.as_deref_mut().unwrap_or(&mut spare);
    let mut lines = Lines {
        port,
        kind,
        at_start: true,
    };
    // The device takes everything: there is no error to report.
    let _ = lines.write_fmt(text);
    let _ = lines.port.write_char('\n');
}

/// From now on a lock that is held for too long is ignored.
pub(crate) fn run_is_ending() {
    IMPATIENT.store(true, Ordering::Relaxed);
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = match record.level() {
            Level::Error => config::LINE_ERROR,
            Level::Warn => config::LINE_WARN,
            Level::Info => config::LINE_INFO,
            Level::Debug | Level::Trace => config::LINE_DEBUG,
        };
        line(kind, *record.args());
    }

    fn flush(&self) {}
}

/// Makes the macros of the `log` crate work.
pub(crate) fn initialize() {
    // Fails only when called twice, and then the logger is the same.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Info);
}
