// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMGEXIT in the hands of a host that means no good: the request is looked at, a rule may act, and else the honest
//! host serves it.

use alloc::vec::Vec;

use snp_defs::exit;
use snp_defs::ghcb::{SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE, result};
use snp_defs::msr::protocol;
use snp_defs::psc::Entry;

use super::action::Action;
use super::answer::{INFO1, INFO2, Page, RAX, RBX, RCX, RDX};
use super::engine::{Decision, Engine};
use super::event::{Event, Occasion};
use super::firmware;
use super::page_state::{self, List, contrary, page_of};
use super::trick::Trick;
use crate::snp::ghcb::{self, HostServices, Level, Outcome};

/// Bits 63:12 of an answer of the MSR protocol.
const VALUE: u64 = !protocol::CODE_MASK;

/// Serves a VMGEXIT as [`ghcb::handle_vmgexit`] does, or otherwise. What is to be done besides goes to `tricks`, with
/// the line of the rule that wants it, before the guest is entered again.
pub fn handle_vmgexit<S: HostServices>(
    engine: &Engine<'_>,
    level: &mut Level,
    services: &mut S,
    tricks: &mut Vec<(u32, Trick)>,
) -> Outcome {
    if level.msr & protocol::CODE_MASK != 0 {
        return Desk {
            engine,
            services,
            tricks,
        }
        .by_msr(level);
    }
    let Ok(page) = Page::read(level.msr, services) else {
        return ghcb::handle_vmgexit(level, services);
    };
    // Requests through a page that was never registered are refused by the honest host.
    if level.registered() != Some(page.gpa) {
        return ghcb::handle_vmgexit(level, services);
    }
    Desk {
        engine,
        services,
        tricks,
    }
    .by_page(level, &page)
}

/// Where a request is served.
struct Desk<'a, 'e, S> {
    engine: &'a Engine<'e>,
    services: &'a mut S,
    tricks: &'a mut Vec<(u32, Trick)>,
}

impl<S: HostServices> Desk<'_, '_, S> {
    fn decide(&mut self, event: Event, detail: u64) -> Option<Decision> {
        let decision = self.engine.decide(&Occasion {
            event,
            vmpl: self.services.vmpl(),
            cpu: self.services.apic_id(),
            detail,
        })?;
        self.trick(decision, Trick::Acted);
        Some(decision)
    }

    fn trick(&mut self, decision: Decision, trick: Trick) {
        self.tricks.push((decision.line, trick));
    }

    /// What was to be done again is, once the guest asks for something else.
    fn repeat(&mut self, event: Option<Event>) {
        if event != Some(Event::PageState) {
            let due = core::mem::take(&mut *self.engine.again.lock());
            let again = |(gpa, size)| (0, Trick::Reassign(gpa, size));
            self.tricks.extend(due.into_iter().map(again));
        }
    }

    /// What becomes of a page whose change was promised and not made.
    fn forget(&mut self, decision: Decision, entry: Entry) {
        if entry.op() == snp_defs::psc::OP_PRIVATE {
            let (gpa, size) = page_of(entry);
            self.trick(decision, Trick::Withhold(gpa, size));
        }
    }

    // ---- The MSR protocol ------------------------------------------------------------------

