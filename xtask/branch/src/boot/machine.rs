// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: stock QEMU's TCG with nested SVM. It runs until the tests are done, the kernel is,
//! or nothing has happened for too long.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use patch_stack::watch::Watch as _;

use super::verdict::{self, Done, Transcript, Verdict};
use super::{initramfs, initramfs::Program};
use crate::failure::{Failure, Status};
use crate::house::Shown;
use crate::signals;

/// Longest way to user space, on a machine that does other things as well.
const BOOT: Duration = Duration::from_secs(120);
/// What a test that is stopped at its limit may take longer, since the guest's clock stops it.
const SLACK: Duration = Duration::from_secs(30);

/// A kernel to boot, and what with.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// QEMU.
    pub(crate) qemu: PathBuf,
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The folder of logs.
    pub(crate) folder: PathBuf,
    /// CPUs.
    pub(crate) cpus: u32,
    /// MiB of memory.
    pub(crate) memory: u32,
    /// Seconds that a test may take.
    pub(crate) limit: u64,
}

/// How a run of the machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself: it was switched off, or the kernel panicked.
    ByItself,
    /// Nothing had happened for too long.
    Silent,
}

/// The QEMU to use: `option`, else `$PARAPET_QEMU`, else the one in the path.
pub(crate) fn qemu(option: Option<&Path>) -> PathBuf {
    let variable = || std::env::var_os("PARAPET_QEMU").filter(|value| !value.is_empty());
    option
        .map(Path::to_owned)
        .or_else(|| variable().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("qemu-system-x86_64"))
}

/// The first line of `qemu --version`.
pub(crate) fn version(qemu: &Path) -> Result<String> {
    let output = Command::new(qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::new(
                Status::Unavailable,
                format!("{} cannot be started: {error}", qemu.display()),
            )
            .hint("apt-get install qemu-system-x86, or name another with --qemu FILE")
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl Machine {
    fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    /// QEMU's arguments.
    pub(crate) fn arguments(&self, initrd: &Path) -> Vec<OsString> {
        let file = |path: PathBuf| {
            let mut text = OsString::from("file:");
            text.push(path);
            text
        };
        let mut words: Vec<OsString> = Vec::new();
        for (name, value) in [
            // Without a disk controller SeaBIOS does not wait for one.
            ("-machine", OsString::from("q35,sata=off")),
            ("-accel", "tcg".into()),
            // Everything that TCG emulates: SVM with nested paging is part of it.
            ("-cpu", "max".into()),
            ("-smp", self.cpus.to_string().into()),
            ("-m", format!("{}M", self.memory).into()),
            ("-display", "none".into()),
            ("-serial", file(self.console())),
            ("-serial", file(self.results())),
            ("-kernel", self.kernel.clone().into()),
            ("-initrd", initrd.into()),
            // Level 5 shows warnings; a panic ends the machine.
            // Linux counts timer ticks against a loop at boot and panics if there are too few, as
            // there are on a busy host: `no_timer_check` (kernel-parameters.txt).
            (
                "-append",
                "console=ttyS0 loglevel=5 panic=-1 no_timer_check".into(),
            ),
        ] {
            words.push(name.into());
            words.push(value);
        }
        words.push("-nodefaults".into());
        words.push("-no-reboot".into());
        words
    }

    /// Boots, and runs the tests `names`; a kernel that is lost on the way is booted again for
    /// those that are left. Every name gets a verdict.
    pub(crate) fn run(
        &self,
        programs: &[Program],
        names: &[String],
        watch: &Shown,
    ) -> Result<(Transcript, Vec<Done>)> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("making {}", self.folder.display()))?;
        let archive = initramfs::programs(programs)?;
        let mut left: Vec<String> = names.to_vec();
        let mut done: Vec<Done> = Vec::new();
        let mut first = None;
        loop {
            let (transcript, end) = self.boot(&archive, &left, watch)?;
            let console = read_lossy(&self.console());
            let mut fresh = transcript.done.clone();
            complain(&mut fresh, &console);
            let running = transcript.running.clone();
            let complete = transcript.complete;
            let begun = transcript.release.is_some();
            done.extend(fresh);
            let first = first.get_or_insert(transcript);
            if complete || !begun || !first.kvm {
                break;
            }
            let Some(lost) =
                running.or_else(|| left.iter().find(|name| !has(&done, name)).cloned())
            else {
                break;
            };
            done.push(Done {
                verdict: Verdict::Fail(lost_kernel(&end, &console)),
                name: lost,
                seconds: 0.0,
                said: String::new(),
            });
            // The next boot writes over these.
            let kept = self.folder.join(format!("console.{}", done.len()));
            let _ = std::fs::copy(self.console(), kept);
            left.retain(|name| !has(&done, name));
            if left.is_empty() {
                break;
            }
        }
        let first = first.expect("the loop ran once");
        Ok((first, done))
    }

    fn boot(&self, archive: &[u8], names: &[String], watch: &Shown) -> Result<(Transcript, End)> {
        let initrd = self.folder.join("initramfs");
        let list = initramfs::list(names.iter().map(String::as_str), self.limit);
        std::fs::write(&initrd, [archive, &list].concat())
            .with_context(|| format!("writing {}", initrd.display()))?;
        for path in [self.console(), self.results()] {
            std::fs::write(&path, "").with_context(|| format!("writing {}", path.display()))?;
        }
        let said = self.folder.join("qemu");
        let log =
            std::fs::File::create(&said).with_context(|| format!("writing {}", said.display()))?;
        let mut child = Command::new(&self.qemu)
            .args(self.arguments(&initrd))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.qemu.display()))?;
        let mut seen = 0;
        let mut moved = Instant::now();
        let mut limit = BOOT;
        let end = loop {
            if let Some(status) = child.try_wait()? {
                if !status.success() {
                    let text = read_lossy(&said);
                    return Err(Failure::new(
                        Status::Failed,
                        format!(
                            "QEMU failed: {}",
                            text.lines().next().unwrap_or("no reason given")
                        ),
                    )
                    .hint(format!("all that it said is in {}", said.display()))
                    .into());
                }
                break End::ByItself;
            }
            if let Err(stop) = signals::check() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(stop.into());
            }
            let results = read_lossy(&self.results());
            if results.len() != seen {
                seen = results.len();
                moved = Instant::now();
                limit = Duration::from_secs(self.limit) + SLACK;
                let transcript = verdict::read(&results, self.limit);
                if let Some(name) = &transcript.running {
                    let count = transcript.done.len() + 1;
                    watch.detail(&format!("{count}/{} {name}", names.len()));
                }
            }
            if moved.elapsed() > limit {
                let _ = child.kill();
                let _ = child.wait();
                break End::Silent;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        signals::check()?;
        let results = read_lossy(&self.results());
        Ok((verdict::read(&results, self.limit), end))
    }

    /// Whether the kernel complained before the first test.
    pub(crate) fn boot_complaint(&self) -> Verdict {
        let splats = verdict::splats(&read_lossy(&self.console()));
        match splats.into_iter().find(|splat| splat.test.is_none()) {
            None => Verdict::Pass,
            Some(splat) => Verdict::Fail(format!("the kernel complained: {}", splat.line)),
        }
    }

    /// Why the kernel did not come to user space, for people.
    pub(crate) fn why_not(&self, end_hint: &str) -> String {
        let console = read_lossy(&self.console());
        let lines = verdict::last_lines(&console);
        if lines.is_empty() {
            return format!("{end_hint}; its console stayed empty");
        }
        let mut text = format!("{end_hint}; the last lines of its console:");
        for line in lines {
            text.push_str("\n    ");
            text.push_str(line);
        }
        text
    }
}

