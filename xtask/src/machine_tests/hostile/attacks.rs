// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attacks, and how each has to end.

use emulator_defs::exit::RunEnd;

use super::lab::Outcome;

/// A script and what has to come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attack {
    /// What is tried.
    pub(super) name: &'static str,
    /// Number of vCPUs.
    pub(super) cpus: Cpus,
    /// The script, with names of places in braces.
    pub(super) script: &'static str,
    /// How the run may end.
    pub(super) ends: &'static [End],
    /// What the guest tells, where the machine lives.
    pub(super) notes: &'static [(&'static str, Told)],
    /// The image is not the one that was built, and the report has to show it.
    pub(super) changes_the_image: bool,
}

/// Number of vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cpus {
    One,
    Two,
}

/// An end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The guest comes to its end and powers off.
    Lives,
    /// The SVSM ends the machine with this reason.
    Svsm(u8),
    /// The guest sees that something is wrong and gives up.
    GuestGivesUp,
    /// The SVSM or the guest does what hardware does not let it do, since the host did not do its part. The report has
    /// this text.
    Refused(&'static str),
    /// The host itself keeps a vCPU from going on.
    HostStopped,
    /// There is no memory left to report from: page tables, code or stack of the handler are gone.
    Shutdown,
    /// Nothing can run any more.
    Deadlock,
}

/// What a guest tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It worked.
    Done,
    /// It did not.
    Refused,
    /// This very number.
    Is(u64),
}

/// The reasons of the SVSM.
mod reason {
    pub(super) use snp_defs::msr::terminate::parapet::{FEATURES, HOST_PROTOCOL, LAUNCH, MEMORY};
}

impl End {
    pub(super) fn fits(&self, seen: &Outcome) -> bool {
        let terminated = |set: u8| {
            seen.end == Some(RunEnd::Terminated)
                && seen.report.contains(&format!("reason set {set}, code "))
        };
        match *self {
            Self::Lives => {
                seen.end == Some(RunEnd::PowerOff) && seen.finished && seen.gave_up.is_none()
            }
            Self::Svsm(code) => {
                terminated(2) && seen.report.contains(&format!("reason set 2, code {code}:"))
            }
            Self::GuestGivesUp => {
                terminated(1) || seen.end == Some(RunEnd::PowerOff) && seen.gave_up.is_some()
            }
            Self::Refused(text) => {
                seen.end == Some(RunEnd::RuleViolation) && seen.report.contains(text)
            }
            Self::HostStopped => seen.end == Some(RunEnd::HostStopped),
            Self::Shutdown => seen.end == Some(RunEnd::Shutdown),
            Self::Deadlock => seen.end == Some(RunEnd::Deadlock),
        }
    }
}

impl Told {
    pub(super) fn fits(self, value: u64) -> bool {
        match self {
            Self::Done => value == 0,
            Self::Refused => value != 0,
            Self::Is(number) => value == number,
        }
    }
}

/// No result at all: the call was not served.
const NOT_SERVED: Told = Told::Is(u64::MAX);
/// PVALIDATE_FAIL_UNCHANGED.
const UNCHANGED: Told = Told::Is(0x8000_1010);

const BASE: Attack = Attack {
    name: "",
    cpus: Cpus::One,
    script: "",
    ends: &[],
    notes: &[],
    changes_the_image: false,
};

/// An attack that ends the machine, or has to.
const fn stops(name: &'static str, script: &'static str, ends: &'static [End]) -> Attack {
    Attack {
        name,
        script,
        ends,
        ..BASE
    }
}

/// An attack that the SVSM and its guest live with.
const fn lives(
    name: &'static str,
    script: &'static str,
    notes: &'static [(&'static str, Told)],
) -> Attack {
    Attack {
        name,
        script,
        ends: &[End::Lives],
        notes,
        ..BASE
    }
}

const fn on_two(attack: Attack) -> Attack {
    Attack {
        cpus: Cpus::Two,
        ..attack
    }
}

