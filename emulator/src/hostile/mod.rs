// SPDX-License-Identifier: MIT OR Apache-2.0
//! A host that misbehaves on purpose, by a script or by chance.
//!
//! The honest host is the rest of the emulator, and it is not touched: the hostile one stands between it and the guest. It
//! sees each request before the honest host does and each answer before the guest does, and may do something else
//! instead. What it does is what a host's owner could make real hardware do, and no more: the RMP, the firmware
//! and the VMSA checks stay in force against it.
//!
//! | module | what |
//! |---|---|
//! | `event` | when it can misbehave |
//! | `action` | what it can do |
//! | `words`, `language` | scripts |
//! | `engine` | which rule acts, and how often each did |
//! | `vmgexit` | in place of [`crate::snp::ghcb::handle_vmgexit`] |
//! | `page_state`, `firmware`, `answer` | lists of pages, messages, and how an answer is written |
//! | `mailbox` | messages to the firmware, as the host remembers them |
//! | `exits` | at any exit ([`Engine::at_exit`]) |
//! | `launch` | what the image's parameters say |
//! | `trick` | what only the bare-metal half can do: pages, registers, interrupts |
//!
//! The emulator itself watches for what must never happen, whatever its host does ([`Trick::Breach`]).
#![forbid(unsafe_code)]

pub mod action;
mod answer;
pub mod engine;
pub mod event;
mod exits;
mod firmware;
pub mod language;
pub mod launch;
mod mailbox;
mod page_state;
pub mod random;
pub mod trick;
pub mod vmgexit;
pub mod words;

pub use action::Action;
pub use engine::{Engine, Record};
pub use event::{Event, Occasion};
pub use language::Script;
pub use trick::{Breach, Trick};
pub use vmgexit::handle_vmgexit;
