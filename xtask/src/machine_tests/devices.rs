// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's devices do real work for the guest: DMA to shared pages, and interrupts that arrive.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::trace::Trace;
use super::{Context, Guest, MachineTest, Outcome, seconds};
use crate::qemu::line::{Disk, Forward};
use crate::runner::Extras;

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "devices::disk",
        limit: seconds(120),
        run: disk,
    },
    MachineTest {
        name: "devices::network",
        limit: seconds(120),
        run: network,
    },
    MachineTest {
        name: "devices::cpu_hotplug",
        limit: seconds(120),
        run: cpu_hotplug,
    },
];

/// Bytes that differ from sector to sector.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64 / 8)
        .flat_map(|index| index.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .collect()
}

/// The guest reads what the host wrote, and the host reads what the guest wrote.
fn disk(context: &mut Context) -> Result<Outcome> {
    const HALF: usize = 8 << 20;
    let file = context.folder().join("disk.img");
    let content = pattern(HALF);
    std::fs::write(&file, [content.as_slice(), &vec![0; HALF]].concat())?;
    let guest = Guest {
        extras: Extras {
            disks: vec![Disk {
                file: file.clone(),
                format: "raw",
            }],
            ..Extras::default()
        },
        ..Guest::default()
    };
    let output = context.script(
        &guest,
        "dd if=/dev/vda of=/dev/vda bs=1M count=8 seek=8 conv=fsync 2>/dev/null
         dd if=/dev/vda bs=1M count=8 2>/dev/null | sha256sum
         grep virtio /proc/interrupts",
    )?;
    let after = std::fs::read(&file)?;
    ensure!(
        after[..HALF] == content,
        "the guest changed what it only read"
    );
    ensure!(
        after[HALF..] == content,
        "the disk does not hold what the guest wrote"
    );
    let expected = crate::cache::sha256_of_bytes(&content);
    ensure!(
        output.starts_with(&expected),
        "the guest read other bytes: {output}"
    );
    let interrupts = output.lines().filter(|line| line.contains("req")).count();
    ensure!(interrupts > 0, "the disk has no interrupt: {output}");
    Ok(Outcome::Passed)
}

/// A megabyte each way over TCP: the guest fetches from the host, and serves a connection from it.
fn network(context: &mut Context) -> Result<Outcome> {
    const SIZE: usize = 1 << 20;
    let content = pattern(SIZE);
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let inward = free_port()?;
    let limit = context.time_left();
    let served = content.clone();
    let host = std::thread::spawn(move || -> Result<()> {
        // The guest asks first, and then it is asked.
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + limit;
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(error) => return Err(error).context("the guest did not ask"),
            }
        };
        stream.set_nonblocking(false)?;
        stream.write_all(&served)?;
        drop(stream);
        // The connection is there before the guest listens: QEMU resets it then.
        while Instant::now() < deadline {
            let mut answer = Vec::new();
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", inward)) {
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                if stream.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
                    ensure!(
                        answer == served,
                        "the guest sent {} other bytes",
                        answer.len()
                    );
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the guest did not answer")
    });
    let guest = Guest {
        extras: Extras {
            network: Some(vec![Forward {
                host: inward,
                guest: 80,
            }]),
            ..Extras::default()
        },
        ..Guest::default()
    };
    let output = context.script(
        &guest,
        &format!(
            "nc 10.0.2.2 {port} >/tmp/file </dev/null
             sha256sum </tmp/file
             nc -l -p 80 -w 30 </tmp/file >/dev/null
             cat /sys/class/net/eth0/statistics/rx_bytes"
        ),
    )?;
    let expected = crate::cache::sha256_of_bytes(&content);
    ensure!(
        output.starts_with(&expected),
        "the guest received other bytes: {output}"
    );
    match host.join() {
        Ok(result) => result?,
        Err(_) => anyhow::bail!("the host's side of the test failed"),
    }
    Ok(Outcome::Passed)
}

/// A port that nobody uses now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A vCPU goes off and comes back, which takes it through DELETE_VCPU and CREATE_VCPU.
/// Each CPU goes and comes once: Linux 6.12 never gives back the GHCB in which a CPU waits offline, and
/// so panics by itself, on any SNP host, when the same CPU comes back the second time.
fn cpu_hotplug(context: &mut Context) -> Result<Outcome> {
    const CPUS: usize = 4;
    const CYCLED: usize = 2;
    let file = context.folder().join("hotplug.pftrace");
    let guest = Guest {
        cpus: CPUS as u32,
        extras: Extras {
            trace: Some(file.clone()),
            ..Extras::default()
        },
        ..Guest::default()
    };
    // Field 39 of stat is the processor on which a program last ran.
    let output = context.script(
        &guest,
        "cd /sys/devices/system/cpu
         [ -w cpu1/online ] || { echo none; exit 0; }
         echo 0 >cpu1/online; echo 0 >cpu3/online; nproc
         echo 1 >cpu3/online; echo 1 >cpu1/online; nproc
         for cpu in 0 1 2 3; do taskset $((1 << cpu)) cut -d' ' -f39 /proc/self/stat; done
         dmesg -r",
    )?;
    if output.starts_with("none") {
        return Ok(Outcome::Skipped(
            "this kernel offers no CPU hotplug".to_owned(),
        ));
    }
    let told: Vec<_> = output.lines().take(2 + CPUS).collect();
    ensure!(
        told == ["2", "4", "0", "1", "2", "3"],
        "vCPUs came and went, and ran programs, as {told:?}"
    );
    super::boot::check_log(&output)?;
    // One vCPU for each CPU but the first at boot, and a new one in the place of the old one for each that came back.
    let trace = Trace::read(&std::fs::read(&file)?)?;
    let calls = ["CREATE_VCPU", "DELETE_VCPU"].map(|name| trace.count(name));
    ensure!(
        calls == [CPUS - 1 + CYCLED, CYCLED],
        "CREATE_VCPU and DELETE_VCPU were called {calls:?} times"
    );
    Ok(Outcome::Passed)
}
