// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the firmware that are dropped, replayed, spoilt; vCPUs that are created otherwise.

use super::{ALL_WELL, Attack, End, HOST, NOT_SERVED, Told, lives, on_two, stops};

pub(in super::super) const FIRMWARE: &[Attack] = &[
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

pub(in super::super) const VCPUS: &[Attack] = &[
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
