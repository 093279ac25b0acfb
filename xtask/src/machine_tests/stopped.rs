// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C, whatever the tool is at: it ends with the status that shells know, and leaves nothing behind.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::tool::tool;
use super::{Context, MachineTest, Outcome, seconds};

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "tool::stopped_in_a_download",
        limit: seconds(30),
        run: in_a_download,
    },
    MachineTest {
        name: "tool::stopped_in_a_build",
        limit: seconds(30),
        run: in_a_build,
    },
    MachineTest {
        name: "tool::stopped_by_a_signal",
        limit: seconds(60),
        run: in_a_run,
    },
];

/// Writes a shell script that stands for the program `name`.
fn stand_in(folder: &Path, name: &str, script: &str) -> Result<()> {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Sends SIGINT to the tool: it has to end soon, with status 130.
fn interrupt(child: &mut Child) -> Result<()> {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, rustix::process::Signal::INT)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("SIGINT did not end it");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.code() == Some(130), "status: {status:?}");
    Ok(())
}

/// The archive is a server of the test's that never answers, behind package lists that name it.
fn in_a_download(context: &mut Context) -> Result<Outcome> {
    const KERNEL: &str = "linux-image-6.12.99-cloud-amd64";
    if !Path::new("/usr/lib/apt/apt-helper").exists() {
        return Ok(Outcome::Skipped("this machine has no apt".to_owned()));
    }
    let server = TcpListener::bind(("127.0.0.1", 0))?;
    server.set_nonblocking(true)?;
    let folder = context.folder();
    let hash = "0".repeat(64);
    let uri = format!("http://{}/kernel.deb", server.local_addr()?);
    stand_in(
        folder,
        "apt-get",
        &format!("case \"$*\" in *--print-uris*) echo \"'{uri}' kernel.deb 9\";; esac"),
    )?;
    stand_in(
        folder,
        "apt-cache",
        &format!(
            "case \"$*\" in *pkgnames*) echo {KERNEL};; *show*) printf \
             'Package: {KERNEL}\\nVersion: 1\\nSize: 9\\nSHA256: {hash}\\n';; esac"
        ),
    )?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = tool(&["run", "--", "true"])?
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("PARAPET_CACHE", folder.join("cache"))
        .env("no_proxy", "127.0.0.1")
        .env_remove("http_proxy")
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(15);
    let asked = loop {
        if let Ok((stream, _)) = server.accept() {
            break Some(stream);
        }
        if Instant::now() > deadline || child.try_wait()?.is_some() {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if asked.is_none() {
        let _ = child.kill();
        let output = child.wait_with_output()?;
        bail!("nobody asked the archive: {output:?}");
    }
    let helper = child_with(child.id(), b"download-file").context("apt-helper is not there")?;
    interrupt(&mut child)?;
    ensure!(!is_alive(helper), "apt-helper, process {helper}, stayed");
    Ok(Outcome::Passed)
}

/// The build is a cargo that never ends.
fn in_a_build(context: &mut Context) -> Result<Outcome> {
    let folder = context.folder();
    stand_in(folder, "cargo", "exec sleep 1000")?;
    let mut child = tool(&["run", "--", "true"])?
        .env("CARGO", folder.join("cargo"))
        .spawn()?;
    let deadline = Instant::now() + context.time_left();
    let build = loop {
        if let Some(build) = child_with(child.id(), b"sleep") {
            break build;
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("the build did not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    interrupt(&mut child)?;
    ensure!(!is_alive(build), "the build, process {build}, stayed");
    Ok(Outcome::Passed)
}

/// After SIGINT nothing of the run is left: no process, no file.
fn in_a_run(context: &mut Context) -> Result<Outcome> {
    let mut child = tool(&["run", "--", "sleep", "1000"])?.spawn()?;
    let id = child.id();
    let folder = std::env::temp_dir().join(format!("parapet-run-{id}-0"));
    let deadline = Instant::now() + context.time_left();
    let qemu = loop {
        if let Some(qemu) = child_with(id, b"virtio-s") {
            break qemu;
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("QEMU did not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(folder.exists(), "{} is not there", folder.display());
    interrupt(&mut child)?;
    ensure!(!folder.exists(), "{} stayed", folder.display());
    ensure!(!is_alive(qemu), "QEMU, process {qemu}, stayed");
    Ok(Outcome::Passed)
}

/// A process that `parent` started and whose command line has `text` in it.
fn child_with(parent: u32, text: &[u8]) -> Option<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).ok()?;
    let mut children = children.split_whitespace().filter_map(|id| id.parse().ok());
    children.find(|id| {
        std::fs::read(format!("/proc/{id}/cmdline"))
            .is_ok_and(|line| line.windows(text.len()).any(|part| part == text))
    })
}

fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|text| {
        !text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}
