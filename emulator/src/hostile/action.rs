// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hostile host does instead of what it is there for.

/// A page, as a script names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A guest-physical address.
    Address(u64),
    /// Bytes from the start of the SVSM's region.
    Svsm(u64),
    /// The GHCB of the vCPU and VMPL at hand.
    Ghcb,
    /// Any page that the image fills in the SVSM's region.
    AnySvsm,
    /// Any page that the image fills outside of it.
    AnyGuest,
}

/// A misdeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Say that it is done, and do nothing. What was to become private never does.
    Drop,
    /// Say that it can't be done.
    Fail {
        /// The error, where the answer has room for one.
        code: u64,
    },
    /// Give this answer and do nothing.
    Answer {
        /// The GHCB MSR, SW_EXITINFO2 of a GHCB, or RAX of a port.
        value: u64,
    },
    /// Give a random answer and do nothing; in a GHCB, overwrite all of it.
    Noise,
    /// Resume the guest as if it had not asked.
    Ignore,

    /// Stop within the list, where chance has it, so that the guest has to call again.
    Pause,
    /// Say that it went well, but leave the list where it stands.
    Unmoved,
    /// Work on the list, then move it back.
    Backwards,
    /// Work on the list, then shorten it.
    Shorten,
    /// Make shared what is to be private, and the other way round.
    Contrary,
    /// Assign 4K pages where 2M are asked for.
    Small,
    /// Do it, and when the guest asks for something else do it again, so that the pages lose their state.
    Repeat,
    /// Do it, with this page of the guest's in the place of a fresh one.
    Steal {
        /// Whose page it is now.
        from: Place,
    },

    /// Do it, and run the same VMSA on this vCPU too.
    Twice {
        /// Number of the vCPU.
        cpu: u32,
    },
    /// Run it on this vCPU instead.
    OtherCpu {
        /// Number of the vCPU.
        cpu: u32,
    },
    /// Run what lies here as the VMSA.
    OtherVmsa {
        /// The page.
        gpa: Place,
    },
    /// Run the VMSA at this VMPL.
    OtherVmpl {
        /// The VMPL.
        vmpl: u8,
    },

    /// Give the firmware's last answer again and don't ask it.
    Replay,
    /// Send the message twice, and give the firmware's second status.
    AskTwice,
    /// Flip a bit of the firmware's answer.
    Corrupt,
    /// Cut the firmware's answer in two, and keep the second half.
    Truncate,
    /// Say that the host is busy, and don't ask the firmware.
    Busy,
    /// Ask the firmware, and say that the host was busy.
    ServedBusy,
    /// Say that the certificates take this many pages.
    Length {
        /// The number.
        pages: u64,
    },

    /// While the SVSM reads the answer, write random values into the GHCB after each of this many instructions.
    Scribble {
        /// The number.
        steps: u32,
    },

    /// Take the page from the guest and make it shared.
    Unassign {
        /// The page.
        gpa: Place,
    },
    /// Give the page to the guest once more: not validated, its contents undefined.
    Reassign {
        /// The page.
        gpa: Place,
    },
    /// Put another host page in its place, with its own entry in the RMP, or the first one back.
    Exchange {
        /// The page.
        gpa: Place,
    },
    /// Take the page, and never give it back.
    Withhold {
        /// The page.
        gpa: Place,
    },
    /// Assign the host page behind `to` to the guest at `gpa`, contents and all.
    Remap {
        /// Where it is from now on.
        gpa: Place,
        /// Where it was.
        to: Place,
    },
    /// Have the nested tables lead from `gpa` to the host page behind `to`, whose RMP entry says `to`.
    DoubleMap {
        /// The wrong address.
        gpa: Place,
        /// The right address.
        to: Place,
    },
    /// Inject this vector as an exception or an interrupt.
    Inject {
        /// The vector.
        vector: u8,
    },
    /// Inject #HV.
    Signal,
    /// Run this VMPL of the vCPU, unasked.
    Resume {
        /// The VMPL.
        vmpl: u8,
    },
    /// Pull the plug.
    Stop,

    /// Leave it out.
    Missing,
    /// Leave out the end of it.
    Short,
    /// Say that the SVSM's region, too, is memory of the guest's.
    Overlap,
    /// Leave out a leaf of CPUID.
    Hide {
        /// Its number.
        leaf: u32,
    },
    /// Flip a bit.
    Flip,
}
