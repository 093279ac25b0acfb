// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person sees of a long step: one line on standard error that is rewritten while the step
//! runs on a terminal, and is written once when it ends elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Steps shorter than this are not worth a line.
const PATIENCE: Duration = Duration::from_millis(700);

/// A step that is under way. Dropped, it takes its line away; [`Step::done`] leaves one behind.
pub struct Step {
    started: Instant,
    what: String,
    ticker: Option<(Sender<String>, JoinHandle<()>)>,
}

impl Step {
    /// Starts a step; `what` says what is being done ("building the emulator").
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let started = Instant::now();
        let ticker = std::io::stderr().is_terminal().then(|| {
            let (sender, receiver) = mpsc::channel::<String>();
            let title = what.clone();
            let thread = std::thread::spawn(move || {
                let mut detail = String::new();
                let mut shown = false;
                loop {
                    match receiver.recv_timeout(Duration::from_millis(200)) {
                        Ok(text) => detail = text,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    if started.elapsed() < PATIENCE {
                        continue;
                    }
                    shown = true;
                    let seconds = started.elapsed().as_secs();
                    let mut line = format!("{title} ({seconds} s) {detail}");
                    if let Some((end, _)) = line.char_indices().nth(78) {
                        line.truncate(end);
                    }
                    eprint!("\r\x1b[K{line}");
                    let _ = std::io::stderr().flush();
                }
                if shown {
                    eprint!("\r\x1b[K");
                    let _ = std::io::stderr().flush();
                }
            });
            (sender, thread)
        });
        Self {
            started,
            what,
            ticker,
        }
    }

    /// Says what the step is at.
    pub fn detail(&self, text: impl Into<String>) {
        if let Some((sender, _)) = &self.ticker {
            // The thread ends only after this sender is dropped.
            let _ = sender.send(text.into());
        }
    }

    /// The step ended well; a line stays if it took long enough to wonder about.
    pub fn done(mut self) {
        self.clear();
        if self.started.elapsed() >= PATIENCE {
            let seconds = self.started.elapsed().as_secs_f64();
            eprintln!("{} ({seconds:.1} s)", self.what);
        }
    }

    fn clear(&mut self) {
        if let Some((sender, thread)) = self.ticker.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}
