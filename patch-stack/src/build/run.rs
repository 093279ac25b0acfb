// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a program that takes long: its output goes to a file, its last line to whoever watches,
//! and it ends when the watch says so.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::failure::{At as _, Failure, Result};
use crate::watch::Watch;

/// How long a program may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `command`, its output at the end of the file `log`.
///
/// The program leads a process group of its own, which is ended as a whole: a shell, unlike make
/// and ninja, does not pass a signal on.
///
/// # Errors
/// It can't be started, or `watch` asked to stop.
pub fn run(command: &mut Command, log: &Path, watch: &dyn Watch) -> Result<ExitStatus> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .at("writing", log)?;
    let errors = file.try_clone().at("writing", log)?;
    let mut reader = File::open(log).at("reading", log)?;
    reader.seek(SeekFrom::End(0)).at("reading", log)?;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::failed(format!("{name} cannot be started: {error}")))?;
    loop {
        let ended = child
            .try_wait()
            .map_err(|error| Failure::failed(format!("waiting for {name}: {error}")))?;
        if let Some(status) = ended {
            if let Err(stop) = watch.check() {
                // Told by somebody else, it may have left what it had started.
                end(&mut child);
                return Err(stop);
            }
            return Ok(status);
        }
        if let Err(stop) = watch.check() {
            end(&mut child);
            return Err(stop);
        }
        let mut fresh = Vec::new();
        if reader.read_to_end(&mut fresh).is_ok()
            && let Some(line) = String::from_utf8_lossy(&fresh)
                .lines()
                .rfind(|line| !line.trim().is_empty())
        {
            watch.detail(line.trim());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks the child's group to end, and makes it end, whether the child itself is still there or not.
fn end(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        // One that has ended and was not waited for is in its group still.
        let _ = child.try_wait();
        if test_kill_process_group(group).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Whoever did not listen.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// What went wrong, out of a compiler's or a linker's output: the lines that speak of an error, or
/// the last ones.
#[must_use]
pub fn last_words(text: &str) -> Vec<&str> {
    const MOST: usize = 12;
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let speaks = |line: &&&str| {
        line.contains("error:") || line.contains("undefined reference") || line.contains("ERROR:")
    };
    let errors: Vec<_> = lines.iter().filter(speaks).copied().take(MOST).collect();
    if errors.is_empty() {
        lines[lines.len().saturating_sub(MOST)..].to_vec()
    } else {
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::watch::Silent;
    use std::cell::{Cell, RefCell};

    #[test]
    fn a_program_is_logged_and_its_status_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = run(&mut command, &log, &Silent).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
        let missing = run(&mut Command::new("/no/such/program"), &log, &Silent);
        assert!(missing.unwrap_err().message.contains("/no/such/program"));
    }

    #[derive(Default)]
    struct Impatient {
        asked: Cell<u32>,
        last: RefCell<String>,
    }

    impl Watch for Impatient {
        fn detail(&self, text: &str) {
            self.last.replace(text.to_owned());
        }

        fn check(&self) -> Result<()> {
            self.asked.set(self.asked.get() + 1);
            if *self.last.borrow() == "ready" {
                return Err(Failure::new(Kind::Interrupted, "stop"));
            }
            Ok(())
        }
    }

    #[test]
    fn a_program_ends_when_the_watch_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'echo told; exit 1' TERM; echo ready; while :; do sleep 0.05; done",
        ]);
        let started = Instant::now();
        let stopped = run(&mut command, &log, &Impatient::default()).unwrap_err();
        assert_eq!(stopped.kind, Kind::Interrupted);
        assert!(started.elapsed() < GRACE);
        assert!(std::fs::read_to_string(&log).unwrap().ends_with("told\n"));
    }

    #[test]
    fn what_an_ended_program_has_started_ends_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $! > started; echo ready"]);
        command.current_dir(folder.path());
        /// Asks to stop when the shell has had time to end.
        #[derive(Default)]
        struct Late(Cell<u32>);
        impl Watch for Late {
            fn check(&self) -> Result<()> {
                self.0.set(self.0.get() + 1);
                if self.0.get() == 1 {
                    std::thread::sleep(Duration::from_millis(500));
                    return Ok(());
                }
                Err(Failure::new(Kind::Interrupted, "stop"))
            }
        }
        run(&mut command, &log, &Late::default()).unwrap_err();
        let process = std::fs::read_to_string(folder.path().join("started")).unwrap();
        let stat = format!("/proc/{}/stat", process.trim());
        let gone = |stat: String| stat.contains(") Z ") || stat.is_empty();
        assert!(gone(std::fs::read_to_string(stat).unwrap_or_default()));
    }

    #[test]
    fn errors_are_found_in_a_long_log() {
        let mut text = "  CC      a.o\nb.c:1:2: error: no\nmake[1]: *** [b.o] Error 1\n".to_owned();
        text.push_str(&"  CC      more.o\n".repeat(100));
        assert_eq!(last_words(&text), ["b.c:1:2: error: no"]);
        assert_eq!(last_words("one\n\ntwo\n"), ["one", "two"]);
        assert_eq!(last_words(&"x\n".repeat(99)).len(), 12);
    }
}
