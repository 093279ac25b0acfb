// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lies at the launch, and wrong answers to requests.

use super::{
    ALL_WELL, Attack, End, FEATURES, HOST, LAUNCHED, MEMORY, SHARED, Told, lives, reason, stops,
};

pub(in super::super) const LAUNCH: &[Attack] = &[
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

pub(in super::super) const ANSWERS: &[Attack] = &[
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
    lives("lists worked on bit by bit", "seed 3\npsc: pause", ALL_WELL),
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
        // The guest has no GHCB yet when it meets the first page that is gone, and wants to say so.
        &[
            End::GuestGivesUp,
            End::Svsm(reason::MEMORY),
            End::Refused("shared access"),
        ],
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
