// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restricted injection, the host's half: into a VMPL that runs with it, the host injects #HV and
//! nothing else, and says why in the doorbell page (56421, #HV doorbell page).
//!
//! The page is shared with the guest, which takes events out of it at any moment; so every change is
//! one compare-and-exchange of its first word. What could not be posted stays pending in the host's
//! interrupt controller, and the host tries again at the guest's next exit.

use core::sync::atomic::{AtomicU32, Ordering};

/// Vector of #HV.
pub const HV_VECTOR: u8 = 28;
/// What to write into EVENTINJ to raise #HV: an exception without error code.
pub const HV_EVENT_INJECTION: u64 = HV_VECTOR as u64 | (3 << 8) | (1 << 31);

/// Bits 7:0: the pending vector, 0 for none.
const VECTOR: u32 = 0xFF;
const NMI_PENDING: u32 = 1 << 8;
const MACHINE_CHECK_PENDING: u32 = 1 << 9;
/// The guest has been told and has not yet looked: no further #HV.
const NO_FURTHER_SIGNAL: u32 = 1 << 15;
/// Byte 2: the guest need not write EOI for the pending vector.
const NO_EOI_REQUIRED: u32 = 1 << 16;

/// What the host has for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An interrupt with this vector (31 to 255).
    Interrupt {
        /// The vector.
        vector: u8,
        /// Edge triggered and nothing else pending: the host already ended it.
        no_eoi: bool,
    },
    /// An NMI.
    Nmi,
    /// A machine check.
    MachineCheck,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Posted {
    /// It is in the page. Otherwise an earlier vector still waits there: keep it pending.
    pub accepted: bool,
    /// Inject [`HV_EVENT_INJECTION`] before the guest runs on.
    pub signal: bool,
}

/// Posts `event` in the doorbell page whose first word is `word`.
pub fn post(word: &AtomicU32, event: Event) -> Posted {
    let mut current = word.load(Ordering::Acquire);
    loop {
        let posted = match event {
            // A vector below 31 would be an exception; the host never forges one.
            Event::Interrupt { vector, .. } if current & VECTOR != 0 || vector < 31 => {
                return Posted {
                    accepted: false,
                    signal: false,
                };
            }
            Event::Interrupt { vector, no_eoi } => {
                let eoi = if no_eoi { NO_EOI_REQUIRED } else { 0 };
                (current & !NO_EOI_REQUIRED) | u32::from(vector) | eoi
            }
            Event::Nmi => current | NMI_PENDING,
            Event::MachineCheck => current | MACHINE_CHECK_PENDING,
        };
        let new = posted | NO_FURTHER_SIGNAL;
        match word.compare_exchange_weak(current, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                return Posted {
                    accepted: true,
                    signal: current & NO_FURTHER_SIGNAL == 0,
                };
            }
            Err(seen) => current = seen,
        }
    }
}

/// Whether something waits in the page: a VMPL with a pending event is not idle.
pub fn pending(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & (VECTOR | NMI_PENDING | MACHINE_CHECK_PENDING) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMER: Event = Event::Interrupt {
        vector: 0x40,
        no_eoi: false,
    };

    #[test]
    fn the_first_vector_signals() {
        let word = AtomicU32::new(0);
        assert_eq!(
            post(&word, TIMER),
            Posted {
                accepted: true,
                signal: true
            }
        );
        assert_eq!(word.load(Ordering::Relaxed), 0x40 | NO_FURTHER_SIGNAL);
        assert!(pending(&word));
    }

    #[test]
    fn a_second_vector_waits_until_the_first_is_taken() {
        let word = AtomicU32::new(0);
        let _ = post(&word, TIMER);
        let other = Event::Interrupt {
            vector: 0x50,
            no_eoi: false,
        };
        assert!(!post(&word, other).accepted);
        // The guest: clears NoFurtherSignal, then takes the vector.
        word.fetch_and(!NO_FURTHER_SIGNAL, Ordering::AcqRel);
        word.fetch_and(!VECTOR, Ordering::AcqRel);
        assert!(!pending(&word));
        let posted = post(&word, other);
        assert!(posted.accepted && posted.signal);
    }

    #[test]
    fn no_signal_while_the_guest_has_not_looked() {
        let word = AtomicU32::new(0);
        let _ = post(&word, TIMER);
        let posted = post(&word, Event::Nmi);
        assert!(posted.accepted && !posted.signal);
        assert_eq!(word.load(Ordering::Relaxed) & NMI_PENDING, NMI_PENDING);
    }

    #[test]
    fn exceptions_are_never_posted() {
        let word = AtomicU32::new(0);
        for vector in 0..31 {
            let event = Event::Interrupt {
                vector,
                no_eoi: false,
            };
            assert!(!post(&word, event).accepted);
        }
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_rest_of_the_word_is_the_guests() {
        let word = AtomicU32::new(0x0500_0000);
        let _ = post(&word, Event::MachineCheck);
        assert_eq!(word.load(Ordering::Relaxed) & 0xFF00_0000, 0x0500_0000);
    }

    #[test]
    fn racing_guest_and_host_lose_nothing() {
        extern crate std;
        let word = AtomicU32::new(0);
        let taken = std::thread::scope(|scope| {
            let guest = scope.spawn(|| {
                let mut taken = 0;
                while taken < 1000 {
                    word.fetch_and(!NO_FURTHER_SIGNAL, Ordering::AcqRel);
                    let seen = word.load(Ordering::Acquire);
                    let cleared = seen & !VECTOR;
                    if seen & VECTOR != 0
                        && word
                            .compare_exchange(seen, cleared, Ordering::AcqRel, Ordering::Acquire)
                            .is_ok()
                    {
                        taken += 1;
                    }
                    std::thread::yield_now();
                }
                taken
            });
            let mut sent = 0;
            while sent < 1000 {
                if post(&word, TIMER).accepted {
                    sent += 1;
                }
                std::thread::yield_now();
            }
            guest.join().unwrap()
        });
        assert_eq!(taken, 1000);
        assert_eq!(word.load(Ordering::Relaxed) & VECTOR, 0);
    }
}
