// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a trace in Perfetto's own format: packets of `perfetto.protos.Trace`, of which this file
//! has the field numbers (`protos/perfetto/trace/perfetto_trace.proto` of Perfetto).
//!
//! Names are interned: a packet brings each new name once, and all refer to it by number.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;

use anyhow::Result;

use super::protobuf::Message;

/// `Trace.packet`.
const TRACE_PACKET: u64 = 1;

/// Fields of `TracePacket`.
mod packet {
    pub(super) const TIMESTAMP: u64 = 8;
    pub(super) const SEQUENCE_ID: u64 = 10;
    pub(super) const TRACK_EVENT: u64 = 11;
    pub(super) const INTERNED_DATA: u64 = 12;
    pub(super) const SEQUENCE_FLAGS: u64 = 13;
    pub(super) const TRACK_DESCRIPTOR: u64 = 60;
    /// Flag: forget all names.
    pub(super) const CLEARED: u64 = 1;
    /// Flag: names are needed.
    pub(super) const NEEDS_NAMES: u64 = 2;
}

/// Fields of `TrackDescriptor`, and of what it holds.
mod descriptor {
    pub(super) const UUID: u64 = 1;
    pub(super) const NAME: u64 = 2;
    pub(super) const PROCESS: u64 = 3;
    pub(super) const PARENT: u64 = 5;
    pub(super) const COUNTER: u64 = 8;
    pub(super) const CHILD_ORDER: u64 = 11;
    pub(super) const RANK: u64 = 12;
    /// Value of the child order: by rank.
    pub(super) const BY_RANK: u64 = 3;
    pub(super) const PROCESS_ID: u64 = 1;
    pub(super) const PROCESS_NAME: u64 = 6;
    pub(super) const COUNTER_UNIT: u64 = 3;
    /// Value of the unit: bytes.
    pub(super) const BYTES: u64 = 3;
}

/// Fields of `TrackEvent`, and of what it holds.
mod event {
    pub(super) const ANNOTATION: u64 = 4;
    pub(super) const TYPE: u64 = 9;
    pub(super) const NAME_ID: u64 = 10;
    pub(super) const TRACK: u64 = 11;
    pub(super) const COUNTER_VALUE: u64 = 30;
    pub(super) const BEGIN: u64 = 1;
    pub(super) const END: u64 = 2;
    pub(super) const INSTANT: u64 = 3;
    pub(super) const COUNTER: u64 = 4;
    pub(super) const ANNOTATION_NAME_ID: u64 = 1;
    pub(super) const ANNOTATION_UNSIGNED: u64 = 3;
    pub(super) const ANNOTATION_TEXT: u64 = 6;
    pub(super) const ANNOTATION_ADDRESS: u64 = 7;
}

/// Fields of `InternedData`, and of its entries.
mod interned {
    pub(super) const EVENT_NAME: u64 = 2;
    pub(super) const ANNOTATION_NAME: u64 = 3;
    pub(super) const ID: u64 = 1;
    pub(super) const TEXT: u64 = 2;
}

/// A line in the viewer, below its vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    /// What the vCPU does, whatever runs on it.
    Vcpu,
    /// SVSM calls.
    Calls,
    /// A VMPL.
    Vmpl(u8),
}

impl Track {
    /// How many there can be.
    pub(super) const COUNT: usize = 2 + 256;

    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Vcpu, Self::Calls]
            .into_iter()
            .chain((0..=u8::MAX).map(Self::Vmpl))
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Vcpu => 0,
            Self::Calls => 1,
            Self::Vmpl(vmpl) => 2 + usize::from(vmpl),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Vcpu => "vCPU".to_owned(),
            Self::Calls => "SVSM calls".to_owned(),
            Self::Vmpl(vmpl) => format!("VMPL{vmpl}"),
        }
    }

    fn uuid(self, vcpu: u64) -> u64 {
        process_uuid(vcpu) + 1 + self.index() as u64
    }
}

fn process_uuid(vcpu: u64) -> u64 {
    (vcpu + 1) << 16
}

/// Uuid of the counter.
const VALIDATED: u64 = 1;

/// A value beside an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Detail {
    Number(u64),
    Address(u64),
    Text(String),
}

/// Names that were given a number.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, u64>,
}

impl Names {
    /// The number of `name`, and whether it is new.
    fn number(&mut self, name: &str) -> (u64, bool) {
        if let Some(number) = self.numbers.get(name) {
            return (*number, false);
        }
        let number = self.numbers.len() as u64 + 1;
        self.numbers.insert(name.to_owned(), number);
        (number, true)
    }
}

/// Writes packets.
pub(super) struct Writer<W> {
    to: W,
    events: Names,
    annotations: Names,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Result<Self> {
        let mut writer = Self {
            to,
            events: Names::default(),
            annotations: Names::default(),
        };
        let counter = Message::default().number(descriptor::COUNTER_UNIT, descriptor::BYTES);
        let track = Message::default()
            .number(descriptor::UUID, VALIDATED)
            .text(descriptor::NAME, "validated memory")
            .message(descriptor::COUNTER, &counter);
        let first = Message::default()
            .number(packet::SEQUENCE_ID, 1)
            .number(packet::SEQUENCE_FLAGS, packet::CLEARED)
            .message(packet::TRACK_DESCRIPTOR, &track);
        writer.packet(&first)?;
        Ok(writer)
    }