const HOST: &[End] = &[End::Svsm(reason::HOST_PROTOCOL)];
const FEATURES: &[End] = &[End::Svsm(reason::FEATURES)];
const LAUNCHED: &[End] = &[End::Svsm(reason::LAUNCH)];
const MEMORY: &[End] = &[End::Svsm(reason::MEMORY)];
/// The page that is gone may be one that telling about it takes.
const MEMORY_OR_WORSE: &[End] = &[End::Svsm(reason::MEMORY), End::Shutdown];
const SHARED: &[End] = &[End::Refused("shared access")];

/// All goes well.
const ALL_WELL: &[(&str, Told)] = &[
    ("alive", Told::Done),
    ("report 1", Told::Done),
    ("report 2", Told::Done),
    ("report 3", Told::Done),
    ("validate", Told::Done),
    ("alive at the end", Told::Done),
];

pub(super) const LAUNCH: &[Attack] = &[
    stops("no memory map", "memory-map: missing", LAUNCHED),
    stops("a short memory map", "memory-map: short", LAUNCHED),
    stops("noise for a memory map", "memory-map: noise", LAUNCHED),
    lives(
        "a memory map with the SVSM in it",
        "memory-map: overlap",
        ALL_WELL,
    ),
    stops(
        "a CPUID page without INVLPGB",
        "cpuid-page: hide leaf=0x80000008",
        FEATURES,
    ),
    stops(
        "a CPUID page without a C-bit",
        "cpuid-page: hide leaf=0x8000001f",
        FEATURES,
    ),
    Attack {
        changes_the_image: true,
        ..lives(
            "another image",
            "image-page gpa={ACPI tables}: flip",
            ALL_WELL,
        )
    },
];

