// SPDX-License-Identifier: MIT OR Apache-2.0
//! The QEMU process: it inherits its end of every channel, and it never outlives the tool.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use rustix::io::FdFlags;
use rustix::process::Signal;

/// A running QEMU; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program`. It finds the descriptors `inherited` under the numbers that they have
    /// here; its messages go to `messages`.
    ///
    /// Has to be called by the main thread: the kernel ends the child when the thread that
    /// started it ends.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        inherited: Vec<OwnedFd>,
        messages: File,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(messages.try_clone()?))
            .stderr(Stdio::from(messages))
            // Ctrl-C on the terminal is for the tool, which then ends QEMU.
            .process_group(0);
        let parent = rustix::process::getpid();
        let prepare = {
            let inherited: Vec<_> = inherited.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
            move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                if rustix::process::getppid() != Some(parent) {
                    // The tool died before the line above.
                    return Err(std::io::Error::from(std::io::ErrorKind::Interrupted));
                }
                for &fd in &inherited {
                    // SAFETY: the descriptors are open: the parent owns them until after the spawn.
                    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                    rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
                }
                Ok(())
            }
        };
        // SAFETY: between fork and exec the closure only makes system calls (prctl, getppid,
        // fcntl); it neither allocates nor takes locks.
        unsafe { command.pre_exec(prepare) };
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        drop(inherited);
        Ok(Self { child })
    }

    /// Its status, once it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        // It may have ended by itself in the meantime.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
