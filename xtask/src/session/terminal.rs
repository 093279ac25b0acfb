// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user's terminal while a guest's shell has it: every key goes to the guest, and however the
//! run ends, the terminal is as it was.
#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Stdin, stdin};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

static RAW: AtomicBool = AtomicBool::new(false);

/// The terminal passes every key on until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    terminal: Stdin,
    before: Termios,
}

impl Raw {
    /// Takes the terminal, if standard input is one.
    pub(crate) fn take() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let terminal = stdin();
        let before = tcgetattr(&terminal).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).ok()?;
        RAW.store(true, Ordering::Relaxed);
        Some(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        RAW.store(false, Ordering::Relaxed);
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Prints a line on standard error, in the middle of a guest's output or not.
pub(crate) fn say(text: &str) {
    if RAW.load(Ordering::Relaxed) {
        eprint!("\r\x1b[K{text}\r\n");
    } else {
        eprintln!("{text}");
    }
}
