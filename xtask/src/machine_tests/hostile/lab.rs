// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs attacks: one image for each number of vCPUs, built once, and an honest run of each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use emulator_defs::exit::RunEnd;
use serde_json::Value;

use super::attacks::{Attack, Cpus};
use crate::guest::command::Task;
use crate::machine_tests::context::{Buffer, Context, Guest};
use crate::runner::{Extras, Ready};
use crate::session::{Ended, Wiring};

const MEMORY: u64 = 256 << 20;
/// Longer than any run takes that ends at all.
const LIMIT: Duration = Duration::from_secs(40);
/// Attacks at a time.
const WORKERS: usize = 2;

/// What a guest and its machine said.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How the run ended, if it was the emulator that ended it.
    pub(super) end: Option<RunEnd>,
    /// The emulator's report.
    pub(super) report: String,
    /// How often the rules acted, by line.
    pub(super) rules: Vec<(u64, u64)>,
    /// Checks that failed.
    pub(super) wrong: Vec<String>,
    /// What the guest told.
    pub(super) notes: Vec<(String, u64)>,
    /// The guest gave up and said why.
    pub(super) gave_up: Option<String>,
    /// It came to the end of its suite.
    pub(super) finished: bool,
    out_of_time: bool,
    logs: PathBuf,
}

/// A machine, and what its guest says when the host is honest.
struct Place {
    ready: Ready,
    honest: Outcome,
}

/// Everything that attacks share.
pub(super) struct Lab {
    places: &'static [Place; 2],
    folder: PathBuf,
    deadline: Instant,
}

/// Built by the first test that needs it.
static PLACES: OnceLock<[Place; 2]> = OnceLock::new();

impl Lab {
    /// Builds the images and runs the honest hosts, if no other test has.
    pub(super) fn open(context: &mut Context) -> Result<Self> {
        let folder = context.folder().to_owned();
        let deadline = Instant::now() + context.time_left();
        let places = match PLACES.get() {
            Some(places) => places,
            None => {
                let place = |cpus| Place::new(context, cpus, folder.join("honest"));
                let places = [place(Cpus::One)?, place(Cpus::Two)?];
                PLACES.get_or_init(|| places)
            }
        };
        Ok(Self {
            places,
            folder,
            deadline,
        })
    }

    fn place(&self, cpus: Cpus) -> &Place {
        match cpus {
            Cpus::One => &self.places[0],
            Cpus::Two => &self.places[1],
        }
    }

    /// What the guest says when the host is honest.
    pub(super) fn honest(&self, cpus: Cpus) -> &Outcome {
        &self.place(cpus).honest
    }

    /// Runs all attacks and judges each; returns a text for each that went wrong.
    pub(super) fn each(
        &self,
        attacks: &[Attack],
        judge: impl Fn(&Attack, &Outcome) -> Result<(), String> + Sync,
    ) -> Vec<String> {
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        let work = || {
            while let Some(attack) = attacks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let failure = match self.run(attack) {
                    Ok(seen) => judge(attack, &seen)
                        .err()
                        .map(|why| format!("{why}\n      {}", seen.logs.display())),
                    Err(error) => Some(format!("{error:#}")),
                };
                let failure = failure.map(|why| format!("  {}: {why}", attack.name));
                if let Ok(mut failures) = failures.lock() {
                    failures.extend(failure);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..WORKERS.min(attacks.len()) {
                scope.spawn(work);
            }
        });
        failures.into_inner().unwrap_or_default()
    }

    fn run(&self, attack: &Attack) -> Result<Outcome> {
        let place = self.place(attack.cpus);
        let logs = self.folder.join(attack.name.replace(' ', "-"));
        std::fs::create_dir_all(&logs)?;
        let script = logs.join("script");
        std::fs::write(&script, place.fill_in(attack.script)?)?;
        let extras = Extras {
            hostile: Some(script),
            ..Extras::default()
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "the time of the test is used up");
        Outcome::of(&place.ready, &extras, LIMIT.min(left), logs.join("logs"))
    }
}

impl Place {
    fn new(context: &Context, cpus: Cpus, logs: PathBuf) -> Result<Self> {
        let guest = Guest {
            cpus: cpus.count(),
            memory: MEMORY,
            append: format!("vcpus={}", cpus.count()),
            ..Guest::default()
        };
        let ready = context.ready_probe(&guest, "victim")?;
        let honest = Outcome::of(&ready, &Extras::default(), LIMIT, logs)?;
        ensure!(
            honest.finished && honest.wrong.is_empty() && honest.end == Some(RunEnd::PowerOff),
            "with an honest host: {}",
            honest.summary()
        );
        for number in 1..=3 {
            let name = format!("report {number}");
            ensure!(
                honest.note(&name) == Some(0),
                "with an honest host there is no {name}"
            );
        }
        Ok(Self { ready, honest })
    }

