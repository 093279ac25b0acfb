// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three-way merges of texts, line by line, as `git merge-file --diff-algorithm=histogram` does
//! them: what changed from the base to one side is done to the other. Changes that overlap or
//! touch are a conflict, unless both sides come out the same there.

use std::collections::HashMap;
use std::ops::Range;

use super::Error;
use super::histogram::{Hunk, hunks};

/// The text out of three, or `None` on a conflict.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut numbers = HashMap::new();
    let [base, ours, theirs] = [base, ours, theirs].map(|text| Text::new(text, &mut numbers));
    let mut regions = regions(&base, &ours, &theirs)?;
    for region in &mut regions {
        let (our, their) = (region.ours.clone(), region.theirs.clone());
        // Where one side has no lines git stops, even when the other has none either.
        if region.from == From::Both
            && !our.is_empty()
            && ours.numbers[our] == theirs.numbers[their]
        {
            region.from = From::Ours;
        }
    }
    if regions.iter().any(|region| region.from == From::Both) {
        return Ok(None);
    }
    let (mut merged, mut at) = (Vec::new(), 0);
    for region in regions {
        merged.extend(ours.lines[at..region.ours.start].concat());
        merged.extend(match region.from {
            From::Theirs => theirs.lines[region.theirs].concat(),
            _ => ours.lines[region.ours.clone()].concat(),
        });
        at = region.ours.end;
    }
    merged.extend(ours.lines[at..].concat());
    Ok(Some(merged))
}

/// A text with its lines numbered, equal ones with equal numbers.
struct Text<'t> {
    lines: Vec<&'t [u8]>,
    numbers: Vec<u32>,
}

impl<'t> Text<'t> {
    fn new(text: &'t [u8], numbers: &mut HashMap<&'t [u8], u32>) -> Self {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let number = |line: &&'t [u8]| {
            let next = numbers.len() as u32;
            *numbers.entry(line).or_insert(next)
        };
        Self {
            numbers: lines.iter().map(number).collect(),
            lines,
        }
    }
}

/// Who has changed a region.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Ours,
    Theirs,
    Both,
}

/// Lines of both sides that stand for the same lines of the base.
struct Region {
    from: From,
    ours: Range<usize>,
    theirs: Range<usize>,
}

/// What is changed, in order. What both have changed in the same way is left out.
fn regions(base: &Text<'_>, ours: &Text<'_>, theirs: &Text<'_>) -> Result<Vec<Region>, Error> {
    let our = hunks(&base.numbers, &ours.numbers)?;
    let their = hunks(&base.numbers, &theirs.numbers)?;
    let (mut regions, mut a, mut b) = (Vec::new(), 0, 0);
    loop {
        match (our.get(a), their.get(b)) {
            (None, None) => return Ok(regions),
            (Some(one), two) if two.is_none_or(|two| one.old.end < two.old.start) => {
                let across = across(&one.old, two, base, theirs);
                append(&mut regions, From::Ours, one.new.clone(), across);
                a += 1;
            }
            (one, Some(two)) if one.is_none_or(|one| two.old.end < one.old.start) => {
                let across = across(&two.old, one, base, ours);
                append(&mut regions, From::Theirs, across, two.new.clone());
                b += 1;
            }
            (Some(one), Some(two)) => {
                let same_lines = ours.numbers[one.new.clone()] == theirs.numbers[two.new.clone()];
                if one.old != two.old || !same_lines {
                    // All that the two cover in the base.
                    let (start, end) = (
                        one.old.start.min(two.old.start),
                        one.old.end.max(two.old.end),
                    );
                    // It may seem to start before the text, as in `across`.
                    let grown = |hunk: &Hunk| {
                        (hunk.new.start + start).saturating_sub(hunk.old.start)
                            ..hunk.new.end + end - hunk.old.end
                    };
                    append(&mut regions, From::Both, grown(one), grown(two));
                }
                a += usize::from(one.old.end <= two.old.end);
                b += usize::from(two.old.end <= one.old.end);
            }
            _ => unreachable!("what is left of one side is behind all of the other"),
        }
    }
}

/// Where `side` has lines of the base that it has not changed, as counted back from its next hunk.
fn across(
    old: &Range<usize>,
    next: Option<&Hunk>,
    base: &Text<'_>,
    side: &Text<'_>,
) -> Range<usize> {
    let ends = (base.lines.len(), side.lines.len());
    let (from, to) = next.map_or(ends, |next| (next.old.start, next.new.start));
    // A hunk that an earlier region has taken a part of may seem to start before the text.
    (old.start + to).saturating_sub(from)..old.end + to - from
}

/// Adds a region; one that touches the last becomes a part of that.
fn append(regions: &mut Vec<Region>, from: From, ours: Range<usize>, theirs: Range<usize>) {
    match regions.last_mut() {
        Some(last) if ours.start <= last.ours.end || theirs.start <= last.theirs.end => {
            if last.from != from {
                last.from = From::Both;
            }
            (last.ours.end, last.theirs.end) = (ours.end, theirs.end);
        }
        _ => regions.push(Region { from, ours, theirs }),
    }
}
