// SPDX-License-Identifier: MIT OR Apache-2.0
//! What PVALIDATE and RMPADJUST say (24594, volume 3), as the core wants to know it.

use snp_defs::rmp::RmpResult;
use svsm::platform::PageError;

/// What stands for EAX and CF when the instruction did not end: the page is not there.
pub const MISSING: u64 = u64::MAX;

/// An instruction's outcome: EAX in bits 31:0, CF ("nothing was changed") in bit 32, or
/// [`MISSING`].
#[inline]
pub fn page_result(outcome: u64) -> Result<(), PageError> {
    const SIZE_MISMATCH: u32 = RmpResult::FailSizeMismatch as u32;
    match outcome {
        0 => Ok(()),
        MISSING => Err(PageError::NotPresent),
        _ => Err(match outcome as u32 {
            0 => PageError::Unchanged,
            SIZE_MISMATCH => PageError::SizeMismatch,
            code => PageError::Refused(code),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        assert_eq!(page_result(0), Ok(()));
        assert_eq!(page_result(1 << 32), Err(PageError::Unchanged));
        assert_eq!(page_result(6), Err(PageError::SizeMismatch));
        assert_eq!(page_result((1 << 32) | 6), Err(PageError::SizeMismatch));
        assert_eq!(page_result(2), Err(PageError::Refused(2)));
        assert_eq!(
            page_result(0xFFFF_FFFF),
            Err(PageError::Refused(0xFFFF_FFFF))
        );
        assert_eq!(page_result(MISSING), Err(PageError::NotPresent));
    }
}