fn has(done: &[Done], name: &str) -> bool {
    done.iter().any(|one| one.name == name)
}

/// A test during which the kernel complained has failed, whatever it says itself.
fn complain(done: &mut [Done], console: &str) {
    for splat in verdict::splats(console) {
        let Some(name) = splat.test else { continue };
        if let Some(one) = done.iter_mut().find(|one| one.name == name)
            && !matches!(one.verdict, Verdict::Fail(_))
        {
            one.verdict = Verdict::Fail(format!("the kernel complained: {}", splat.line));
        }
    }
}

fn lost_kernel(end: &End, console: &str) -> String {
    let what = match end {
        End::ByItself => "the kernel died",
        End::Silent => "the kernel hung",
    };
    let mut text = format!("{what}; the last lines of its console:");
    for line in verdict::last_lines(console) {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_for_stock_qemu_without_hardware() {
        let machine = Machine {
            qemu: "qemu".into(),
            kernel: "/k/bzImage".into(),
            folder: "/logs".into(),
            cpus: 2,
            memory: 1024,
            limit: 60,
        };
        let words = machine.arguments(Path::new("/logs/initramfs"));
        let line: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let line = line.join(" ");
        assert!(
            line.contains("-machine q35,sata=off -accel tcg -cpu max -smp 2 -m 1024M"),
            "{line}"
        );
        assert!(
            line.contains("-serial file:/logs/console -serial file:/logs/results"),
            "{line}"
        );
        assert!(
            line.contains("-kernel /k/bzImage -initrd /logs/initramfs"),
            "{line}"
        );
        assert!(!line.contains("kvm"), "{line}");
    }

    #[test]
    fn a_complaint_of_the_kernel_fails_the_test_that_ran() {
        let mut done: Vec<_> = ["a", "b"]
            .map(|name| Done {
                name: name.to_owned(),
                verdict: Verdict::Pass,
                seconds: 1.0,
                said: String::new(),
            })
            .into();
        complain(
            &mut done,
            "[ 1.0] @@ a\n[ 2.0] @@ b\n[ 2.1] WARNING: CPU: 1\n",
        );
        assert_eq!(done[0].verdict, Verdict::Pass);
        assert_eq!(
            done[1].verdict,
            Verdict::Fail("the kernel complained: WARNING: CPU: 1".to_owned())
        );
    }
}