pub(super) const ANSWERS: &[Attack] = &[
    stops("no SEV information", "sev-info vmpl=0: drop", HOST),
    stops(
        "another C-bit",
        "sev-info vmpl=0: answer value=0x000200022f000001",
        FEATURES,
    ),
    stops(
        "a protocol of the future",
        "sev-info vmpl=0: answer value=0x0009000833000001",
        FEATURES,
    ),
    stops("no features", "hv-features vmpl=0: none", FEATURES),
    stops("no GHCB", "register-ghcb vmpl=0: refuse", HOST),
    stops(
        "another GHCB",
        "register-ghcb vmpl=0: answer value=0x5013",
        HOST,
    ),
    stops(
        "a GHCB that is not registered",
        "register-ghcb vmpl=0: drop",
        HOST,
    ),
    stops(
        "a GHCB that is not shared",
        "psc vmpl=0 nth=1: drop",
        SHARED,
    ),
    stops("sharing refused", "psc vmpl=0 nth=1: fail code=7", HOST),
    stops(
        "sharing answered with noise",
        "psc vmpl=0 nth=1: noise",
        HOST,
    ),
    stops(
        "pages for messages that are not shared",
        "psc vmpl=0 nth=2: drop",
        SHARED,
    ),
    stops(
        "memory that never comes",
        "psc vmpl=0 op=private nth=1: drop",
        &[End::HostStopped],
    ),
    stops(
        "memory refused",
        "psc vmpl=0 op=private nth=1: fail code=0x100",
        HOST,
    ),
    stops(
        "a list that is never worked on",
        "psc vmpl=0 op=private: unmoved",
        HOST,
    ),
    stops(
        "a list that goes backwards",
        "psc vmpl=0 op=private: backwards",
        HOST,
    ),
    stops(
        "a list that gets shorter",
        "psc vmpl=0 op=private: shorten",
        HOST,
    ),
    stops(
        "noise for a list",
        "psc vmpl=0 op=private nth=1: noise",
        HOST,
    ),
    lives(
        "shared memory for private",
        "psc vmpl=0 op=private nth=1: contrary",
        ALL_WELL,
    ),
    lives(
        "small pages for large ones",
        "psc vmpl=0 op=private nth=1: small",
        ALL_WELL,
    ),
    stops(
        "memory that comes twice",
        "psc vmpl=0 op=private: repeat",
        &[End::GuestGivesUp, End::Svsm(reason::MEMORY)],
    ),
    stops(
        "a page of the SVSM's before the guest runs",
        "psc vmpl=0 op=private nth=1: steal from={heap - 3}",
        MEMORY,
    ),
    lives(
        "an entry that returns at once",
        "run-vmpl vmpl=0 every=3: drop",
        ALL_WELL,
    ),
    stops("no entry", "run-vmpl vmpl=0 nth=1: refuse", HOST),
    stops("noise for an entry", "run-vmpl vmpl=0 nth=9: noise", HOST),
    lives(
        "a call that is not passed on",
        "run-vmpl vmpl=2 nth=60: drop",
        &[("report 1", Told::Done), ("changes refused", Told::Refused)],
    ),
    lives(
        "a call that is refused",
        "run-vmpl vmpl=2 nth=60: refuse",
        &[("report 1", Told::Done), ("changes refused", Told::Refused)],
    ),
    lives(
        "the SVSM is resumed unasked",
        "exit vmpl=2 every=7: resume vmpl=0",
        ALL_WELL,
    ),
    lives(
        "the SVSM is signalled",
        "exit vmpl=0 from=100 every=11: signal",
        ALL_WELL,
    ),
    lives(
        "exceptions for the SVSM",
        "exit vmpl=0 every=5: inject vector=13\nexit vmpl=0 every=7: inject vector=32",
        ALL_WELL,
    ),
    stops(
        "an end that is not granted",
        "hv-features vmpl=0: none\nterminate: ignore",
        &[End::Deadlock],
    ),
    stops(
        "no port when there is something to say",
        "exit vmpl=2 nth=400: unassign gpa={CPU 0, stack - 1}\nport-in vmpl=0: answer value=0",
        MEMORY,
    ),
    scribble(
        "a GHCB that changes while it is read, 1",
        "seed 1\nanswer vmpl=0: scribble steps=64",
    ),
    scribble(
        "a GHCB that changes while it is read, 2",
        "seed 2\nanswer vmpl=0: scribble steps=64",
    ),
    scribble(
        "a GHCB that changes while it is read, 3",
        "seed 3\nanswer vmpl=0 from=3: scribble steps=200",
    ),
    scribble(
        "a GHCB that changes while it is read, 4",
        "seed 4\nanswer vmpl=0 from=8: scribble steps=200",
    ),
];

/// Whatever the SVSM reads there: it goes on, or it ends the machine because the host broke the protocol. It may lose
/// its reports.
const fn scribble(name: &'static str, script: &'static str) -> Attack {
    stops(
        name,
        script,
        &[End::Svsm(reason::HOST_PROTOCOL), End::Lives],
    )
}

pub(super) const FIRMWARE: &[Attack] = &[
    refuses("an answer that never comes", "guest-request nth=1: drop"),
    Attack {
        notes: &[
            ("report 1", Told::Done),
            ("report 2", Told::Refused),
            ("report 3", Told::Refused),
            ("alive at the end", Told::Done),
        ],
        ..refuses("an old answer", "guest-request nth=2: replay")
    },
    refuses("a bit is flipped, 1", "guest-request nth=1: corrupt"),
    refuses(
        "a bit is flipped, 2",
        "seed 2\nguest-request nth=1: corrupt",
    ),
    refuses(
        "a bit is flipped, 3",
        "seed 3\nguest-request nth=1: corrupt",
    ),
    refuses("half an answer", "guest-request nth=1: truncate"),
    refuses("noise for an answer", "guest-request nth=1: noise"),
    refuses("an error", "guest-request nth=1: fail code=0x16"),
    refuses(
        "a message that is sent twice",
        "guest-request nth=1: ask-twice",
    ),
    refuses(
        "an answer that is denied",
        "guest-request nth=1: served-busy",
    ),
    refuses(
        "certificates nobody asked for",
        "guest-request nth=1: length pages=0xffffffff",
    ),
    lives(
        "a host that is busy for a while",
        "guest-request times=3: busy",
        ALL_WELL,
    ),
    lives(
        "a host that is busy for ever",
        "guest-request: busy",
        &[
            ("report 1", Told::Refused),
            ("report 2", Told::Refused),
            ("report 3", Told::Refused),
            ("alive at the end", Told::Done),
        ],
    ),
    lives(
        "a host that is busy until the second question",
        "guest-request times=8: busy",
        &[
            ("report 1", Told::Refused),
            ("report 2", Told::Done),
            ("report 3", Told::Done),
        ],
    ),
];

