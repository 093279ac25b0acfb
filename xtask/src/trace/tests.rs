// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small trace, read back field by field, and anything at all.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// A buffer with these records, by vCPU.
fn buffer(areas: &[&[Record]], room: usize) -> Vec<u8> {
    let mut header = Header::read_from_bytes(&[0; size_of::<Header>()]).unwrap();
    header.magic = MAGIC;
    header.tsc_hz = 2_000_000_000;
    header.tsc_start = 1000;
    header.vcpus = areas.len() as u32;
    header.area_size = (room * 32) as u32;
    let mut bytes = vec![0; AREAS_OFFSET + areas.len() * room * 32];
    for (vcpu, records) in areas.iter().enumerate() {
        header.written[vcpu] = records.len() as u64;
        for (number, record) in records.iter().enumerate() {
            let start = AREAS_OFFSET + (vcpu * room + number) * 32;
            bytes[start..start + 32].copy_from_slice(record.as_bytes());
        }
    }
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    bytes
}

fn record(kind: Kind, vmpl: u8, tsc: u64, duration: u32) -> Record {
    Record {
        tsc,
        duration,
        kind: kind as u8,
        vmpl,
        small: 0,
        a: 0,
        b: 0,
    }
}

fn converted(buffer: &[u8]) -> Result<(Summary, Vec<u8>)> {
    let mut output = Vec::new();
    let summary = convert_stream(&mut Cursor::new(buffer), &mut output)?;
    Ok((summary, output))
}

/// A field of a message: number, and its value or bytes.
#[derive(Debug, Clone, PartialEq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a message apart; panics where it is malformed.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a number without end");
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Value::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, value));
    }
    found
}

fn number(fields: &[(u64, Value<'_>)], wanted: u64) -> Option<u64> {
    fields.iter().find_map(|(field, value)| match value {
        Value::Number(value) if *field == wanted => Some(*value),
        _ => None,
    })
}

fn bytes<'a>(fields: &[(u64, Value<'a>)], wanted: u64) -> Option<&'a [u8]> {
    fields.iter().find_map(|(field, value)| match value {
        Value::Bytes(value) if *field == wanted => Some(*value),
        _ => None,
    })
}

/// Events as (time in ns, type, track, name), in the order of the file.
fn events(trace: &[u8]) -> Vec<(u64, u64, u64, String)> {
    let mut names = std::collections::HashMap::new();
    let mut found = Vec::new();
    for (field, packet) in fields(trace) {
        assert_eq!(field, 1);
        let Value::Bytes(packet) = packet else {
            panic!("a packet that is a number");
        };
        let packet = fields(packet);
        if let Some(new) = bytes(&packet, 12) {
            for (kind, entry) in fields(new) {
                let Value::Bytes(entry) = entry else { continue };
                let entry = fields(entry);
                let text = String::from_utf8(bytes(&entry, 2).unwrap().to_vec()).unwrap();
                names.insert((kind, number(&entry, 1).unwrap()), text);
            }
        }
        let Some(event) = bytes(&packet, 11) else {
            continue;
        };
        let event = fields(event);
        let name = number(&event, 10).map(|id| names[&(2, id)].clone());
        found.push((
            number(&packet, 8).unwrap(),
            number(&event, 9).unwrap(),
            number(&event, 11).unwrap(),
            name.unwrap_or_default(),
        ));
    }
    found
}

