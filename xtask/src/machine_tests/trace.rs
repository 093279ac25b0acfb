// SPDX-License-Identifier: MIT OR Apache-2.0
//! A trace of a whole boot: the file is taken apart again, and held against the statistics that the
//! emulator counts on its own.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::runner::Extras;

pub(super) const TESTS: &[MachineTest] = &[MachineTest {
    name: "trace::a_boot_opens_in_perfetto",
    limit: seconds(180),
    run: boot,
}];

/// Beginnings of the names of what every boot under the SVSM has.
const EXPECTED: [&str; 10] = [
    "runs",
    "VMGEXIT",
    "nested page fault",
    "GHCB: ",
    "MSR: run VMPL",
    "switch to VMPL0",
    "switch to VMPL2",
    "PVALIDATE",
    "validates ",
    "interrupt ",
];

fn boot(context: &mut Context) -> Result<Outcome> {
    let file = context.folder().join("boot.pftrace");
    let guest = Guest {
        extras: Extras {
            trace: Some(file.clone()),
            ..Extras::default()
        },
        ..Guest::default()
    };
    let finished = context.run(&guest, &["true"])?;
    ensure!(finished.status() == Some(0), "`true` failed in the guest");
    let trace = Trace::read(&std::fs::read(&file)?)?;
    for name in EXPECTED {
        ensure!(
            trace.names.values().any(|known| known.starts_with(name)),
            "the trace has no `{name}`"
        );
    }
    for vcpu in 0..guest.cpus {
        let name = format!("vCPU {vcpu}");
        ensure!(
            trace.tracks.values().any(|known| *known == name),
            "{name} has no track"
        );
    }
    // What was lost would be missing here: each time in a guest ends with one exit. The last of a
    // vCPU may be the end of the run, which is served no more.
    let statistics = finished.statistics().context("the run has no statistics")?;
    for vmpl in &statistics.vmpls {
        let track = format!("VMPL{}", vmpl.vmpl);
        let (count, time) = trace.runs(&track);
        let exits: u64 = vmpl.exits.iter().map(|(_, count)| count).sum();
        ensure!(
            (exits..=exits + u64::from(guest.cpus)).contains(&count),
            "{track} ran {count} times, and exited {exits} times"
        );
        let counted = vmpl.guest_ticks as f64 / statistics.tsc_hz as f64;
        let traced = time as f64 / 1e9;
        ensure!(
            (traced - counted).abs() < counted * 0.02 + 0.01,
            "{track} ran {traced:.3} s by the trace, {counted:.3} s by the statistics"
        );
    }
    Ok(Outcome::Passed)
}

/// A slice that ended.
struct Slice {
    track: u64,
    name: u64,
    /// In nanoseconds, as its duration.
    start: u64,
    duration: u64,
}

/// What the file says, by the field numbers of Perfetto's `perfetto_trace.proto`.
#[derive(Default)]
pub(super) struct Trace {
    /// Interned names of events.
    names: HashMap<u64, String>,
    /// Names of tracks and processes.
    tracks: HashMap<u64, String>,
    slices: Vec<Slice>,
    /// Names of events without a duration.
    instants: Vec<u64>,
}

/// What is open on a track: when it was last heard of, and its slices with name and start.
type Open = (u64, Vec<(u64, u64)>);

