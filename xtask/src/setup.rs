// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tool needs on a machine, and how it gets there. `run` and `test` install what is
//! missing where they may; `doctor` only tells.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use xtask_common::{apt, busybox};

use crate::failure::{Failure, Status};
use crate::progress::Step;
use crate::qemu;
use crate::signals;
use crate::workspace::TARGET;

/// A Debian package that brings something the tool starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

const QEMU: Package = Package {
    name: "qemu-system-x86",
    purpose: "QEMU, which carries the emulator",
};
const XZ: Package = Package {
    name: "xz-utils",
    purpose: "xz, which unpacks the kernel's modules",
};

/// The packages that are missing.
pub(crate) fn missing_packages(own_qemu: bool) -> Vec<Package> {
    let mut missing = Vec::new();
    if !own_qemu && qemu::named(None).is_none() && qemu::in_path(qemu::PROGRAM).is_none() {
        missing.push(QEMU);
    }
    // busybox has an xz as well.
    let has_busybox = qemu::in_path("busybox").is_some() || busybox::installed().is_some();
    if qemu::in_path("xz").is_none() && !has_busybox {
        missing.push(XZ);
    }
    missing
}

/// Is the bare-metal target's library there?
pub(crate) fn has_target() -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        fs::read_dir(Path::new(&folder)).is_ok_and(|mut entries| entries.next().is_some())
    })
}

/// Installs what is missing, or says with which line to install it.
pub(crate) fn ensure(own_qemu: bool) -> Result<()> {
    ensure_target()?;
    ensure_packages(&missing_packages(own_qemu))
}

/// How to install the target by hand.
pub(crate) fn target_line() -> String {
    format!("rustup target add {TARGET}")
}

/// Installs the bare-metal target if it is missing.
pub(crate) fn ensure_target() -> Result<()> {
    if has_target() {
        return Ok(());
    }
    let step = Step::start(format!("installing the Rust target {TARGET}"));
    let mut command = Command::new("rustup");
    command
        .args(["target", "add", TARGET])
        .current_dir(crate::workspace::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let installed = match command.spawn() {
        Ok(mut child) => signals::wait(&mut child)?.success(),
        Err(_) => false,
    };
    if installed {
        step.done();
        return Ok(());
    }
    Err(
        Failure::missing(format!("the Rust target {TARGET} is missing"))
            .hint(format!(
                "run `{}`, or install your distribution's package of it",
                target_line()
            ))
            .into(),
    )
}

/// The line that installs `packages`.
pub(crate) fn packages_line(packages: &[Package]) -> String {
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    format!("sudo apt-get install -y {}", names.join(" "))
}

fn ensure_packages(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    let listed = names.join(" ");
    if !apt::exists() {
        return Err(Failure::missing(format!("not installed: {listed}"))
            .hint("install them with this machine's package manager; --qemu FILE names a QEMU of your own")
            .into());
    }
    let by_hand = || {
        Failure::missing(format!("not installed: {listed}"))
            .hint(format!("run `{}`", packages_line(packages)))
    };
    let prefix: &[&str] = if rustix::process::geteuid().is_root() {
        &[]
    } else if sudo_works() {
        &["sudo", "-n"]
    } else {
        return Err(by_hand().into());
    };
    let step = Step::start(format!("installing {listed}"));
    // The lists may be old, or absent as in a container: fetch them and try again.
    let done = apt_get(
        prefix,
        &["install", "-y", "--no-install-recommends"],
        &names,
    )? || (apt_get(prefix, &["update"], &[])?
        && apt_get(
            prefix,
            &["install", "-y", "--no-install-recommends"],
            &names,
        )?);
    if !done {
        return Err(Failure::new(
            Status::Failed,
            format!("apt-get could not install {listed}"),
        )
        .hint(format!("run `{}` to see why", packages_line(packages)))
        .into());
    }
    step.done();
    Ok(())
}

fn sudo_works() -> bool {
    Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn apt_get(prefix: &[&str], arguments: &[&str], names: &[&str]) -> Result<bool> {
    let words: Vec<_> = prefix
        .iter()
        .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .collect();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .arg("-q")
        .args(arguments)
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting apt-get")?;
    Ok(signals::wait(&mut child)?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_type_is_whole() {
        assert_eq!(
            packages_line(&[QEMU, XZ]),
            "sudo apt-get install -y qemu-system-x86 xz-utils"
        );
    }
}
