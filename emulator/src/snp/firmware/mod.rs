// SPDX-License-Identifier: MIT OR Apache-2.0
//! The security firmware (the "PSP"): what it does for a guest at launch and while it runs.
//!
//! * `launch`: pages enter the guest and its launch digest. [`Launch::start`], then
//!   [`Launch::update`] for each page, then [`Launch::finish`], which gives a [`Guest`].
//! * `secrets`: the page that gives a guest its keys to talk to the firmware
//!   ([`Launch::secrets_page`]); `id_block`: what the guest's owner signed about it.
//! * `messages`: the talk. [`Guest::request`] takes an encrypted page and gives one back.
//! * `identity`: who the guest is. `report`: attestation reports; `keys`: derived keys and
//!   everything that is secret here; [`certificates`]: who vouches for the key that signs reports.
//!
//! Every key comes from a fixed seed, and the certificates call themselves EMULATED: a report of
//! this firmware proves nothing to anybody.
//!
//! Source: 56860, SEV-SNP firmware ABI.
#![forbid(unsafe_code)]

pub mod certificates;
mod id_block;
mod identity;
mod keys;
pub mod launch;
mod messages;
mod report;
mod secrets;

pub use id_block::IdBlock;
pub use identity::LaunchDigest;
pub use launch::{Launch, Measured, contents_digest};
pub use messages::Guest;

/// How a command of the firmware ended (56860, table "Status Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Success = 0x00,
    /// The guest is not in a state in which it can do this.
    InvalidGuestState = 0x02,
    /// A length is wrong.
    InvalidLength = 0x04,
    /// The guest's policy forbids it.
    PolicyFailure = 0x07,
    /// An address is wrong.
    InvalidAddress = 0x09,
    /// A signature is wrong.
    BadSignature = 0x0A,
    /// A digest or an authentication tag is wrong.
    BadMeasurement = 0x0B,
    /// This firmware does not do it.
    Unsupported = 0x15,
    /// A parameter is wrong.
    InvalidParameter = 0x16,
    /// The page is not in the state that is needed.
    InvalidPageState = 0x1A,
    /// A sequence number has no successor.
    AeadOverflow = 0x1D,
    /// A key that was asked for is not there.
    InvalidKey = 0x27,
}
