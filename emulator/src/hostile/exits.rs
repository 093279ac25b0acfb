// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a rule makes of an exit, whatever the exit was for. [`super::vmgexit`] has what it can make of
//! a request.

use alloc::vec::Vec;

use snp_defs::rmp::RmpSize;

use super::action::Action;
use super::engine::{Decision, Engine};
use super::event::{Event, Occasion};
use super::trick::Trick;

impl Engine<'_> {
    /// A VMPL of a vCPU stopped with this exit code; `ghcb` is its GHCB, if it has one. What is to be done about
    /// it goes to `tricks`.
    pub fn at_exit(
        &self,
        vmpl: u8,
        cpu: u32,
        code: u64,
        ghcb: Option<u64>,
        tricks: &mut Vec<(u32, Trick)>,
    ) {
        let occasion = Occasion {
            event: Event::Exit,
            vmpl,
            cpu,
            detail: code,
        };
        self.decide_all(&occasion, |Decision { line, action }| {
            if let Some(trick) = self.trick(action, ghcb) {
                tricks.push((line, trick));
            }
        });
    }

    fn trick(&self, action: Action, ghcb: Option<u64>) -> Option<Trick> {
        let page = |place| self.page(place, ghcb);
        Some(match action {
            Action::Unassign { gpa } => Trick::Unassign(page(gpa)?),
            Action::Reassign { gpa } => Trick::Reassign(page(gpa)?, RmpSize::Size4K),
            Action::Exchange { gpa } => Trick::Exchange(page(gpa)?),
            Action::Withhold { gpa } => Trick::Withhold(page(gpa)?, RmpSize::Size4K),
            Action::Remap { gpa, to } => Trick::Remap(page(gpa)?, page(to)?),
            Action::DoubleMap { gpa, to } => Trick::DoubleMap(page(gpa)?, page(to)?),
            Action::Inject { vector } => Trick::Inject(vector),
            Action::Signal => Trick::Signal,
            Action::Resume { vmpl } => Trick::Resume(vmpl),
            Action::Stop => Trick::Stop,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::Script;

    #[test]
    fn every_rule_for_an_exit_is_a_trick() {
        let text = "exit: unassign gpa=svsm+0x1234\nexit: reassign gpa=0x5000\n\
            exit: exchange gpa=ghcb\nexit: withhold gpa=0x6000\nexit: remap gpa=0x1000 to=0x2000\n\
            exit: double-map gpa=0x3000 to=0x4000\nexit: inject vector=6\nexit: signal\n\
            exit: resume\nexit: stop\nexit vmpl=1: stop\nexit code=0x400: stop\n";
        let engine = Engine::new(Script::parse(text.as_bytes()).unwrap(), 1);
        let mut tricks = Vec::new();
        engine.at_exit(2, 0, 0x60, Some(0x9000), &mut tricks);
        let small = RmpSize::Size4K;
        assert_eq!(
            tricks,
            [
                (1, Trick::Unassign(0x80_0000_1000)),
                (2, Trick::Reassign(0x5000, small)),
                (3, Trick::Exchange(0x9000)),
                (4, Trick::Withhold(0x6000, small)),
                (5, Trick::Remap(0x1000, 0x2000)),
                (6, Trick::DoubleMap(0x3000, 0x4000)),
                (7, Trick::Inject(6)),
                (8, Trick::Signal),
                (9, Trick::Resume(0)),
                (10, Trick::Stop),
            ]
        );
        tricks.clear();
        engine.at_exit(2, 0, 0x60, None, &mut tricks);
        assert_eq!(
            tricks.len(),
            9,
            "without a GHCB there is no page to exchange"
        );
    }
}
