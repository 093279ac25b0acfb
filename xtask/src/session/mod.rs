// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of the machine, from the start of QEMU to its end.

pub(crate) mod process;
pub(crate) mod streams;
pub(crate) mod terminal;
pub(crate) mod verdict;

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use emulator_defs::exit::RunEnd;

use self::process::Process;
use self::streams::{Control, EmulatorLog, LogLevel};
use crate::progress::Step;
use crate::qemu::Qemu;
use crate::qemu::line::{Channel, Line};
use crate::signals;

/// How long a guest may take to power off after its command has ended.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(30);
/// Ctrl-A then `x` ends a run, as it does in QEMU.
const ESCAPE: u8 = 0x01;

/// What a run is connected to.
pub(crate) struct Wiring {
    /// Takes what the guest's command prints. `None`: a shell on the console.
    pub(crate) command: Option<CommandStreams>,
    /// Takes the guest's console as well as the log does.
    pub(crate) console: Option<Box<dyn Write + Send>>,
    /// The terminal's keys go to the console.
    pub(crate) keyboard: bool,
    /// The emulator's log is shown from this level on; `None` shows nothing.
    pub(crate) log: Option<LogLevel>,
    /// A run that takes longer is ended.
    pub(crate) limit: Option<Duration>,
    /// Shown until the guest is up.
    pub(crate) booting: Option<Step>,
}

/// Where the streams of a guest's command lead.
pub(crate) struct CommandStreams {
    /// Its standard output.
    pub(crate) stdout: Box<dyn Write + Send>,
    /// Its standard error.
    pub(crate) stderr: Box<dyn Write + Send>,
    /// Is the tool's own standard input its input?
    pub(crate) stdin: bool,
}

/// How a run ended, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What the emulator says, if it was the emulator that ended the run.
    pub(crate) end: Option<RunEnd>,
    /// The status of QEMU.
    pub(crate) qemu: ExitStatus,
    /// The status of the guest's command, if it ended.
    pub(crate) command: Option<i32>,
    /// When the guest's `/init` was ready, counted from the start of QEMU.
    pub(crate) ready: Option<Duration>,
    /// How long the run took.
    pub(crate) elapsed: Duration,
    /// The time limit ended it.
    pub(crate) out_of_time: bool,
    /// The user ended it at the terminal.
    pub(crate) stopped: bool,
    /// The emulator's log.
    pub(crate) log: EmulatorLog,
    /// The last part of the guest's console.
    pub(crate) console: String,
    /// The last part of the SVSM's log.
    pub(crate) svsm: String,
    /// What QEMU itself printed.
    pub(crate) messages: String,
    /// The folder with the whole logs.
    pub(crate) logs: PathBuf,
}

/// Runs the machine of `line`, whose channels are filled in here, with its logs in `logs`.
pub(crate) fn run(qemu: &Qemu, mut line: Line, wiring: Wiring, logs: &Path) -> Result<Ended> {
    let mut sockets = Sockets::default();
    let console = sockets.pair(&mut line.console)?;
    let emulator_log = sockets.pair(&mut line.emulator_log)?;
    line.svsm_log = Channel::File(logs.join("svsm.log"));
    let control = sockets.port("control", &mut line)?;
    let command = match wiring.command {
        Some(streams) => {
            let stdout = sockets.port("stdout", &mut line)?;
            let stderr = sockets.port("stderr", &mut line)?;
            let stdin = streams
                .stdin
                .then(|| sockets.port("stdin", &mut line))
                .transpose()?;
            Some((streams, stdout, stderr, stdin))
        }
        None => None,
    };
    let messages_path = logs.join("qemu.log");
    let messages = File::create(&messages_path)?;
    let started = Instant::now();
    let mut process = Process::start(&qemu.program, &line.arguments(), sockets.theirs, messages)?;

    let (sender, receiver) = mpsc::channel();
    let control_reader = streams::control(control, sender);
    let keyboard_end = wiring.keyboard.then(|| console.try_clone()).transpose()?;
    let mut console_sinks: Vec<Box<dyn Write + Send>> =
        vec![Box::new(File::create(logs.join("console.log"))?)];
    console_sinks.extend(wiring.console);
    let console_reader = streams::copy(console, console_sinks);
    let log_reader = streams::emulator_log(
        emulator_log,
        File::create(logs.join("emulator.log"))?,
        wiring.log.unwrap_or(LogLevel::Error),
        wiring.log.is_some(),
    );
    let mut command_readers = Vec::new();
    // Kept until the end: when it closes, QEMU drops what the guest has not read yet.
    let mut stdin = None;
    if let Some((streams, stdout, stderr, stdin_end)) = command {
        command_readers.push(streams::copy(stdout, vec![streams.stdout]));
        command_readers.push(streams::copy(stderr, vec![streams.stderr]));
        stdin = stdin_end;
    }

    let quit = Arc::new(AtomicBool::new(false));
    let mut raw = None;
    let mut booting = wiring.booting;
    let mut keyboard_end = keyboard_end;
    let mut seen = Seen::default();
    let qemu_status = loop {
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(Control::Ready) if seen.ready.is_none() => {
                seen.ready = Some(started.elapsed());
                booting = None;
                if let Some(end) = &stdin {
                    feed_command(end.try_clone()?);
                }
                if let Some(end) = keyboard_end.take() {
                    raw = terminal::Raw::take();
                    feed_console(end, Arc::clone(&quit));
                }
            }
            Ok(Control::Ready) => {}
            Ok(Control::Exit(status)) => {
                seen.command.get_or_insert(status);
                seen.command_ended.get_or_insert_with(Instant::now);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The port closed: QEMU is about to be gone.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(5)),
        }
        if let Some(status) = process.ended()? {
            break status;
        }
        signals::check()?;
        if quit.load(Ordering::Relaxed) {
            seen.stopped = true;
            break process.kill()?;
        }
        let powers_off = seen
            .command_ended
            .is_some_and(|at| at.elapsed() > POWER_OFF_LIMIT);
        if powers_off || wiring.limit.is_some_and(|limit| started.elapsed() > limit) {
            seen.out_of_time = true;
            break process.kill()?;
        }
    };
    let elapsed = started.elapsed();
    drop(booting);
    let console = console_reader.join().unwrap_or_default();
    let log = log_reader.join().unwrap_or_default();
    for reader in command_readers {
        let _ = reader.join();
    }
    let _ = control_reader.join();
    // What the port said last may still be on its way to the loop that has ended.
    for message in receiver.try_iter() {
        if let Control::Exit(status) = message {
            seen.command.get_or_insert(status);
        }
    }
    drop(raw);
    Ok(Ended {
        end: qemu_status.code().and_then(RunEnd::from_qemu_status),
        qemu: qemu_status,
        command: seen.command,
        ready: seen.ready,
        elapsed,
        out_of_time: seen.out_of_time,
        stopped: seen.stopped,
        log,
        console: String::from_utf8_lossy(&console).into_owned(),
        svsm: tail_of(&logs.join("svsm.log")),
        messages: tail_of(&messages_path),
        logs: logs.to_owned(),
    })
}

