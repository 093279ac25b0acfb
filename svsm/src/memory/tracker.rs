// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page tracker: the state of every 4K page of the guest's memory.
//!
//! # States
//! * [`State::Invalid`]: not in the machine. The guest shares it with the host, or has no use for it.
//! * [`State::Valid`]: in the machine, and the guest's.
//! * [`State::Own`]: in the machine, and the SVSM's alone: deposited, or the state of a vCPU, or
//!   lost for good since nobody knows any more what it is.
//! * Busy: one CPU changes it right now. Whoever finds a page busy gives up, or looks again later.
//!
//! A change is `Tracker::begin`, which makes the page busy for one CPU, what that CPU has to do
//! with the hardware, and `Tracker::commit`; both are for `custody` alone. So two CPUs never change the same page at once, and there is no
//! lock: each page is a two-bit field that is changed by compare-and-swap.
//!
//! # Why every page
//! The hardware validates a page that is validated already, if the host put another page in its place:
//! 1. The guest's page X is validated while the host has it at A.
//! 2. The host puts B at X. Both are the machine's and say "X"; B is not validated.
//! 3. The guest (or firmware, or a driver that is told so) asks to validate X once more, and gets B.
//! 4. From now on both A and B are validated as X, and the host swaps them as it likes: yesterday's
//!    contents come back, and no hardware notices.
//!
//! The step that can be refused is 3, and only by someone who remembers 1: this table.
//!
//! # Runs
//! A run is the 512 pages of an aligned 2 MiB. Its summary word says that all its pages have one state, and then
//! an operation on all of them touches nothing else; or it says "mixed", and counts the pages that
//! are busy. The word goes:
//!
//! ```text
//!   Uniform(s) --4K begin--> Splitting(s) --> Mixed(1) <--begin, commit--> Mixed(n)
//!   Uniform(s) --2M begin--> Busy --commit--> Uniform(s')
//!   Mixed(0)   --2M begin--> Merging --all the same--> Busy, else --> Mixed(0)
//! ```
//!
//! A page's state can be read at any time, whatever its neighbours go through: Splitting still has a
//! state for all, and Merging leaves the fields as they are.
#![forbid(unsafe_code)]

use super::{Frame, Page, PageSize};
use core::sync::atomic::{AtomicU64, Ordering};
use svsm_launch::Range;
use svsm_launch::tracker::{RUN, WORDS_PER_RUN};

/// What a page is, while nobody changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not in the machine.
    Invalid = 0,
    /// The guest's.
    Valid = 1,
    /// The SVSM's alone.
    Own = 2,
}

/// The field of a page that is being changed.
const BUSY: u64 = 3;

impl State {
    const fn from_field(field: u64) -> Option<Self> {
        match field {
            0 => Some(Self::Invalid),
            1 => Some(Self::Valid),
            2 => Some(Self::Own),
            _ => None,
        }
    }

    const fn field(self) -> u64 {
        self as u64
    }

    /// A word in which all 32 pages have this state.
    const fn word(self) -> u64 {
        self.field() * 0x5555_5555_5555_5555
    }
}

/// Why a change can't begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not the guest's memory, or not all of it.
    Outside,
    /// Somebody changes it now, or a part of it.
    Busy,
    /// It has this state, not the one that was asked for.
    Is(State),
    /// Its parts have different states.
    Mixed,
}

/// The summary word of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Summary {
    Uniform(State),
    Splitting(State),
    /// Number of busy pages.
    Mixed(u64),
    Merging,
    Busy,
}

impl Summary {
    #[inline]
    const fn from_word(word: u64) -> Self {
        match (word & 7, State::from_field(word >> 3 & 3)) {
            (0, Some(state)) => Self::Uniform(state),
            (1, Some(state)) => Self::Splitting(state),
            (2, _) => Self::Mixed(word >> 8),
            (3, _) => Self::Merging,
            // Nothing writes another word; should one appear, its pages can't be touched.
            _ => Self::Busy,
        }
    }

    #[inline]
    const fn word(self) -> u64 {
        match self {
            Self::Uniform(state) => state.field() << 3,
            Self::Splitting(state) => 1 | state.field() << 3,
            Self::Mixed(busy) => 2 | busy << 8,
            Self::Merging => 3,
            Self::Busy => 4,
        }
    }
}

