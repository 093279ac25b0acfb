// SPDX-License-Identifier: MIT OR Apache-2.0
//! Turns the emulator's trace buffer into a file that the Perfetto UI (ui.perfetto.dev) opens.
//!
//! Each vCPU becomes a process with one track for the vCPU itself (idle, flushes), one for each VMPL
//! that ran there (guest, exits, what was done about them) and one for SVSM calls; what happened is
//! named from the numbers. A counter shows how much memory is validated.
//!
//! The buffer is what a machine left behind that may have crashed, so nothing in it is believed.
#![forbid(unsafe_code)]

mod names;
mod perfetto;
mod protobuf;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use emulator_defs::trace::{AREAS_OFFSET, Header, Kind, MAGIC, Record, page_op};
use zerocopy::{FromBytes, IntoBytes};

use perfetto::{Track, Writer};

/// What a conversion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Records that are in the file.
    pub(crate) records: u64,
    /// Records for which the buffer had no room.
    pub(crate) lost: u64,
}

/// Converts the trace buffer in the file `buffer` into the new file `to`.
///
/// # Errors
/// `buffer` is no trace buffer (the machine ended before its emulator set it up), or reading or
/// writing fails.
pub(crate) fn convert(buffer: &Path, to: &Path) -> Result<Summary> {
    let open = || format!("the trace buffer {}", buffer.display());
    let mut from = File::open(buffer).with_context(open)?;
    let file = File::create(to).with_context(|| format!("the trace {}", to.display()))?;
    let mut output = BufWriter::new(file);
    let summary = convert_stream(&mut from, &mut output).with_context(open)?;
    output.flush().context("writing the trace")?;
    Ok(summary)
}

fn convert_stream(from: &mut (impl Read + Seek), to: &mut impl Write) -> Result<Summary> {
    let length = from.seek(SeekFrom::End(0))?;
    from.rewind()?;
    let mut header = Header::read_from_bytes(&[0; size_of::<Header>()])
        .map_err(|_| anyhow::anyhow!("no header"))?;
    from.read_exact(header.as_mut_bytes())
        .context("no header")?;
    ensure!(header.magic == MAGIC, "the emulator did not set it up");
    ensure!(
        header.tsc_hz != 0,
        "the time-stamp counter has no frequency"
    );
    let clock = Clock {
        hz: header.tsc_hz,
        start: header.tsc_start,
    };
    let mut writer = Writer::new(to)?;
    let mut summary = Summary {
        records: 0,
        lost: 0,
    };
    let mut validated = Vec::new();
    let vcpus = header.written.len().min(header.vcpus as usize);
    for vcpu in 0..vcpus {
        let start = AREAS_OFFSET as u64 + vcpu as u64 * u64::from(header.area_size);
        let room = u64::from(header.area_size).min(length.saturating_sub(start));
        let records = header.written[vcpu].min(room / size_of::<Record>() as u64);
        summary.records += records;
        summary.lost = summary.lost.saturating_add(header.lost[vcpu]);
        from.seek(SeekFrom::Start(start))?;
        let mut area = vec![0; records as usize * size_of::<Record>()];
        from.read_exact(&mut area).context("it is cut short")?;
        let records: Vec<Record> = area
            .chunks_exact(size_of::<Record>())
            .filter_map(|bytes| Record::read_from_bytes(bytes).ok())
            .collect();
        write_vcpu(&mut writer, vcpu as u64, records, clock, &mut validated)?;
    }
    write_validated(&mut writer, validated)?;
    Ok(summary)
}

/// Time-stamp counter to nanoseconds since the start of the run.
#[derive(Debug, Clone, Copy)]
struct Clock {
    hz: u64,
    start: u64,
}

impl Clock {
    fn nanoseconds(self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.start));
        u64::try_from(ticks * 1_000_000_000 / u128::from(self.hz)).unwrap_or(u64::MAX)
    }
}

/// Slices that are open on one track, outermost first: when each ends.
type Open = Vec<u64>;

fn write_vcpu(
    writer: &mut Writer<impl Write>,
    vcpu: u64,
    mut records: Vec<Record>,
    clock: Clock,
    validated: &mut Vec<(u64, i64)>,
) -> Result<()> {
    // Outer slices come first. They are recorded last, when they end.
    records.reverse();
    records.sort_by_key(|record| (record.tsc, Reverse(record.duration)));
    let vmpls: BTreeSet<u8> = records.iter().map(|record| record.vmpl).collect();
    writer.vcpu(vcpu, &vmpls)?;
    let mut open = vec![Open::new(); Track::COUNT];
    for record in &records {
        let track = track(record);
        let time = clock.nanoseconds(record.tsc);
        let end = clock.nanoseconds(record.tsc.saturating_add(u64::from(record.duration)));
        let open = &mut open[track.index()];
        close(writer, vcpu, track, open, time)?;
        let name = names::of(record);
        let details = names::details(record);
        if record.duration == 0 {
            writer.instant(vcpu, track, time, &name, &details)?;
        } else {
            // A slice can't end after the one that it is in.
            let end = open.last().map_or(end, |outer| end.min(*outer));
            writer.begin(vcpu, track, time, &name, &details)?;
            open.push(end);
        }
        if let Some(bytes) = validation(record) {
            validated.push((time, bytes));
        }
    }
    for track in Track::all() {
        close(writer, vcpu, track, &mut open[track.index()], u64::MAX)?;
    }
    Ok(())
}

/// Ends the slices of a track that end by `time`.
fn close(
    writer: &mut Writer<impl Write>,
    vcpu: u64,
    track: Track,
    open: &mut Open,
    time: u64,
) -> Result<()> {
    while let Some(end) = open.pop_if(|end| *end <= time) {
        writer.end(vcpu, track, end)?;
    }
    Ok(())
}

/// Where a record is shown.
fn track(record: &Record) -> Track {
    match names::kind(record.kind) {
        Some(Kind::Idle | Kind::Flush | Kind::Hostile) => Track::Vcpu,
        Some(Kind::SvsmCall) => Track::Calls,
        _ => Track::Vmpl(record.vmpl),
    }
}

/// By how many bytes a record changes the amount of validated memory.
fn validation(record: &Record) -> Option<i64> {
    let bytes = i64::try_from(record.b).ok()?;
    match (names::kind(record.kind)?, record.small) {
        (Kind::PageState, page_op::VALIDATE) => Some(bytes),
        (Kind::PageState, page_op::RESCIND) => Some(-bytes),
        _ => None,
    }
}

fn write_validated(writer: &mut Writer<impl Write>, mut changes: Vec<(u64, i64)>) -> Result<()> {
    changes.sort_by_key(|(time, _)| *time);
    let mut total = 0_i64;
    for (time, change) in changes {
        total = total.saturating_add(change);
        writer.counter(time, total)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