impl Trace {
    /// Takes a file apart; fails where it is malformed, or where time goes back on a track.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut trace = Self::default();
        let mut open: HashMap<u64, Open> = HashMap::new();
        for packet in messages(&fields(bytes)?, 1) {
            let packet = fields(packet)?;
            for descriptor in messages(&packet, 60) {
                let descriptor = fields(descriptor)?;
                let mut name = messages(&descriptor, 2).next();
                if let Some(process) = messages(&descriptor, 3).next() {
                    name = messages(&fields(process)?, 6).next();
                }
                let uuid = number(&descriptor, 1).context("a track without a number")?;
                trace.tracks.insert(uuid, text(name)?);
            }
            for interned in messages(&packet, 12) {
                for entry in messages(&fields(interned)?, 2) {
                    let entry = fields(entry)?;
                    let id = number(&entry, 1).context("a name without a number")?;
                    trace.names.insert(id, text(messages(&entry, 2).next())?);
                }
            }
            for event in messages(&packet, 11) {
                let time = number(&packet, 8).context("an event without a time")?;
                trace.event(&fields(event)?, time, &mut open)?;
            }
        }
        ensure!(
            open.values().all(|(_, slices)| slices.is_empty()),
            "a slice does not end"
        );
        Ok(trace)
    }

    fn event(
        &mut self,
        event: &[Field<'_>],
        time: u64,
        open: &mut HashMap<u64, Open>,
    ) -> Result<()> {
        let track = number(event, 11).context("an event without a track")?;
        ensure!(self.tracks.contains_key(&track), "track {track} is unknown");
        let (last, slices) = open.entry(track).or_default();
        ensure!(time >= *last, "time goes back on track {track}");
        *last = time;
        let name = number(event, 10);
        let known = name.is_some_and(|name| self.names.contains_key(&name));
        match number(event, 9) {
            Some(1) => {
                ensure!(known, "a slice without a name");
                slices.push((name.unwrap_or_default(), time));
            }
            Some(2) => {
                let (name, start) = slices.pop().context("a slice ends that did not begin")?;
                self.slices.push(Slice {
                    track,
                    name,
                    start,
                    duration: time - start,
                });
            }
            Some(3) => {
                ensure!(known, "an event without a name");
                self.instants.push(name.unwrap_or_default());
            }
            Some(4) => {}
            other => bail!("an event of type {other:?}"),
        }
        Ok(())
    }

    /// How many events are called `name`, those that last and those that do not.
    pub(super) fn count(&self, name: &str) -> usize {
        let slices = self.slices.iter().map(|slice| &slice.name);
        slices
            .chain(&self.instants)
            .filter(|id| self.names[id] == name)
            .count()
    }

    /// When each slice called `name` began and ended, in order.
    pub(super) fn spans(&self, name: &str) -> Vec<(u64, u64)> {
        let named = |slice: &&Slice| self.names[&slice.name] == name;
        let mut spans: Vec<_> = self
            .slices
            .iter()
            .filter(named)
            .map(|slice| (slice.start, slice.start + slice.duration))
            .collect();
        spans.sort_unstable();
        spans
    }

    /// How often tracks of this name ran, and for how many nanoseconds.
    fn runs(&self, track: &str) -> (u64, u64) {
        self.slices
            .iter()
            .filter(|slice| self.tracks[&slice.track] == track && self.names[&slice.name] == "runs")
            .fold((0, 0), |(count, sum), slice| {
                (count + 1, sum + slice.duration)
            })
    }
}

/// A field of a message: its number, and its value or its bytes.
type Field<'a> = (u64, Result<u64, &'a [u8]>);

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().context("a number is cut short")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number has no end")
}

fn fields(mut bytes: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Ok(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?)?;
                let (value, rest) = bytes
                    .split_at_checked(length)
                    .context("a field is cut short")?;
                bytes = rest;
                Err(value)
            }
            other => bail!("a field has wire type {other}"),
        };
        found.push((tag >> 3, value));
    }
    Ok(found)
}

fn number(fields: &[Field<'_>], wanted: u64) -> Option<u64> {
    fields
        .iter()
        .find_map(|&(field, value)| value.ok().filter(|_| field == wanted))
}

fn messages<'a>(fields: &[Field<'a>], wanted: u64) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(field, _)| *field == wanted)
        .filter_map(|&(_, value)| value.err())
}

fn text(bytes: Option<&[u8]>) -> Result<String> {
    Ok(String::from_utf8(bytes.unwrap_or_default().to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_files_are_refused() {
        assert!(Trace::read(&[]).is_ok());
        assert!(Trace::read(&[0x0A, 0x05, 0]).is_err());
        assert!(Trace::read(&[0x80]).is_err());
        // An event without a track.
        assert!(Trace::read(&[0x0A, 6, 0x40, 1, 0x5A, 2, 0x48, 1]).is_err());
    }
}