/// What is added to the word of a mixed run for each busy page.
const ONE_BUSY: u64 = 1 << 8;
/// Pages in a word.
const PAGES_PER_WORD: usize = 32;
/// Pages in a run.
const PAGES_PER_RUN: usize = 512;
/// Words of page fields in a run; the summary is one more.
const FIELD_WORDS: usize = PAGES_PER_RUN / PAGES_PER_WORD;
/// How often to look again while a neighbour splits or merges the run, which is a matter of 16 words,
/// unless the host lets that CPU wait.
const PATIENCE: usize = 1000;

const _: () = assert!(FIELD_WORDS as u64 + 1 == WORDS_PER_RUN);

/// Runs that follow each other in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u64,
    end: u64,
    /// Number of runs in the spans before.
    first_run: usize,
}

/// The most ranges of guest memory.
const MAX_RANGES: usize = 4;

/// The tracker.
#[derive(Debug)]
pub struct Tracker<'s> {
    spans: [Span; MAX_RANGES],
    /// One word for each run.
    summaries: &'s [AtomicU64],
    /// [`FIELD_WORDS`] words for each run.
    fields: &'s [AtomicU64],
}

/// The ranges or the storage do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsuitable;

/// A run's words.
#[derive(Clone, Copy)]
struct Run<'s> {
    summary: &'s AtomicU64,
    fields: &'s [AtomicU64; FIELD_WORDS],
}

/// Where a page's state is.
struct Place<'s> {
    run: Run<'s>,
    /// Number of the page in its run.
    page: usize,
}

/// A way into the tracker for one who changes many pages: it remembers the run that it was at, and the next page
/// is most often in the same.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t, 's> {
    tracker: &'t Tracker<'s>,
    /// Number of the run, counted from address 0.
    number: u64,
    run: Option<Run<'t>>,
}

impl<'s> Tracker<'s> {
    /// A tracker of `memory`, all of whose pages are invalid. The ranges are page-aligned, ascending and
    /// without overlaps; empty ones are skipped. `storage` is zeroed and holds at least
    /// [`svsm_launch::tracker::bytes`].
    pub fn new(memory: &[Range], storage: &'s [AtomicU64]) -> Result<Self, Unsuitable> {
        let mut spans = [Span::default(); MAX_RANGES];
        let mut count: usize = 0;
        let mut runs = 0;
        let mut previous_end = 0;
        for range in memory.iter().filter(|range| range.size != 0) {
            let end = range.base.checked_add(range.size).ok_or(Unsuitable)?;
            // The last page must have a name, and so must the first.
            let whole = Frame::new(range.base).zip(Frame::new(end - PageSize::Size4K.bytes()));
            if whole.is_none() || range.base < previous_end {
                return Err(Unsuitable);
            }
            previous_end = end;
            let start = range.base / RUN * RUN;
            let end = end.div_ceil(RUN) * RUN;
            match count.checked_sub(1).and_then(|last| spans.get_mut(last)) {
                Some(last) if start <= last.end => last.end = end,
                _ => {
                    *spans.get_mut(count).ok_or(Unsuitable)? = Span {
                        start,
                        end,
                        first_run: runs,
                    };
                    count += 1;
                }
            }
            let last = spans[count - 1];
            runs = last.first_run + ((last.end - last.start) / RUN) as usize;
        }
        let words = runs.checked_mul(WORDS_PER_RUN as usize).ok_or(Unsuitable)?;
        let (summaries, fields) = storage.get(..words).ok_or(Unsuitable)?.split_at(runs);
        let tracker = Self {
            spans,
            summaries,
            fields,
        };
        tracker.exclude_holes(memory);
        Ok(tracker)
    }

    /// Gives the pages that lie in a run but not in `memory` a state that no call can change.
    fn exclude_holes(&self, memory: &[Range]) {
        let ranges = || memory.iter().filter(|range| range.size != 0);
        for span in self.spans.iter().filter(|span| span.end != 0) {
            let mut gpa = span.start;
            for range in ranges().filter(|range| (span.start..span.end).contains(&range.base)) {
                self.exclude(gpa, range.base);
                gpa = range.base + range.size;
            }
            self.exclude(gpa, span.end);
        }
    }

    fn exclude(&self, start: u64, end: u64) {
        for gpa in (start..end).step_by(PageSize::Size4K.bytes() as usize) {
            if let Some(frame) = Frame::new(gpa) {
                let page = Page::from(frame);
                if self.begin(page, State::Invalid).is_ok() {
                    self.commit(page, State::Own);
                }
            }
        }
    }

