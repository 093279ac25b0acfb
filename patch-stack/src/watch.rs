// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a long step is watched: what it is at, and whether a person has asked it to stop.

use crate::failure::Result;

/// Told what is being done. Every method may do nothing.
pub trait Watch {
    /// A step begins: "importing linux v7.1.8".
    fn step(&self, what: &str) {
        let _ = what;
    }

    /// Where the step is: "12,000 files".
    fn detail(&self, text: &str) {
        let _ = text;
    }

    /// The step has ended well.
    fn done(&self) {}

    /// Asked now and then in a long step.
    ///
    /// # Errors
    /// [`Kind::Interrupted`](crate::failure::Kind::Interrupted) if it is to stop.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Watch for Silent {}
