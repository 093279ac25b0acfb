// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a host can misbehave.

/// What happens, from the host's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The guest asks for protocol versions and C-bit.
    SevInfo,
    /// The guest asks for the hypervisor's features.
    HvFeatures,
    /// The guest registers its GHCB.
    RegisterGhcb,
    /// The guest asks for CPUID.
    Cpuid,
    /// The guest asks for a page state change, by either protocol.
    PageState,
    /// The guest creates or destroys a vCPU.
    ApCreation,
    /// The guest sends a message to the firmware, with or without certificates.
    GuestRequest,
    /// The guest asks for another VMPL to run, by either protocol.
    RunVmpl,
    /// The guest asks to be ended.
    Terminate,
    /// The guest reads a port.
    PortIn,
    /// A request that came through the GHCB page was answered.
    Answer,
    /// A VMPL stopped, for whatever reason.
    Exit,
    /// The loader fills in the memory map of the image's parameters.
    MemoryMap,
    /// The loader fills in the CPUID page.
    CpuidPage,
    /// The loader puts a measured page into memory.
    ImagePage,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SevInfo,
        Self::HvFeatures,
        Self::RegisterGhcb,
        Self::Cpuid,
        Self::PageState,
        Self::ApCreation,
        Self::GuestRequest,
        Self::RunVmpl,
        Self::Terminate,
        Self::PortIn,
        Self::Answer,
        Self::Exit,
        Self::MemoryMap,
        Self::CpuidPage,
        Self::ImagePage,
    ];

    /// Its name in a script.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevInfo => "sev-info",
            Self::HvFeatures => "hv-features",
            Self::RegisterGhcb => "register-ghcb",
            Self::Cpuid => "cpuid",
            Self::PageState => "psc",
            Self::ApCreation => "ap-create",
            Self::GuestRequest => "guest-request",
            Self::RunVmpl => "run-vmpl",
            Self::Terminate => "terminate",
            Self::PortIn => "port-in",
            Self::Answer => "answer",
            Self::Exit => "exit",
            Self::MemoryMap => "memory-map",
            Self::CpuidPage => "cpuid-page",
            Self::ImagePage => "image-page",
        }
    }

    /// The event with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    /// The loader's: there is no vCPU yet.
    pub const fn is_launch(self) -> bool {
        matches!(self, Self::MemoryMap | Self::CpuidPage | Self::ImagePage)
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(u16);

impl Events {
    /// The set of these.
    pub const fn of(events: &[Event]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < events.len() {
            bits |= events[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Whether `event` is in it.
    pub const fn has(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }
}

/// An event, and who is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// What happens.
    pub event: Event,
    /// VMPL of the vCPU; 0 during the launch.
    pub vmpl: u8,
    /// Number of the vCPU; 0 during the launch.
    pub cpu: u32,
    /// The operation of a page state change, the code of an exit, the address of a page of the image; 0 elsewhere.
    pub detail: u64,
}

impl Occasion {
    /// An event of the launch.
    pub const fn launch(event: Event, detail: u64) -> Self {
        Self {
            event,
            vmpl: 0,
            cpu: 0,
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
            assert_eq!(Event::find(event.name()), Some(event));
        }
        assert_eq!(Event::find("nothing"), None);
    }

    #[test]
    fn sets_have_what_they_were_made_of() {
        let set = Events::of(&[Event::PageState, Event::ImagePage]);
        for event in Event::ALL {
            let expected = matches!(event, Event::PageState | Event::ImagePage);
            assert_eq!(set.has(event), expected);
        }
    }
}