    fn run(&self, gpa: u64) -> Option<Run<'_>> {
        let span = self
            .spans
            .iter()
            .find(|span| (span.start..span.end).contains(&gpa))?;
        let run = span.first_run + ((gpa - span.start) / RUN) as usize;
        let fields = self.fields.get(run * FIELD_WORDS..)?.first_chunk()?;
        Some(Run {
            summary: self.summaries.get(run)?,
            fields,
        })
    }

    /// A cursor that is nowhere yet.
    pub(super) const fn cursor(&self) -> Cursor<'_, 's> {
        // No page has such a number.
        Cursor {
            tracker: self,
            number: u64::MAX,
            run: None,
        }
    }

    /// The state of a page; an error says that it has none to speak of.
    pub fn state(&self, frame: Frame) -> Result<State, Refused> {
        let place = self.cursor().place(frame).ok_or(Refused::Outside)?;
        // Sequentially consistent, since `guest::View` relies on the order of this look and its own mark.
        match Summary::from_word(place.run.summary.load(Ordering::SeqCst)) {
            Summary::Uniform(state) | Summary::Splitting(state) => Ok(state),
            Summary::Busy => Err(Refused::Busy),
            Summary::Mixed(_) | Summary::Merging => place.state().ok_or(Refused::Busy),
        }
    }

    /// Makes a page busy that has the state `from` throughout. [`Tracker::commit`] must follow.
    pub(super) fn begin(&self, page: Page, from: State) -> Result<(), Refused> {
        self.cursor().begin(page, from)
    }

    /// Gives a page that this CPU made busy a state.
    pub(super) fn commit(&self, page: Page, to: State) {
        self.cursor().commit(page, to);
    }
}

impl<'t> Cursor<'t, '_> {
    #[inline]
    fn place(&mut self, frame: Frame) -> Option<Place<'t>> {
        let gpa = frame.gpa();
        if gpa / RUN != self.number {
            self.number = gpa / RUN;
            self.run = self.tracker.run(gpa);
        }
        let page = (gpa % RUN / PageSize::Size4K.bytes()) as usize;
        Some(Place {
            run: self.run?,
            page,
        })
    }

    /// As [`Tracker::begin`].
    #[inline]
    pub(super) fn begin(&mut self, page: Page, from: State) -> Result<(), Refused> {
        let place = self.place(page.frame()).ok_or(Refused::Outside)?;
        match page.size() {
            PageSize::Size4K => place.begin_page(from),
            PageSize::Size2M => place.begin_run(from),
        }
    }

    /// As [`Tracker::commit`].
    #[inline]
    pub(super) fn commit(&mut self, page: Page, to: State) {
        let Some(place) = self.place(page.frame()) else {
            return;
        };
        match page.size() {
            PageSize::Size4K => place.commit_page(to),
            PageSize::Size2M => {
                place
                    .run
                    .summary
                    .store(Summary::Uniform(to).word(), Ordering::SeqCst);
            }
        }
    }
}