/// What the loop has learnt.
#[derive(Default)]
struct Seen {
    ready: Option<Duration>,
    command: Option<i32>,
    command_ended: Option<Instant>,
    out_of_time: bool,
    stopped: bool,
}

/// Pairs of connected sockets, one end of each for QEMU.
#[derive(Default)]
struct Sockets {
    theirs: Vec<OwnedFd>,
}

impl Sockets {
    fn pair(&mut self, channel: &mut Channel) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
        *channel = Channel::Socket(theirs.as_raw_fd());
        self.theirs.push(theirs.into());
        Ok(ours)
    }

    fn port(&mut self, name: &'static str, line: &mut Line) -> Result<UnixStream> {
        let mut channel = Channel::Terminal;
        let ours = self.pair(&mut channel)?;
        line.ports.push((name, channel));
        Ok(ours)
    }
}

/// Passes standard input on to the guest's command until it ends. The thread may stay in a read
/// for ever: it ends with the tool.
fn feed_command(mut port: UnixStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut port);
        let _ = port.shutdown(Shutdown::Write);
    });
}

/// Passes the terminal's keys on to the console.
fn feed_console(mut console: UnixStream, quit: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut escaped = false;
        let mut buffer = [0; 4096];
        let mut input = io::stdin().lock();
        loop {
            let (keys, wants_out) = match input.read(&mut buffer) {
                // The terminal is gone, and the guest's user with it.
                Ok(0) => (Vec::new(), true),
                Ok(count) => unescape(&buffer[..count], &mut escaped),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => (Vec::new(), true),
            };
            let gone = console.write_all(&keys).is_err();
            if wants_out {
                quit.store(true, Ordering::Relaxed);
            }
            if gone || wants_out {
                return;
            }
        }
    });
}

/// Takes the escape key out of `keys`: what is left, and whether the user wants out.
fn unescape(keys: &[u8], escaped: &mut bool) -> (Vec<u8>, bool) {
    let mut left = Vec::with_capacity(keys.len());
    for &key in keys {
        match (*escaped, key) {
            (true, b'x' | b'X') => return (left, true),
            (true, _) => {
                *escaped = false;
                left.push(key);
            }
            (false, ESCAPE) => *escaped = true,
            (false, _) => left.push(key),
        }
    }
    (left, false)
}

/// The last part of a log file.
fn tail_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(64 << 10);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_ends_a_run() {
        let mut escaped = false;
        assert_eq!(unescape(b"ls\x01", &mut escaped), (b"ls".to_vec(), false));
        assert_eq!(unescape(b"\x01x", &mut escaped), (b"\x01x".to_vec(), false));
        assert_eq!(unescape(b"a\x01xb", &mut escaped), (b"a".to_vec(), true));
    }
}
