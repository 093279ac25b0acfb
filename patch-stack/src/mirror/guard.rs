// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run at a time changes a mirror, and one at a time the files beside `branches.toml`. The locks
//! are the kernel's: they go with the process, however that ends.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::failure::{At as _, Failure, Result};
use crate::watch::Watch;

/// A mirror, or the files beside `branches.toml`, are ours until this is dropped.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

impl Guard {
    /// Keeps other runs from writing `branches.toml` and `branches.lock` in `folder`. What they hold
    /// is to be read under it. Whoever wants a mirror as well takes this first.
    ///
    /// # Errors
    /// The folder can't be opened, or `watch` asked to stop.
    pub fn of_declaration(folder: &Path, watch: &dyn Watch) -> Result<Self> {
        // The folder itself: a lock file would lie about in a person's repository.
        let file = File::open(folder).at("opening", folder)?;
        Self::wait(file, folder, "writes here", watch)
    }

    /// Waits for the lock file `path` of `what`.
    pub(crate) fn take(path: &Path, what: &str, watch: &dyn Watch) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .at("opening", path)?;
        Self::wait(file, path, &format!("has the {what}"), watch)
    }

    fn wait(file: File, path: &Path, what: &str, watch: &dyn Watch) -> Result<Self> {
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
                watch.step(&format!("waiting for another run that {what}"));
                told = true;
            }
            watch.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