    fn by_msr(&mut self, level: &mut Level) -> Outcome {
        let value = level.msr;
        let (event, response) = match value & protocol::CODE_MASK {
            protocol::SEV_INFO_REQUEST => (Event::SevInfo, protocol::SEV_INFO_RESPONSE),
            protocol::CPUID_REQUEST => (Event::Cpuid, protocol::CPUID_RESPONSE),
            protocol::REGISTER_GHCB_REQUEST => {
                (Event::RegisterGhcb, protocol::REGISTER_GHCB_RESPONSE)
            }
            protocol::PSC_REQUEST => (Event::PageState, protocol::PSC_RESPONSE),
            protocol::RUN_VMPL_REQUEST => (Event::RunVmpl, protocol::RUN_VMPL_RESPONSE),
            protocol::HV_FEATURES_REQUEST => (Event::HvFeatures, protocol::HV_FEATURES_RESPONSE),
            protocol::TERMINATE_REQUEST => (Event::Terminate, protocol::TERMINATE_REQUEST),
            _ => return ghcb::handle_vmgexit(level, self.services),
        };
        self.repeat(Some(event));
        // A request of the MSR protocol has its page as an entry of a list has it.
        let entry = Entry(value & !protocol::CODE_MASK);
        let detail = if event == Event::PageState {
            entry.op().into()
        } else {
            0
        };
        let Some(decision) = self.decide(event, detail) else {
            return ghcb::handle_vmgexit(level, self.services);
        };
        let answer = match decision.action {
            Action::Ignore => value,
            Action::Drop => match event {
                Event::RegisterGhcb => value & VALUE | response,
                Event::PageState => {
                    self.forget(decision, entry);
                    response
                }
                Event::RunVmpl => response,
                // Not answered at all: the request is still there.
                _ => value,
            },
            Action::Fail { code } => match event {
                Event::RegisterGhcb => VALUE | response,
                Event::PageState | Event::RunVmpl => code << 32 | response,
                _ => response,
            },
            Action::Answer { value } => value,
            Action::Noise => match event {
                // A random code would mostly be no answer at all.
                Event::Cpuid | Event::SevInfo | Event::HvFeatures => {
                    self.engine.random().next() & VALUE | response
                }
                _ => self.engine.random().next(),
            },
            Action::Contrary => {
                level.msr = contrary(entry).0 | protocol::PSC_REQUEST;
                return ghcb::handle_vmgexit(level, self.services);
            }
            other => {
                let outcome = ghcb::handle_vmgexit(level, self.services);
                self.besides(decision, other, &[entry]);
                return outcome;
            }
        };
        level.msr = answer;
        Outcome::Resume
    }

    /// What is done to pages besides the change that the guest asked for.
    fn besides(&mut self, decision: Decision, action: Action, entries: &[Entry]) {
        let mut private = entries
            .iter()
            .filter(|entry| entry.op() == snp_defs::psc::OP_PRIVATE)
            .map(|entry| page_of(*entry));
        match action {
            Action::Repeat => self.engine.again.lock().extend(private),
            Action::Steal { from } => {
                if let Some((gpa, _)) = private.next()
                    && let Some(from) = self.engine.page(from, None)
                {
                    self.trick(decision, Trick::Remap(gpa, from));
                }
            }
            _ => {}
        }
    }

    // ---- Requests through the page ----------------------------------------------------------

    fn by_page(&mut self, level: &mut Level, page: &Page) -> Outcome {
        let event = match page.code {
            exit::PAGE_STATE_CHANGE => Event::PageState,
            exit::AP_CREATION => Event::ApCreation,
            exit::GUEST_REQUEST | exit::EXT_GUEST_REQUEST => Event::GuestRequest,
            exit::RUN_VMPL => Event::RunVmpl,
            exit::HV_FEATURES => Event::HvFeatures,
            exit::TERMINATE => Event::Terminate,
            exit::CPUID => Event::Cpuid,
            exit::IOIO if page.info1 & 1 != 0 => Event::PortIn,
            _ => {
                self.repeat(None);
                let outcome = ghcb::handle_vmgexit(level, self.services);
                return self.answered(page, outcome);
            }
        };
        self.repeat(Some(event));
        let list = match event {
            Event::PageState => List::read(page, self.services),
            _ => None,
        };
        if event == Event::GuestRequest
            && let Err(breach) = firmware::look(self.engine, page, self.services)
        {
            self.tricks.push((0, Trick::Breach(breach)));
        }
        let detail = list.as_ref().map_or(0, List::op);
        let decision = self.decide(event, detail);
        let outcome = match decision {
            Some(decision) => self.act(level, page, event, list.as_ref(), decision),
            None => {
                let outcome = ghcb::handle_vmgexit(level, self.services);
                if event == Event::GuestRequest {
                    firmware::keep(self.engine, page, self.services);
                }
                outcome
            }
        };
        self.answered(page, outcome)
    }

    /// The guest reads the answer next.
    fn answered(&mut self, page: &Page, outcome: Outcome) -> Outcome {
        if outcome == Outcome::Resume
            && let Some(decision) = self.decide(Event::Answer, 0)
            && let Action::Scribble { steps } = decision.action
        {
            self.trick(decision, Trick::Scribble(page.gpa, steps));
        }
        outcome
    }

