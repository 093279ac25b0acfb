// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that are taken, exchanged and mapped twice, under the SVSM and under the guest; and chance.

use super::{
    ALL_WELL, Attack, End, MEMORY, MEMORY_OR_WORSE, SHARED, Told, UNCHANGED, lives, on_two, reason,
    stops,
};

/// When the guest has written its first lines.
pub(in super::super) const PAGES_OF_THE_SVSM: &[Attack] = &[
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

pub(in super::super) const PAGES_OF_THE_GUEST: &[Attack] = &[
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

pub(in super::super) const CHANCE: &[Attack] = &[
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