#[test]
fn slices_nest_and_times_are_nanoseconds() {
    let mut exit = record(Kind::Exit, 2, 3000, 1000);
    exit.a = 0x403;
    let mut request = record(Kind::Vmgexit, 2, 3100, 800);
    request.a = 0x8000_0010;
    let mut page = record(Kind::PageState, 2, 3500, 0);
    (page.small, page.a, page.b) = (page_op::VALIDATE, 0x20_0000, 0x20_0000);
    // As the emulator writes them: when they end.
    let area = [
        record(Kind::Guest, 2, 1000, 2000),
        page,
        request,
        exit,
        record(Kind::Guest, 0, 4000, 10),
    ];
    let (summary, trace) = converted(&buffer(&[&area, &[]], 8)).unwrap();
    assert_eq!((summary.records, summary.lost), (5, 0));
    let (vmpl2, vmpl0, counter) = ((1 << 16) + 5, (1 << 16) + 3, 1);
    let expected = [
        (0, 1, vmpl2, "runs"),
        (1000, 2, vmpl2, ""),
        (1000, 1, vmpl2, "VMGEXIT"),
        (1050, 1, vmpl2, "page state change"),
        (1250, 3, vmpl2, "validates 2M"),
        (1500, 1, vmpl0, "runs"),
        (1505, 2, vmpl0, ""),
        (1450, 2, vmpl2, ""),
        (1500, 2, vmpl2, ""),
        (1250, 4, counter, ""),
    ];
    assert_eq!(
        events(&trace),
        expected.map(|(time, kind, track, name)| (time, kind, track, name.to_owned()))
    );
}

#[test]
fn a_slice_ends_with_the_one_around_it() {
    let area = [
        record(Kind::Exit, 0, 1000, 1000),
        record(Kind::Vmgexit, 0, 1500, 5000),
    ];
    let (_, trace) = converted(&buffer(&[&area], 2)).unwrap();
    let ends: Vec<_> = events(&trace)
        .into_iter()
        .filter(|event| event.1 == 2)
        .map(|event| event.0)
        .collect();
    assert_eq!(ends, [500, 500]);
}

#[test]
fn what_is_no_trace_is_refused() {
    let good = buffer(&[&[record(Kind::Idle, 0, 5, 5)]], 4);
    assert!(converted(&good).is_ok());
    assert!(converted(&[]).is_err());
    assert!(converted(&good[..100]).is_err());
    let mut other = good.clone();
    other[0] = 0;
    assert!(converted(&other).is_err());
    let mut no_clock = good.clone();
    no_clock[8..16].fill(0);
    assert!(converted(&no_clock).is_err());
    // A number of records that can't be: as many as there are bytes for.
    let mut many = good.clone();
    many[32..40].fill(0xFF);
    assert_eq!(converted(&many).unwrap().0.records, 4);
    let (summary, _) = converted(&good[..AREAS_OFFSET + 32]).unwrap();
    assert_eq!(summary.records, 1);
}

proptest! {
    /// Every slice that begins ends, never before it began, and time never goes back on a track.
    #[test]
    fn any_records_make_a_well_formed_trace(
        raw in prop::collection::vec(
            (0_u64..5000, prop::option::of(0_u32..500), 0_u8..16, 0_u8..5, any::<(u16, u64, u64)>()),
            0..60),
    ) {
        let area: Vec<Record> = raw
            .into_iter()
            .map(|(tsc, duration, kind, vmpl, (small, a, b))| Record {
                tsc, duration: duration.unwrap_or(u32::MAX), kind, vmpl, small, a, b,
            })
            .collect();
        let (summary, trace) = converted(&buffer(&[&area], 64)).unwrap();
        prop_assert_eq!(summary.records as usize, area.len());
        let mut tracks = std::collections::HashMap::<u64, (u64, i64)>::new();
        for (time, kind, track, _) in events(&trace) {
            let (last, depth) = tracks.entry(track).or_default();
            prop_assert!(time >= *last);
            *last = time;
            *depth += match kind { 1 => 1, 2 => -1, _ => 0 };
            prop_assert!(*depth >= 0);
        }
        prop_assert!(tracks.values().all(|(_, depth)| *depth == 0));
    }

    #[test]
    fn no_bytes_make_it_panic(
        head in prop::collection::vec(any::<u8>(), 0..1100),
        rest in prop::collection::vec(any::<u8>(), 0..4500),
        magic in any::<bool>(),
        vcpus in 0_u32..70,
    ) {
        let mut bytes = [head, rest].concat();
        if magic && bytes.len() >= 32 {
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[24..28].copy_from_slice(&vcpus.to_le_bytes());
        }
        let _ = converted(&bytes);
    }
}