    fn act(
        &mut self,
        level: &mut Level,
        page: &Page,
        event: Event,
        list: Option<&List>,
        decision: Decision,
    ) -> Outcome {
        let action = decision.action;
        if event == Event::GuestRequest {
            let engine = self.engine;
            let mut honest = |services: &mut S| {
                let outcome = ghcb::handle_vmgexit(level, services);
                firmware::keep(engine, page, services);
                outcome
            };
            if let Some(outcome) = firmware::act(engine, action, page, self.services, &mut honest) {
                return outcome;
            }
        }
        match action {
            Action::Ignore => return Outcome::Resume,
            Action::Drop => {
                if let Some(list) = list {
                    list.finish(self.services);
                    for entry in &list.entries {
                        self.forget(decision, *entry);
                    }
                }
                page.answer(result::OK, 0, &[], self.services);
            }
            Action::Fail { code } => {
                let (info1, info2) = match event {
                    // Their errors are in bits 63:32 of an answer that is otherwise fine.
                    Event::PageState => (result::OK, code << 32),
                    Event::GuestRequest => (result::OK, code),
                    _ => (result::MALFORMED, code),
                };
                page.answer(info1, info2, &[], self.services);
            }
            Action::Answer { value } => {
                let registers = [(RAX, value)];
                let registers = if event == Event::PortIn {
                    &registers[..]
                } else {
                    &[]
                };
                page.answer(result::OK, value, registers, self.services);
            }
            Action::Noise => self.noise(page),
            Action::OtherVmsa { .. }
            | Action::OtherVmpl { .. }
            | Action::OtherCpu { .. }
            | Action::Twice { .. } => return self.create(level, page, action),
            _ => match list {
                Some(list) => return self.work(level, page, list, decision),
                // An action for lists, and no list: the honest host has an answer to that.
                None => return ghcb::handle_vmgexit(level, self.services),
            },
        }
        Outcome::Resume
    }

    /// A GHCB full of random values: the answer, the registers, the list.
    fn noise(&mut self, page: &Page) {
        let random = self.engine.random();
        let mut buffer = [0; SHARED_BUFFER_SIZE];
        random.fill(&mut buffer);
        let _ = self
            .services
            .write_shared(page.gpa + SHARED_BUFFER_OFFSET as u64, &buffer);
        // As often as not the first hurdle is taken.
        let info1 = random.next() & random.next() & 3;
        let info2 = random.next() >> random.below(64);
        let registers = [RAX, RBX, RCX, RDX].map(|field| (field, random.next()));
        page.answer(info1, info2, &registers, self.services);
    }

    /// AP creation, with something else than what was asked for.
    fn create(&mut self, level: &mut Level, page: &Page, action: Action) -> Outcome {
        const CPU: u64 = 0xFFFF_FFFF << 32;
        let on = |cpu: u32| page.info1 & !CPU | u64::from(cpu) << 32;
        match action {
            Action::OtherVmsa { gpa } => {
                if let Some(gpa) = self.engine.page(gpa, Some(page.gpa)) {
                    page.set(INFO2, gpa, self.services);
                }
            }
            Action::OtherVmpl { vmpl } => {
                let info1 = page.info1 & !(0xF << 16) | u64::from(vmpl) << 16;
                page.set(INFO1, info1, self.services);
            }
            Action::OtherCpu { cpu } => page.set(INFO1, on(cpu), self.services),
            Action::Twice { cpu } => {
                page.set(INFO1, on(cpu), self.services);
                let _ = ghcb::handle_vmgexit(level, self.services);
                page.restore(self.services);
            }
            _ => {}
        }
        ghcb::handle_vmgexit(level, self.services)
    }

    /// A list of pages, worked on otherwise.
    fn work(&mut self, level: &mut Level, page: &Page, list: &List, decision: Decision) -> Outcome {
        match decision.action {
            Action::Contrary => {
                list.turn(self.services);
                return ghcb::handle_vmgexit(level, self.services);
            }
            Action::Small => {
                for entry in &list.entries {
                    page_state::assign_small(*entry, u64::MAX, self.services);
                }
                list.finish(self.services);
                page.answer(result::OK, 0, &[], self.services);
                return Outcome::Resume;
            }
            Action::Pause => {
                let random = self.engine.random();
                let serve = |services: &mut S| ghcb::handle_vmgexit(level, services);
                return list.pause(page, random, self.services, serve);
            }
            _ => {}
        }
        let outcome = ghcb::handle_vmgexit(level, self.services);
        match decision.action {
            Action::Unmoved => list.set_header(list.first, list.last, self.services),
            Action::Backwards => {
                // Once forward, so that there is something to go back from the next time.
                let back = list.first.checked_sub(1).unwrap_or(list.last.min(1));
                list.set_header(back, list.last, self.services);
            }
            Action::Shorten => {
                list.set_header(list.first + 1, list.first, self.services);
            }
            other => self.besides(decision, other, &list.entries),
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