    /// Announces a vCPU and its tracks.
    pub(super) fn vcpu(&mut self, vcpu: u64, vmpls: &BTreeSet<u8>) -> Result<()> {
        let process = Message::default()
            .number(descriptor::PROCESS_ID, vcpu + 1)
            .text(descriptor::PROCESS_NAME, &format!("vCPU {vcpu}"));
        let track = Message::default()
            .number(descriptor::UUID, process_uuid(vcpu))
            .message(descriptor::PROCESS, &process)
            .number(descriptor::CHILD_ORDER, descriptor::BY_RANK);
        self.descriptor(&track)?;
        let tracks = [Track::Vcpu, Track::Calls]
            .into_iter()
            .chain(vmpls.iter().copied().map(Track::Vmpl));
        for track in tracks {
            let descriptor = Message::default()
                .number(descriptor::UUID, track.uuid(vcpu))
                .text(descriptor::NAME, &track.name())
                .number(descriptor::PARENT, process_uuid(vcpu))
                .number(descriptor::RANK, track.index() as u64);
            self.descriptor(&descriptor)?;
        }
        Ok(())
    }

    /// Starts a slice.
    pub(super) fn begin(
        &mut self,
        vcpu: u64,
        track: Track,
        time: u64,
        name: &str,
        details: &[(&str, Detail)],
    ) -> Result<()> {
        self.named(vcpu, track, time, event::BEGIN, name, details)
    }

    /// Ends the innermost slice of a track.
    pub(super) fn end(&mut self, vcpu: u64, track: Track, time: u64) -> Result<()> {
        let event = Message::default()
            .number(event::TYPE, event::END)
            .number(event::TRACK, track.uuid(vcpu));
        self.event(time, &event, &Message::default())
    }

    /// Something without a duration.
    pub(super) fn instant(
        &mut self,
        vcpu: u64,
        track: Track,
        time: u64,
        name: &str,
        details: &[(&str, Detail)],
    ) -> Result<()> {
        self.named(vcpu, track, time, event::INSTANT, name, details)
    }

    /// The counter has this value from now on.
    pub(super) fn counter(&mut self, time: u64, value: i64) -> Result<()> {
        let event = Message::default()
            .number(event::TYPE, event::COUNTER)
            .number(event::TRACK, VALIDATED)
            .number(event::COUNTER_VALUE, value as u64);
        self.event(time, &event, &Message::default())
    }

    fn named(
        &mut self,
        vcpu: u64,
        track: Track,
        time: u64,
        kind: u64,
        name: &str,
        details: &[(&str, Detail)],
    ) -> Result<()> {
        let mut new = Message::default();
        let (number, first) = self.events.number(name);
        if first {
            new = new.message(interned::EVENT_NAME, &entry(number, name));
        }
        let mut event = Message::default()
            .number(event::TYPE, kind)
            .number(event::TRACK, track.uuid(vcpu))
            .number(event::NAME_ID, number);
        for (name, detail) in details {
            let (number, first) = self.annotations.number(name);
            if first {
                new = new.message(interned::ANNOTATION_NAME, &entry(number, name));
            }
            let annotation = Message::default().number(event::ANNOTATION_NAME_ID, number);
            let annotation = match detail {
                Detail::Number(value) => annotation.number(event::ANNOTATION_UNSIGNED, *value),
                Detail::Address(value) => annotation.number(event::ANNOTATION_ADDRESS, *value),
                Detail::Text(text) => annotation.text(event::ANNOTATION_TEXT, text),
            };
            event = event.message(event::ANNOTATION, &annotation);
        }
        self.event(time, &event, &new)
    }

    fn event(&mut self, time: u64, event: &Message, new_names: &Message) -> Result<()> {
        let mut packet = Message::default()
            .number(packet::TIMESTAMP, time)
            .number(packet::SEQUENCE_ID, 1)
            .number(packet::SEQUENCE_FLAGS, packet::NEEDS_NAMES);
        if !new_names.as_bytes().is_empty() {
            packet = packet.message(packet::INTERNED_DATA, new_names);
        }
        self.packet(&packet.message(packet::TRACK_EVENT, event))
    }

    fn descriptor(&mut self, track: &Message) -> Result<()> {
        let packet = Message::default()
            .number(packet::SEQUENCE_ID, 1)
            .message(packet::TRACK_DESCRIPTOR, track);
        self.packet(&packet)
    }

    fn packet(&mut self, packet: &Message) -> Result<()> {
        let framed = Message::default().message(TRACE_PACKET, packet);
        Ok(self.to.write_all(framed.as_bytes())?)
    }
}

fn entry(number: u64, text: &str) -> Message {
    Message::default()
        .number(interned::ID, number)
        .text(interned::TEXT, text)
}
