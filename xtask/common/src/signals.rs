// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and its kin: noted when they arrive, acted upon by whatever is being waited for, so
//! that processes are ended, files removed and the terminal put back. A second one ends the tool
//! at once; even then QEMU goes with it.

use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Interrupted;

/// How long a child may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

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
            end(child);
            return Err(interrupted.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks a child to end, so that it ends what it has started and leaves no lock behind; then makes
/// it.
fn end(child: &mut Child) {
    if let Some(process) = process(child.id()) {
        let _ = kill_process(process, Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// From now on the first signal is passed on to every child, for a tool that waits for its
/// children without [`wait`]. A signal of the terminal's reaches them anyway, one of another
/// process's does not.
///
/// # Errors
/// The signals can't be had.
pub fn pass_on() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            for child in children() {
                let _ = kill_process(child, Signal::TERM);
            }
        }
    });
    Ok(())
}

/// The processes that this one has started (proc(5), `/proc/PID/stat`: the fourth field, the
/// second one being a name in parentheses that may have any in it).
fn children() -> Vec<Pid> {
    let parent = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
            fields.and_then(|fields| fields.split_whitespace().nth(1)) == Some(&parent)
        })
        .filter_map(process)
        .collect()
}

fn process(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn children_are_found_and_asked_to_end() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        assert!(children().contains(&process(child.id()).unwrap()));
        let started = Instant::now();
        end(&mut child);
        assert!(started.elapsed() < GRACE);
        assert!(!children().contains(&process(child.id()).unwrap()));
    }
}