/// After this there are no reports any more, and all else works.
const fn refuses(name: &'static str, script: &'static str) -> Attack {
    lives(
        name,
        script,
        &[
            ("report 1", Told::Refused),
            ("report 2", Told::Refused),
            ("report 3", Told::Refused),
            ("validate", Told::Done),
            ("alive at the end", Told::Done),
        ],
    )
}

pub(super) const VCPUS: &[Attack] = &[
    stops(
        "the guest's first vCPU is not created",
        "ap-create vmpl=0 nth=1: drop",
        HOST,
    ),
    stops(
        "the guest's first vCPU is refused",
        "ap-create vmpl=0 nth=1: fail",
        HOST,
    ),
    stops(
        "the guest's first vCPU is another page",
        "ap-create vmpl=0 nth=1: other-vmsa gpa={heap - 3}",
        &[End::Deadlock],
    ),
    on_two(lives(
        "the SVSM's second CPU is not created",
        "ap-create vmpl=0 nth=2: drop",
        &[("alive at the end", Told::Done), ("its call", NOT_SERVED)],
    )),
    on_two(stops(
        "the SVSM's second CPU is refused",
        "ap-create vmpl=0 nth=2: fail",
        HOST,
    )),
    on_two(lives(
        "the SVSM's second CPU is another page",
        "ap-create vmpl=0 nth=2: other-vmsa gpa={heap - 3}",
        &[("alive at the end", Told::Done), ("its call", NOT_SERVED)],
    )),
    on_two(lives(
        "the SVSM's second CPU at another VMPL",
        "ap-create vmpl=0 nth=2: other-vmpl vmpl=1",
        &[("alive at the end", Told::Done), ("its call", NOT_SERVED)],
    )),
    on_two(stops(
        "the SVSM's second CPU on the first",
        "ap-create vmpl=0 nth=2: other-cpu cpu=0",
        HOST,
    )),
    on_two(lives(
        "the guest's second vCPU is not created",
        "ap-create vmpl=2: drop",
        &[
            ("alive at the end", Told::Done),
            ("its call", Told::Is(0xFFFF)),
        ],
    )),
    on_two(lives(
        "the guest's second vCPU is a page of the SVSM's",
        "ap-create vmpl=2: other-vmsa gpa={heap - 3}",
        &[
            ("alive at the end", Told::Done),
            ("its call", Told::Is(0xFFFF)),
        ],
    )),
    on_two(lives(
        "the SVSM is resumed unasked on both CPUs",
        "exit vmpl=2 every=5: resume vmpl=0",
        &[
            ("report 1", Told::Done),
            ("its call", Told::Done),
            ("alive at the end", Told::Done),
        ],
    )),
    on_two(lives(
        "the SVSM's VMSA is taken while it waits",
        "exit vmpl=2 nth=300: reassign gpa={CPU 1, VMSA}",
        &[
            ("alive at the end", Told::Done),
            ("its call", Told::Is(0xFFFF)),
        ],
    )),
];

