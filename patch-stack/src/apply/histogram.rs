// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which lines have changed from one text to another, as git's `histogram` has it (git-diff(1),
//! `--diff-algorithm`): the algorithm of a merge in `git rebase`. libgit2 does not have it.
//!
//! Of the lines that both texts have, the rarest anchor the longest common stretch that they are
//! in; then the same is done before it and after it. Where several stretches are possible git's
//! choice among them is kept to, since another one merges to another text.

use std::collections::HashMap;
use std::ops::Range;

use git2::DiffOptions;

use super::Error;

/// A line that is there more often than so anchors nothing.
const OFTEN: usize = 64;

/// Lines of the old text that became lines of the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// What has changed from `old` to `new`, in order. Lines are numbers; equal lines have equal ones.
pub(super) fn hunks(old: &[u32], new: &[u32]) -> Result<Vec<Hunk>, Error> {
    let mut sides = [Side::new(old), Side::new(new)];
    let [old_changed, new_changed] = &mut sides;
    let mut regions = vec![Hunk {
        old: 0..old.len(),
        new: 0..new.len(),
    }];
    while let Some(region) = regions.pop() {
        match common(&old[region.old.clone()], &new[region.new.clone()]) {
            Common::Nothing => {
                old_changed.changed[region.old].fill(true);
                new_changed.changed[region.new].fill(true);
            }
            Common::TooOften => {
                let (old, new) = (&old[region.old.clone()], &new[region.new.clone()]);
                for hunk in myers(old, new)? {
                    let within =
                        |range: Range<usize>, start| range.start + start..range.end + start;
                    old_changed.changed[within(hunk.old, region.old.start)].fill(true);
                    new_changed.changed[within(hunk.new, region.new.start)].fill(true);
                }
            }
            Common::Stretch(at) => {
                let (old_at, new_at) = (region.old.start + at.old, region.new.start + at.new);
                regions.push(Hunk {
                    old: region.old.start..old_at,
                    new: region.new.start..new_at,
                });
                regions.push(Hunk {
                    old: old_at + at.length..region.old.end,
                    new: new_at + at.length..region.new.end,
                });
            }
        }
    }
    let [old, new] = &mut sides;
    slide(old, new);
    slide(new, old);
    Ok(script(&old.changed, &new.changed))
}

/// Lines that two texts have in common.
enum Common {
    Nothing,
    TooOften,
    Stretch(Stretch),
}

struct Stretch {
    old: usize,
    new: usize,
    length: usize,
}

/// The stretch to anchor a comparison at.
fn common(old: &[u32], new: &[u32]) -> Common {
    if old.is_empty() || new.is_empty() {
        return Common::Nothing;
    }
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, line) in old.iter().enumerate() {
        places.entry(*line).or_default().push(at);
    }
    let count = |line: u32| places.get(&line).map_or(0, Vec::len);
    let (mut rarest, mut best, mut any) = (OFTEN + 1, None::<Stretch>, false);
    let mut at = 0;
    while at < new.len() {
        let mut next = at + 1;
        let found = places.get(&new[at]).map_or(&[][..], Vec::as_slice);
        any |= !found.is_empty();
        let found = if found.len() > rarest { &[][..] } else { found };
        let mut seen = 0;
        for &place in found {
            // What an earlier stretch from this line covers is not looked at again.
            if place < seen {
                continue;
            }
            let before = old[..place].iter().rev().zip(new[..at].iter().rev());
            let before = before.take_while(|(a, b)| a == b).count();
            let length = old[place..].iter().zip(&new[at..]);
            let length = before + length.take_while(|(a, b)| a == b).count();
            let start = place - before;
            let lines = &old[start..start + length];
            let rare = lines.iter().map(|line| count(*line)).min().unwrap_or(0);
            seen = start + length;
            next = next.max(at - before + length);
            let longest = best.as_ref().map_or(1, |stretch| stretch.length);
            if length > longest || rare < rarest {
                rarest = rare;
                best = Some(Stretch {
                    old: start,
                    new: at - before,
                    length,
                });
            }
        }
        at = next;
    }
    match best {
        _ if any && rarest > OFTEN => Common::TooOften,
        Some(stretch) => Common::Stretch(stretch),
        None => Common::Nothing,
    }
}

