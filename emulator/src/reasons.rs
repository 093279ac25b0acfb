// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reasons for which a guest ends itself, in words.

use emulator::snp::ghcb::Termination;
use snp_defs::msr::terminate;

/// Who has a reason, and what it means (56421, 2.3.1).
pub(crate) fn in_words(termination: Termination) -> (&'static str, &'static str) {
    let (owner, meanings): (_, &[&str]) = match termination.set {
        terminate::SET_GENERAL => ("GHCB specification", &terminate::GENERAL),
        terminate::SET_LINUX => ("Linux", &terminate::LINUX),
        terminate::SET_PARAPET => ("Parapet", &terminate::PARAPET),
        _ => ("nobody known", &[]),
    };
    let meaning = meanings.get(usize::from(termination.code));
    (owner, meaning.copied().unwrap_or("a reason that is not in its table"))
}
