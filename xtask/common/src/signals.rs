// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and its kin: noted when they arrive, acted upon by whatever is being waited for, so
//! that processes are ended, files removed and the terminal put back. A second one ends the tool
//! at once; even then QEMU goes with it.

use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Interrupted;

static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the signals that ask to stop are noted.
pub fn install() -> Result<()> {
    let received = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds `again` false and sets it, the second one ends.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&again))?;
        signal_hook::flag::register(signal, Arc::clone(&again))?;
        signal_hook::flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
    }
    let _ = RECEIVED.set(received);
    Ok(())
}

/// Fails if a signal asked to stop.
pub fn check() -> Result<(), Interrupted> {
    let received = RECEIVED
        .get()
        .map_or(0, |signal| signal.load(Ordering::Relaxed));
    match i32::try_from(received) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted(signal)),
    }
}

/// Waits for a child, and ends it when the tool has to stop.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    wait_meanwhile(child, || {})
}

/// The same, with something to do meanwhile, again and again.
pub fn wait_meanwhile(child: &mut Child, mut meanwhile: impl FnMut()) -> Result<ExitStatus> {
    loop {
        meanwhile();
        if let Some(status) = child.try_wait()? {
            check()?;
            return Ok(status);
        }
        if let Err(interrupted) = check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
