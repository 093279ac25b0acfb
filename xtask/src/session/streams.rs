// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes out of the machine: each channel has a thread that reads it to its end, so that
//! QEMU never waits, and what happened can be told afterwards.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use emulator_defs::config::{
    LINE_DEBUG, LINE_ERROR, LINE_INFO, LINE_REPORT, LINE_STATISTICS, LINE_WARN,
};

use super::terminal;

/// Bytes at the end of the console that are kept.
const TAIL: usize = 64 << 10;
/// The longest line of the emulator's log that is taken in one piece.
const LONGEST_LINE: u64 = 1 << 20;

/// What the guest's `/init` tells through its control port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// It is about to run the command or the shell.
    Ready,
    /// The command ended with this status.
    Exit(i32),
}

/// How much of the emulator's log is shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warn,
    /// What a person may want to know.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// The level's name in the emulator's options.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Copies `channel` to `sinks` until it closes; returns the last bytes.
pub(crate) fn copy(
    mut channel: UnixStream,
    mut sinks: Vec<Box<dyn Write + Send>>,
) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut tail = VecDeque::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let count = match channel.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let bytes = &buffer[..count];
            // A reader that went away (`| head`) must not stop the machine half-way.
            sinks.retain_mut(|sink| sink.write_all(bytes).and_then(|()| sink.flush()).is_ok());
            tail.extend(bytes);
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
        tail.into()
    })
}

/// Reads the control port.
pub(crate) fn control(channel: UnixStream, messages: Sender<Control>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(channel).lines().map_while(Result::ok) {
            let message = match line.split_once(' ') {
                None if line == "ready" => Control::Ready,
                Some(("exit", status)) => match status.parse() {
                    Ok(status) => Control::Exit(status),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if messages.send(message).is_err() {
                return;
            }
        }
    })
}

/// The emulator's log, sorted.
#[derive(Debug, Default)]
pub(crate) struct EmulatorLog {
    /// The report that explains why the run ended.
    pub(crate) report: Vec<String>,
    /// Statistics, a JSON object each.
    pub(crate) statistics: Vec<String>,
    /// The last lines of all else.
    pub(crate) tail: VecDeque<String>,
}

/// Reads the emulator's log, keeps it in `file`, and shows lines of `level` and above.
pub(crate) fn emulator_log(
    channel: UnixStream,
    mut file: File,
    level: LogLevel,
    show: bool,
) -> JoinHandle<EmulatorLog> {
    std::thread::spawn(move || {
        let mut log = EmulatorLog::default();
        let mut reader = BufReader::new(channel);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
            {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            let _ = file.write_all(&line);
            let text = String::from_utf8_lossy(&line);
            sort(text.trim_end(), level, show, &mut log);
        }
        log
    })
}

fn sort(line: &str, level: LogLevel, show: bool, log: &mut EmulatorLog) {
    let (kind, text) = match line.split_once(' ') {
        Some((kind, text)) if kind.len() == 1 => (kind.chars().next(), text),
        _ if line == "R" => (Some(LINE_REPORT), ""),
        _ => (None, line),
    };
    let line_level = match kind {
        Some(LINE_REPORT) => {
            log.report.push(text.to_owned());
            return;
        }
        Some(LINE_STATISTICS) => {
            log.statistics.push(text.to_owned());
            return;
        }
        Some(LINE_ERROR) => LogLevel::Error,
        Some(LINE_WARN) => LogLevel::Warn,
        Some(LINE_INFO) => LogLevel::Info,
        Some(LINE_DEBUG) => LogLevel::Debug,
        // SeaBIOS writes to the same port before the emulator starts.
        _ => LogLevel::Debug,
    };
    if show && line_level <= level {
        terminal::say(&format!("emulator: {text}"));
    }
    if log.tail.len() == 40 {
        log.tail.pop_front();
    }
    log.tail.push_back(line.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_log_is_sorted() {
        let mut log = EmulatorLog::default();
        for line in [
            "SeaBIOS (version 1)",
            "I started",
            "R the guest ended itself",
            "R",
            "S {\"exits\": 3}",
            "E broken",
        ] {
            sort(line, LogLevel::Error, false, &mut log);
        }
        assert_eq!(log.report, ["the guest ended itself", ""]);
        assert_eq!(log.statistics, ["{\"exits\": 3}"]);
        assert_eq!(log.tail, ["SeaBIOS (version 1)", "I started", "E broken"]);
    }

    #[test]
    fn the_control_port_speaks_in_lines() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        let thread = control(ours, sender);
        theirs.write_all(b"ready\nnoise\nexit x\nexit 7\n").unwrap();
        drop(theirs);
        thread.join().unwrap();
        let messages: Vec<_> = receiver.iter().collect();
        assert_eq!(messages, [Control::Ready, Control::Exit(7)]);
    }

    #[test]
    fn a_sink_that_fails_does_not_stop_the_others() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = copy(ours, vec![Box::new(Broken)]);
        theirs.write_all(b"one").unwrap();
        theirs.write_all(b"two").unwrap();
        drop(theirs);
        assert_eq!(thread.join().unwrap(), b"onetwo");
    }
}
