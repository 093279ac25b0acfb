// SPDX-License-Identifier: MIT OR Apache-2.0
//! What PVALIDATE and RMPADJUST say (24594, volume 3), as the core wants to know it.

use snp_defs::rmp::RmpResult;
use svsm::platform::PageError;

/// What stands for EAX when the instruction did not end: the page is not there. No result is this.
pub const MISSING: u32 = u32::MAX;

/// What EAX and CF ("nothing was changed") say.
#[inline]
pub fn page_result(eax: u32, unchanged: bool) -> Result<(), PageError> {
    const SUCCESS: u32 = RmpResult::Success as u32;
    const SIZE_MISMATCH: u32 = RmpResult::FailSizeMismatch as u32;
    match eax {
        SUCCESS if unchanged => Err(PageError::Unchanged),
        SUCCESS => Ok(()),
        SIZE_MISMATCH => Err(PageError::SizeMismatch),
        MISSING => Err(PageError::NotPresent),
        code => Err(PageError::Refused(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        assert_eq!(page_result(0, false), Ok(()));
        assert_eq!(page_result(0, true), Err(PageError::Unchanged));
        assert_eq!(page_result(6, false), Err(PageError::SizeMismatch));
        assert_eq!(page_result(6, true), Err(PageError::SizeMismatch));
        assert_eq!(page_result(2, false), Err(PageError::Refused(2)));
        assert_eq!(page_result(MISSING, false), Err(PageError::NotPresent));
        assert_eq!(page_result(MISSING, true), Err(PageError::NotPresent));
    }
}