    /// The script with its names of places turned into addresses: `{CPU 0, stack}` is the last page of what the
    /// image's map calls so, `{CPU 0, stack - 1}` the one before it, `{page tables + 0}` the first one, and
    /// `{watched}` what the guest looks at.
    fn fill_in(&self, script: &str) -> Result<String> {
        let mut text = String::new();
        let mut rest = script;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').context("a name without an end")?;
            let address = match name {
                "watched" => self.honest.note("watched"),
                "next to watched" => self.honest.note("watched").map(|page| page + 0x1000),
                name => self.page(name)?,
            };
            let address = address.with_context(|| format!("nothing is called {name}"))?;
            text.push_str(before);
            text.push_str(&format!("{address:#x}"));
            rest = after;
        }
        text.push_str(rest);
        text.push('\n');
        Ok(text)
    }

    fn page(&self, name: &str) -> Result<Option<u64>> {
        let image = self.ready.image().context("the machine has no image")?;
        let map = std::fs::read_to_string(image.with_extension("map"))?;
        let (name, sign, number) = match (name.split_once(" - "), name.split_once(" + ")) {
            (Some((name, number)), _) => (name, '-', number.parse()?),
            (None, Some((name, number))) => (name, '+', number.parse()?),
            (None, None) => (name, '-', 0_u64),
        };
        Ok(map.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let mut address = || u64::from_str_radix(words.next()?, 16).ok();
            let (from, to) = (address()?, address()?);
            let _size = words.next()?;
            let what = words.collect::<Vec<_>>().join(" ");
            let is_it = what == name || what.strip_prefix("SVSM: ") == Some(name);
            let page = match sign {
                '+' => from + 0x1000 * number,
                _ => (to & !0xFFF) - 0x1000 * number,
            };
            is_it.then_some(page)
        }))
    }
}

impl Outcome {
    /// Runs the machine once.
    fn of(ready: &Ready, extras: &Extras, limit: Duration, logs: PathBuf) -> Result<Self> {
        let console = Buffer::default();
        let wiring = Wiring {
            command: None,
            console: Some(Box::new(console.clone())),
            keyboard: false,
            log: None,
            limit: Some(limit),
            booting: None,
        };
        let task = Task::Command(Vec::new());
        let ended = ready.run(extras, &task, wiring, |_| Some(logs))?;
        Ok(Self::read(
            &String::from_utf8_lossy(&console.take()),
            &ended,
        ))
    }

    fn read(console: &str, ended: &Ended) -> Self {
        let mut outcome = Self {
            end: ended.end,
            report: ended.log.report.join("\n"),
            rules: rules(&ended.log.statistics),
            wrong: Vec::new(),
            notes: Vec::new(),
            gave_up: None,
            finished: false,
            out_of_time: ended.out_of_time,
            logs: ended.logs.clone(),
        };
        for line in console.lines().map(str::trim_end) {
            if let Some(reason) = line.strip_prefix("Bail out!") {
                outcome.gave_up = Some(reason.trim().to_owned());
            } else if let Some(check) = line.strip_prefix("not ok ") {
                outcome.wrong.push(check.to_owned());
            } else if line.starts_with("1..") {
                outcome.finished = true;
            } else if let Some((name, value)) = line
                .strip_prefix("# ")
                .and_then(|note| note.rsplit_once(": "))
                && let Ok(value) = value.parse()
            {
                outcome.notes.push((name.to_owned(), value));
            }
        }
        outcome
    }

    /// The first thing called `name` that the guest told.
    pub(super) fn note(&self, name: &str) -> Option<u64> {
        self.notes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }

    /// The first line of the report that says what happened.
    fn why(&self) -> &str {
        self.report
            .lines()
            .find(|line| !line.is_empty() && !line.starts_with("the run ended on"))
            .unwrap_or("no report")
    }

    /// How it ended, in a line.
    pub(super) fn summary(&self) -> String {
        let end = match self.end {
            _ if self.out_of_time => "it did not end".to_owned(),
            Some(end) => format!("{end:?}"),
            None => "QEMU ended by itself".to_owned(),
        };
        let gave_up = self
            .gave_up
            .as_ref()
            .map(|why| format!(", and the guest gave up: {why}"))
            .unwrap_or_default();
        format!("{end}: {}{gave_up}", self.why())
    }
}

/// How often the rules acted: line and number.
fn rules(statistics: &[String]) -> Vec<(u64, u64)> {
    statistics
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|object| object["kind"] == "hostile")
        .filter_map(|object| Some((object["line"].as_u64()?, object["acted"].as_u64()?)))
        .collect()
}
