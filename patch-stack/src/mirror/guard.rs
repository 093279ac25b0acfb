// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run at a time changes a mirror. The lock is the kernel's: it goes with the process,
//! however that ends.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::failure::{At as _, Failure, Result};
use crate::watch::Watch;

/// The mirror is ours until this is dropped.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

impl Guard {
    /// Waits for the lock file `path`.
    pub(crate) fn take(path: &Path, watch: &dyn Watch) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .at("opening", path)?;
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Failure::failed(format!(
                        "locking {}: {error}",
                        path.display()
                    )));
                }
            }
            if !told {
                watch.step("waiting for another run that has the mirror");
                told = true;
            }
            watch.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