impl Place<'_> {
    #[inline]
    fn field(&self) -> (&AtomicU64, u32) {
        // `page` is less than 512, and there are 16 words.
        (
            &self.run.fields[self.page / PAGES_PER_WORD],
            (self.page % PAGES_PER_WORD) as u32 * 2,
        )
    }

    fn state(&self) -> Option<State> {
        let (word, shift) = self.field();
        State::from_field(word.load(Ordering::SeqCst) >> shift & 3)
    }

    #[inline]
    fn exchange(&self, from: Summary, to: Summary) -> bool {
        self.run
            .summary
            .compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    fn begin_page(&self, from: State) -> Result<(), Refused> {
        // The common case, first: a mixed run. Count first, so that nobody takes the run as a whole, then take the page.
        let word = self.run.summary.load(Ordering::Acquire);
        if let Summary::Mixed(busy) = Summary::from_word(word)
            && self.exchange(Summary::Mixed(busy), Summary::Mixed(busy + 1))
        {
            return self.take(from).inspect_err(|_| self.untake());
        }
        self.begin_page_slowly(from)
    }

    #[cold]
    fn begin_page_slowly(&self, from: State) -> Result<(), Refused> {
        for _ in 0..PATIENCE {
            let summary = Summary::from_word(self.run.summary.load(Ordering::Acquire));
            match summary {
                Summary::Uniform(state) if state != from => return Err(Refused::Is(state)),
                Summary::Uniform(state) => {
                    if self.exchange(summary, Summary::Splitting(state)) {
                        for word in self.run.fields {
                            word.store(state.word(), Ordering::Relaxed);
                        }
                        let (word, shift) = self.field();
                        word.fetch_or(BUSY << shift, Ordering::Relaxed);
                        // This publishes the words.
                        self.run
                            .summary
                            .store(Summary::Mixed(1).word(), Ordering::SeqCst);
                        return Ok(());
                    }
                }
                Summary::Mixed(busy) => {
                    if self.exchange(summary, Summary::Mixed(busy + 1)) {
                        return self.take(from).inspect_err(|_| self.untake());
                    }
                }
                Summary::Busy => return Err(Refused::Busy),
                Summary::Splitting(_) | Summary::Merging => core::hint::spin_loop(),
            }
        }
        Err(Refused::Busy)
    }

    /// Makes the page's field busy if it is `from`.
    #[inline]
    fn take(&self, from: State) -> Result<(), Refused> {
        let (word, shift) = self.field();
        let mut old = word.load(Ordering::Relaxed);
        loop {
            match State::from_field(old >> shift & 3) {
                None => return Err(Refused::Busy),
                Some(state) if state != from => return Err(Refused::Is(state)),
                Some(_) => {}
            }
            match word.compare_exchange_weak(
                old,
                old | BUSY << shift,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    #[inline]
    fn untake(&self) {
        self.run.summary.fetch_sub(ONE_BUSY, Ordering::SeqCst);
    }

    #[inline]
    fn commit_page(&self, to: State) {
        let (word, shift) = self.field();
        // From busy, which has both bits, so that what must go is what `to` has not.
        word.fetch_and(!((BUSY & !to.field()) << shift), Ordering::SeqCst);
        self.untake();
    }

    fn begin_run(&self, from: State) -> Result<(), Refused> {
        for _ in 0..PATIENCE {
            let summary = Summary::from_word(self.run.summary.load(Ordering::Acquire));
            match summary {
                Summary::Uniform(state) if state != from => return Err(Refused::Is(state)),
                Summary::Uniform(_) => {
                    if self.exchange(summary, Summary::Busy) {
                        return Ok(());
                    }
                }
                Summary::Mixed(0) => {
                    if self.exchange(summary, Summary::Merging) {
                        return self.merge(from);
                    }
                }
                Summary::Mixed(_) | Summary::Busy => return Err(Refused::Busy),
                Summary::Splitting(_) | Summary::Merging => core::hint::spin_loop(),
            }
        }
        Err(Refused::Busy)
    }

    /// Makes the run busy if all its pages, none of which is busy, are `from`.
    fn merge(&self, from: State) -> Result<(), Refused> {
        let mut words = self
            .run
            .fields
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        let uniform = words.all(|word| word == from.word());
        let summary = if uniform {
            Summary::Busy
        } else {
            Summary::Mixed(0)
        };
        self.run.summary.store(summary.word(), Ordering::SeqCst);
        if uniform { Ok(()) } else { Err(self.why_not()) }
    }

    /// What the run is instead: as exact as can be said while others may change it.
    fn why_not(&self) -> Refused {
        let first = self.run.fields[0].load(Ordering::Relaxed);
        match State::from_field(first & 3) {
            Some(state)
                if self
                    .run
                    .fields
                    .iter()
                    .all(|w| w.load(Ordering::Relaxed) == state.word()) =>
            {
                Refused::Is(state)
            }
            _ => Refused::Mixed,
        }
    }
}

/// The host stopped a CPU that looked whether it could take a page of 2M. Dropped, that CPU goes on.
#[cfg(test)]
pub(crate) struct StoppedCpu<'t> {
    summary: &'t AtomicU64,
    was: u64,
}

#[cfg(test)]
impl Drop for StoppedCpu<'_> {
    fn drop(&mut self) {
        self.summary.store(self.was, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Tracker<'_> {
    /// Stops such a CPU at the run of `frame`, which must be mixed, and none of its pages busy.
    pub(crate) fn stop_a_cpu_at(&self, frame: Frame) -> StoppedCpu<'_> {
        let run = self.run(frame.gpa()).expect("a page of the guest's memory");
        let was = Summary::Mixed(0).word();
        assert_eq!(
            run.summary.swap(Summary::Merging.word(), Ordering::SeqCst),
            was
        );
        StoppedCpu {
            summary: run.summary,
            was,
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