/// When the guest has written its first lines.
pub(super) const PAGES_OF_THE_SVSM: &[Attack] = &[
    stops(
        "its stack is unassigned",
        "exit vmpl=2 nth=400: unassign gpa={CPU 0, stack - 1}",
        MEMORY,
    ),
    stops(
        "its stack is reassigned",
        "exit vmpl=2 nth=400: reassign gpa={CPU 0, stack - 1}",
        MEMORY,
    ),
    stops(
        "its stack is exchanged",
        "exit vmpl=2 nth=400: exchange gpa={CPU 0, stack - 1}",
        MEMORY,
    ),
    stops(
        "its stack is given to the guest",
        "exit vmpl=2 nth=400: remap gpa={watched} to={CPU 0, stack - 1}",
        MEMORY,
    ),
    stops(
        "its stack is another page of its own",
        "exit vmpl=2 nth=400: remap gpa={CPU 0, stack - 1} to={heap - 3}",
        MEMORY,
    ),
    stops(
        "its stack is mapped to another page of its own",
        "exit vmpl=2 nth=400: double-map gpa={CPU 0, stack - 1} to={heap - 3}",
        &[End::HostStopped],
    ),
    stops(
        "its stack is kept",
        "exit vmpl=2 nth=400: withhold gpa={CPU 0, stack - 1}",
        &[End::HostStopped],
    ),
    stops(
        "its event stack is unassigned",
        "exit vmpl=2 nth=400: unassign gpa={CPU 0, event stack}\n\
         exit vmpl=2 nth=400: unassign gpa={CPU 0, stack - 1}",
        MEMORY_OR_WORSE,
    ),
    stops(
        "its per-CPU data is unassigned",
        "exit vmpl=2 nth=400: unassign gpa={CPU 0, data}",
        MEMORY_OR_WORSE,
    ),
    stops(
        "its page tables are unassigned",
        "exit vmpl=2 nth=400: unassign gpa={page tables + 0}",
        MEMORY_OR_WORSE,
    ),
    stops(
        "its GHCB is taken back",
        "exit vmpl=2 nth=5: reassign gpa={CPU 0, GHCB}",
        SHARED,
    ),
    stops(
        "its pages for messages are taken back",
        "exit vmpl=2 nth=5: reassign gpa={pages for messages}\n\
         exit vmpl=2 nth=5: unassign gpa={heap - 3}",
        &[
            End::Refused("shared access"),
            End::Svsm(reason::MEMORY),
            End::Lives,
        ],
    ),
    lives(
        "its stack is exchanged and comes back before it is used",
        "exit vmpl=2 nth=400: exchange gpa={CPU 0, double-fault stack}\n\
         exit vmpl=2 nth=401: exchange gpa={CPU 0, double-fault stack}",
        ALL_WELL,
    ),
    any_page(
        "any page is unassigned, 1",
        "seed 1\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
    any_page(
        "any page is unassigned, 2",
        "seed 2\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
    any_page(
        "any page is unassigned, 3",
        "seed 3\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
    any_page(
        "any page is unassigned, 4",
        "seed 4\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
    any_page(
        "any page is unassigned, 5",
        "seed 5\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
    any_page(
        "any page is unassigned, 6",
        "seed 6\nexit vmpl=2 from=400 every=50 times=8: unassign gpa=any-svsm",
    ),
];

/// Pages at random, until one is needed. Some are never used again.
const fn any_page(name: &'static str, script: &'static str) -> Attack {
    stops(
        name,
        script,
        &[
            End::Svsm(reason::MEMORY),
            End::Shutdown,
            End::HostStopped,
            End::Refused("shared access"),
            End::Lives,
        ],
    )
}

pub(super) const PAGES_OF_THE_GUEST: &[Attack] = &[
    lives(
        "a page is unassigned",
        "exit vmpl=2 nth=400: unassign gpa={watched}",
        &[
            ("validate it again", UNCHANGED),
            ("alive at the end", Told::Done),
        ],
    ),
    lives(
        "a page is reassigned",
        "exit vmpl=2 nth=400: reassign gpa={watched}",
        &[
            ("validate it again", UNCHANGED),
            ("alive at the end", Told::Done),
        ],
    ),
    lives(
        "a page is exchanged",
        "exit vmpl=2 nth=400: exchange gpa={watched}",
        &[
            ("validate it again", UNCHANGED),
            ("alive at the end", Told::Done),
        ],
    ),
    lives(
        "a page is exchanged and comes back",
        "exit vmpl=2 nth=400: exchange gpa={watched}\nexit vmpl=2 nth=3500: exchange gpa={watched}",
        &[
            ("validate it again", UNCHANGED),
            ("alive at the end", Told::Done),
        ],
    ),
    lives(
        "a page takes the place of its neighbour",
        "exit vmpl=2 nth=400: remap gpa={watched} to={next to watched}",
        &[
            ("validate it again", UNCHANGED),
            ("alive at the end", Told::Done),
        ],
    ),
    stops(
        "a page is mapped to its neighbour",
        "exit vmpl=2 nth=400: double-map gpa={watched} to={next to watched}",
        &[End::HostStopped],
    ),
    stops(
        "a page of the SVSM's that it uses comes back for one of the guest's",
        "psc vmpl=2 op=private: steal from={CPU 0, stack - 1}",
        MEMORY,
    ),
    lives(
        "a page of the SVSM's that it does not use comes back for one of the guest's",
        "psc vmpl=2 op=private: steal from={CPU 0, double-fault stack}",
        ALL_WELL,
    ),
    stops(
        "a page does not come back",
        "psc vmpl=2 op=private: drop",
        &[End::HostStopped],
    ),
    lives(
        "a page does not come back, and the host says so",
        "psc vmpl=2 op=private: fail code=0x100",
        &[
            ("make private", Told::Refused),
            ("alive at the end", Told::Done),
        ],
    ),
    stops(
        "a page is not shared",
        "psc vmpl=2 op=shared nth=2: drop",
        SHARED,
    ),
    lives(
        "a page comes back shared",
        "psc vmpl=2 op=private: contrary",
        ALL_WELL,
    ),
    lives(
        "a page comes back twice",
        "psc vmpl=2 op=private: repeat",
        ALL_WELL,
    ),
];

pub(super) const CHANCE: &[Attack] = &[
    chance("seed 1", "fuzz seed=1 rate=1/12 exits=1/400"),
    chance("seed 2", "fuzz seed=2 rate=1/12 exits=1/400"),
    chance("seed 3", "fuzz seed=3 rate=1/25 exits=1/1000"),
    chance("seed 4", "fuzz seed=4 rate=1/25 exits=1/1000"),
    chance("seed 5", "fuzz seed=5 rate=1/50 exits=1/100"),
    chance("seed 6", "fuzz seed=6 rate=1/50 exits=1/100"),
    on_two(chance("seed 7", "fuzz seed=7 rate=1/25 exits=1/500")),
    on_two(chance("seed 8", "fuzz seed=8 rate=1/25 exits=1/500")),
    on_two(chance("seed 9", "fuzz seed=9 rate=1/100 exits=1/100")),
    on_two(chance("seed 10", "fuzz seed=10 rate=1/100 exits=1/2000")),
];

/// Any end will do but a fault of the SVSM's own, and any that nobody can explain.
const fn chance(name: &'static str, script: &'static str) -> Attack {
    stops(
        name,
        script,
        &[
            End::Lives,
            End::Svsm(reason::LAUNCH),
            End::Svsm(reason::HOST_PROTOCOL),
            End::Svsm(reason::MEMORY),
            End::Svsm(reason::FEATURES),
            End::GuestGivesUp,
            End::Refused(""),
            End::HostStopped,
            End::Shutdown,
            End::Deadlock,
        ],
    )
}
