// SPDX-License-Identifier: MIT OR Apache-2.0
//! What changed in the table, whoever changed it, and what follows for who keeps nested tables and
//! memory.

use snp_defs::rmp::RmpSize;

/// Something that changed. The caller acts on it while the block is still locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// First byte of the range, aligned to `size`.
    pub gpa: u64,
    /// Bytes of the range: one page of this size.
    pub size: RmpSize,
    /// What happened.
    pub kind: ChangeKind,
    /// No page of the range was assigned or shared before: its backing was never used.
    pub fresh: bool,
}

/// Kinds of change, as the trace has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The page belongs to the guest now, not validated.
    Assigned,
    /// The page is shared now.
    Unassigned,
    /// A 2M page was split.
    Split,
    /// 512 pages became one of 2M.
    Merged,
    /// PVALIDATE set the validated bit.
    Validated,
    /// PVALIDATE cleared the validated bit.
    Rescinded,
    /// RMPADJUST changed permissions or the VMSA bit.
    Adjusted {
        /// A permission was taken away.
        revokes: bool,
    },
}

impl Change {
    /// Leaves over the range may allow too much now, in either view: clear them in all VMPLs' tables.
    pub const fn revokes(&self) -> bool {
        match self.kind {
            ChangeKind::Assigned | ChangeKind::Unassigned | ChangeKind::Rescinded => true,
            ChangeKind::Adjusted { revokes } => revokes,
            ChangeKind::Split | ChangeKind::Merged | ChangeKind::Validated => false,
        }
    }

    /// The host changed memory that vCPUs may have translations for: it flushes all of them before it
    /// goes on. (After an instruction of the guest the flush is the guest's duty.)
    pub const fn flush(&self) -> bool {
        matches!(self.kind, ChangeKind::Assigned | ChangeKind::Unassigned) && !self.fresh
    }

    /// The contents are undefined now (APM vol. 2, 15.36.5; 56421, SNP page state change).
    pub const fn undefined(&self) -> bool {
        matches!(self.kind, ChangeKind::Assigned | ChangeKind::Unassigned)
    }

    /// Overwrite the backing of the view that the page is in from now on, so that nobody can count on
    /// its contents. Fresh memory is left alone, or all of QEMU's memory would be touched before the
    /// guest's first instruction; it reads zero (a deviation).
    pub const fn scramble(&self) -> bool {
        self.undefined() && !self.fresh
    }
}
