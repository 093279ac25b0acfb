// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stale translations (24593, 15.36.2 and volume 3, INVLPGB and TLBSYNC): a vCPU that has a page in its TLB may go on
//! reading it after another one took it away, until that one has flushed and synchronised, and not a moment longer.

use core::sync::atomic::{AtomicU64, Ordering};

use snp_defs::exit;
use snp_defs::rmp::RmpSize;

use crate::machine::{entry, instructions};
use crate::report::Report;
use crate::scratch;
use crate::vcpu;

/// Pages that are taken away, one after the other.
const PAGES: usize = 32;
/// Reads of the second vCPU that the first one gives it between taking a page away and flushing.
const GRACE: u64 = 64;
/// How long the first one waits for them: the second one may have to give its TLB up at any time.
const PATIENCE: u32 = 1 << 16;

/// What the first vCPU is at with the page: it can be read, it was taken away, it was flushed.
const THERE: u64 = 0;
const TAKEN: u64 = 1;
const FLUSHED: u64 = 2;

static PAGE: AtomicU64 = AtomicU64::new(0);
static STAGE: AtomicU64 = AtomicU64::new(THERE);
/// Reads that went well, by the stage in which they began.
static READS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// The exception that ended the reads, vector and code in one; 0 while they go on.
static FAULT: AtomicU64 = AtomicU64::new(0);

fn fault_of(vector: u64, code: u64) -> u64 {
    vector << 32 | code
}

/// The second vCPU: reads the page until it can't, then waits for the next one.
fn reader(_: usize) -> ! {
    loop {
        let page = PAGE.swap(0, Ordering::AcqRel);
        if page == 0 {
            core::hint::spin_loop();
            continue;
        }
        let trap = loop {
            // Before the read: what begins after the flush is late.
            let stage = STAGE.load(Ordering::SeqCst);
            match instructions::load(page) {
                Ok(_) => READS[stage as usize].fetch_add(1, Ordering::Release),
                Err(trap) => break trap,
            };
        };
        FAULT.store(fault_of(trap.vector, trap.code), Ordering::Release);
    }
}

/// Runs the checks, at VMPL0, with a second vCPU.
pub(super) fn check(report: &mut Report) {
    entry::set_work(reader);
    let started = vcpu::make(1).map(vcpu::start);
    report.equal("a second vCPU starts", started, Ok(Ok(())));
    if started != Ok(Ok(())) {
        return;
    }
    let mut faults = 0;
    for _ in 0..PAGES {
        let page = scratch::page();
        STAGE.store(THERE, Ordering::SeqCst);
        FAULT.store(0, Ordering::Release);
        let before = READS[THERE as usize].load(Ordering::Acquire);
        PAGE.store(page, Ordering::Release);
        while READS[THERE as usize].load(Ordering::Acquire) < before + GRACE {
            core::hint::spin_loop();
        }
        let taken = instructions::pvalidate(page, RmpSize::Size4K, false);
        STAGE.store(TAKEN, Ordering::SeqCst);
        let stale = READS[TAKEN as usize].load(Ordering::Acquire);
        for _ in 0..PATIENCE {
            let seen = READS[TAKEN as usize].load(Ordering::Acquire);
            if seen >= stale + GRACE || FAULT.load(Ordering::Acquire) != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        // The page, of all address spaces.
        let flushed = instructions::invlpgb(page | 1, 0, 0).and_then(|()| instructions::tlbsync());
        STAGE.store(FLUSHED, Ordering::SeqCst);
        // It can't be read any more, so this comes.
        while FAULT.load(Ordering::Acquire) == 0 {
            core::hint::spin_loop();
        }
        let expected = fault_of(29, exit::PAGE_NOT_VALIDATED);
        let right = FAULT.load(Ordering::Acquire) == expected;
        faults += u64::from(right && taken == Ok((0, false)) && flushed == Ok(()));
    }
    let [_, stale, late] = READS.each_ref().map(|reads| reads.load(Ordering::Acquire));
    report.equal(
        "each page that was taken away raises #VC",
        faults,
        PAGES as u64,
    );
    report.holds("a stale translation is good until the flush", stale > 0);
    report.equal("reads with one after TLBSYNC", late, 0);
    report.note("reads with a stale translation", stale);
}