/// What has changed, found by git's other algorithm: for texts that repeat a few lines over and
/// over.
fn myers(old: &[u32], new: &[u32]) -> Result<Vec<Hunk>, Error> {
    let text = |lines: &[u32]| -> Vec<u8> {
        let lines = lines.iter().map(|line| format!("{line}\n"));
        lines.collect::<String>().into_bytes()
    };
    let (old, new) = (text(old), text(new));
    let mut options = DiffOptions::new();
    options.context_lines(0).force_text(true);
    let patch = git2::Patch::from_buffers(&old, None, &new, None, Some(&mut options))?;
    (0..patch.num_hunks())
        .map(|index| {
            let (hunk, _) = patch.hunk(index)?;
            // A side without lines names the line before it.
            let range = |start: u32, lines: u32| {
                let start = (start + u32::from(lines == 0)).saturating_sub(1) as usize;
                start..start + lines as usize
            };
            Ok(Hunk {
                old: range(hunk.old_start(), hunk.old_lines()),
                new: range(hunk.new_start(), hunk.new_lines()),
            })
        })
        .collect()
}

/// A text, and which of its lines have changed.
struct Side<'l> {
    lines: &'l [u32],
    changed: Vec<bool>,
}

/// Changed lines with unchanged ones, or an end of the text, around them; or none, between two
/// unchanged lines.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Group {
    start: usize,
    end: usize,
}

impl<'l> Side<'l> {
    fn new(lines: &'l [u32]) -> Self {
        Self {
            lines,
            changed: vec![false; lines.len()],
        }
    }

    fn first(&self) -> Group {
        self.group_from(0)
    }

    fn group_from(&self, start: usize) -> Group {
        let changed = self.changed[start..].iter().take_while(|changed| **changed);
        Group {
            start,
            end: start + changed.count(),
        }
    }

    fn group_to(&self, end: usize) -> Group {
        let changed = self.changed[..end].iter().rev();
        Group {
            start: end - changed.take_while(|changed| **changed).count(),
            end,
        }
    }

    fn after(&self, group: Group) -> Option<Group> {
        (group.end < self.lines.len()).then(|| self.group_from(group.end + 1))
    }

    fn before(&self, group: Group) -> Group {
        self.group_to(group.start.saturating_sub(1))
    }

    /// Moves a group up by a line, where that changes the same text; it takes in a group that it
    /// then touches.
    fn up(&mut self, group: Group) -> Option<Group> {
        let (above, last) = (group.start.checked_sub(1)?, group.end - 1);
        if self.lines[above] != self.lines[last] {
            return None;
        }
        self.changed[above] = true;
        self.changed[last] = false;
        Some(self.group_to(last))
    }

    /// The same, down.
    fn down(&mut self, group: Group) -> Option<Group> {
        if self.lines.get(group.end)? != &self.lines[group.start] {
            return None;
        }
        self.changed[group.start] = false;
        self.changed[group.end] = true;
        Some(self.group_from(group.start + 1))
    }
}

/// Moves the changes of `side` as far down as they go; but where lines of `other` have changed
/// too, beside those.
fn slide(side: &mut Side<'_>, other: &Side<'_>) {
    let (mut group, mut beside) = (side.first(), other.first());
    loop {
        if group.start < group.end {
            (group, beside) = slide_group(side, other, group, beside);
        }
        let (Some(next), Some(next_beside)) = (side.after(group), other.after(beside)) else {
            return;
        };
        (group, beside) = (next, next_beside);
    }
}

fn slide_group(
    side: &mut Side<'_>,
    other: &Side<'_>,
    mut group: Group,
    mut beside: Group,
) -> (Group, Group) {
    let (mut highest, mut meets);
    // Until it takes in no other group.
    loop {
        let length = group.end - group.start;
        while let Some(moved) = side.up(group) {
            (group, beside) = (moved, other.before(beside));
        }
        highest = group.end;
        meets = beside.start < beside.end;
        while let Some(moved) = side.down(group) {
            group = moved;
            beside = other.after(beside).unwrap_or(beside);
            meets |= beside.start < beside.end;
        }
        if group.end - group.start == length {
            break;
        }
    }
    if group.end != highest && meets {
        while beside.start == beside.end
            && let Some(moved) = side.up(group)
        {
            (group, beside) = (moved, other.before(beside));
        }
    }
    (group, beside)
}

fn script(old: &[bool], new: &[bool]) -> Vec<Hunk> {
    let run = |changed: &[bool], start: usize| {
        start
            + changed[start..]
                .iter()
                .take_while(|changed| **changed)
                .count()
    };
    let (mut hunks, mut old_at, mut new_at) = (Vec::new(), 0, 0);
    while old_at < old.len() || new_at < new.len() {
        let hunk = Hunk {
            old: old_at..run(old, old_at),
            new: new_at..run(new, new_at),
        };
        (old_at, new_at) = (hunk.old.end + 1, hunk.new.end + 1);
        if !hunk.old.is_empty() || !hunk.new.is_empty() {
            hunks.push(hunk);
        }
    }
    hunks
}
