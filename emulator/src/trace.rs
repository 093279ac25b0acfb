// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes [`Record`]s into the trace buffer (layout: [`emulator_defs::trace`]).
//!
//! Each vCPU has an area of its own and is the only one that writes there, so there is no lock and
//! no waiting. The buffer is a slice of atomics: whoever maps the device makes the slice, once, and
//! everything from there on is safe code. A record's number is published after the record, so a
//! reader that stops at [`Header::written`] sees whole records only.
#![forbid(unsafe_code)]

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use emulator_defs::trace::{AREAS_OFFSET, Header, MAGIC, Record};
use zerocopy::IntoBytes;

/// Number of 64-bit words in a record.
const RECORD_WORDS: usize = size_of::<Record>() / 8;
/// Number of 64-bit words before the first area.
const AREAS_WORD: usize = AREAS_OFFSET / 8;
/// The most vCPUs that the header has counters for.
const MAX_VCPUS: usize = 64;

/// The trace of one run.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    buffer: &'a [AtomicU64],
    vcpus: usize,
    area_words: usize,
}

/// The buffer can't hold a trace of so many vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSmall;

impl<'a> Trace<'a> {
    /// Sets up `buffer`, the device's memory in 64-bit words, for `vcpus` vCPUs. `tsc_hz` is the
    /// frequency of the time-stamp counter in Hz, `tsc_start` what it says now.
    ///
    /// # Errors
    /// [`TooSmall`] without room for at least one record for each vCPU, or with more vCPUs than the
    /// layout has room for.
    pub fn new(
        buffer: &'a [AtomicU64],
        vcpus: usize,
        tsc_hz: u64,
        tsc_start: u64,
    ) -> Result<Self, TooSmall> {
        let words = buffer.len().saturating_sub(AREAS_WORD);
        let area_words = words
            .checked_div(vcpus)
            .map_or(0, |each| each - each % RECORD_WORDS)
            // The header has a 32-bit field for the size of an area, in bytes.
            .min((u32::MAX as usize / 8) & !(RECORD_WORDS - 1));
        if area_words == 0 || vcpus > MAX_VCPUS {
            return Err(TooSmall);
        }
        let header = Header {
            magic: MAGIC,
            tsc_hz,
            tsc_start,
            vcpus: vcpus as u32,
            area_size: (area_words * 8) as u32,
            written: [0; 64],
            lost: [0; 64],
        };
        for (word, bytes) in buffer.iter().zip(header.as_bytes().chunks_exact(8)) {
            // A chunk of eight has eight bytes.
            let value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            word.store(value, Ordering::Relaxed);
        }
        Ok(Self {
            buffer,
            vcpus,
            area_words,
        })
    }

    /// Adds `record` to the area of `vcpu`, or counts it as lost when the area is full.
    ///
    /// Only that vCPU may call this for itself. Were two to do so, records would be lost or mixed
    /// up in the trace, and nothing else would go wrong. An unknown vCPU is ignored.
    pub fn emit(&self, vcpu: usize, record: &Record) {
        if vcpu >= self.vcpus {
            return;
        }
        let written = &self.buffer[offset_of!(Header, written) / 8 + vcpu];
        let number = written.load(Ordering::Relaxed);
        let slot = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(RECORD_WORDS))
            .filter(|start| *start < self.area_words)
            .map(|start| AREAS_WORD + vcpu * self.area_words + start)
            .and_then(|start| self.buffer.get(start..start + RECORD_WORDS));
        let Some(slot) = slot else {
            let lost = &self.buffer[offset_of!(Header, lost) / 8 + vcpu];
            lost.store(lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        };
        let words: [u64; RECORD_WORDS] = zerocopy::transmute!(*record);
        for (to, from) in slot.iter().zip(words) {
            to.store(from, Ordering::Relaxed);
        }
        written.store(number + 1, Ordering::Release);
    }
}

const _: () = {
    assert!(size_of::<Header>().is_multiple_of(8));
    assert!(offset_of!(Header, written).is_multiple_of(8));
    assert!(offset_of!(Header, lost).is_multiple_of(8));
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use emulator_defs::trace::Kind;
    use std::vec::Vec;
    use zerocopy::FromBytes;

    fn buffer(records: usize) -> Vec<AtomicU64> {
        (0..AREAS_WORD + records * RECORD_WORDS)
            .map(|_| AtomicU64::new(u64::MAX))
            .collect()
    }

    fn bytes(buffer: &[AtomicU64]) -> Vec<u8> {
        buffer
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }

    fn record(tsc: u64) -> Record {
        Record {
            tsc,
            duration: 7,
            kind: Kind::Exit as u8,
            vmpl: 2,
            small: 0x1234,
            a: 0x7B,
            b: !tsc,
        }
    }

    #[test]
    fn records_land_in_the_area_of_their_vcpu_in_order() {
        let buffer = buffer(6);
        let trace = Trace::new(&buffer, 2, 1_000_000_000, 5).unwrap();
        for tsc in 0..3 {
            trace.emit(1, &record(tsc));
        }
        trace.emit(0, &record(9));
        let bytes = bytes(&buffer);
        let (header, _) = Header::read_from_prefix(&bytes).unwrap();
        assert_eq!(header.magic, MAGIC);
        assert_eq!((header.tsc_hz, header.tsc_start), (1_000_000_000, 5));
        assert_eq!(header.vcpus, 2);
        assert_eq!(header.area_size as usize, 3 * size_of::<Record>());
        assert_eq!(header.written[..3], [1, 3, 0]);
        assert_eq!(header.lost, [0; 64]);
        let at = |vcpu: usize, number: usize| {
            let start = AREAS_OFFSET + vcpu * 96 + number * 32;
            Record::read_from_bytes(&bytes[start..start + 32]).unwrap()
        };
        assert_eq!(at(0, 0), record(9));
        assert_eq!(
            [at(1, 0), at(1, 1), at(1, 2)],
            [record(0), record(1), record(2)]
        );
    }

    #[test]
    fn what_does_not_fit_is_counted_and_hurts_no_neighbour() {
        let buffer = buffer(5);
        let trace = Trace::new(&buffer, 2, 1, 0).unwrap();
        trace.emit(1, &record(77));
        for tsc in 0..10 {
            trace.emit(0, &record(tsc));
        }
        trace.emit(2, &record(0));
        let bytes = bytes(&buffer);
        let (header, _) = Header::read_from_prefix(&bytes).unwrap();
        assert_eq!(header.written[..3], [2, 1, 0]);
        assert_eq!(header.lost[..3], [8, 0, 0]);
        let neighbour = Record::read_from_bytes(&bytes[AREAS_OFFSET + 64..][..32]).unwrap();
        assert_eq!(neighbour, record(77));
    }

    #[test]
    fn a_buffer_without_room_is_refused() {
        assert_eq!(Trace::new(&buffer(1), 2, 1, 0).unwrap_err(), TooSmall);
        assert_eq!(Trace::new(&buffer(1), 0, 1, 0).unwrap_err(), TooSmall);
        assert_eq!(Trace::new(&buffer(65), 65, 1, 0).unwrap_err(), TooSmall);
        assert_eq!(Trace::new(&[], 1, 1, 0).unwrap_err(), TooSmall);
        assert!(Trace::new(&buffer(64), 64, 1, 0).is_ok());
    }
}
