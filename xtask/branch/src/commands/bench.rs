// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench branch`: what the engine costs, beside git, held against its limits.

mod trial;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use patch_stack::mirror::Mirror;
use patch_stack::watch::Watch as _;
use serde_json::{Value, json};
use xtask_common::processor_time;

use self::trial::Trial;
use crate::failure::{Failure, Status};
use crate::house::{House, Shown};

pub(crate) const ABOUT: &str =
    "Measure what the branches cost, beside git, and hold it against limits";
pub(crate) const LONG_ABOUT: &str = "\
Measure what the branches cost in processor seconds, beside git in the same run, and hold it against
limits. Needs three Linux releases in the mirror: the base, the next one, and a further one, of
whose changes the patches are made.

Ends with status 1 if a limit is broken, with 5 if a release is not in the mirror.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch fetch --base v6.12.90 --base v6.12.96 --base v6.18.15
  cargo xtask bench branch
  cargo xtask bench branch --import linux_7.1.8.orig.tar.xz     measures an import as well";

/// Measures.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The releases: the base, the next, a further one
    #[arg(
        long,
        value_name = "BASE,NEXT,FURTHER",
        value_delimiter = ',',
        default_value = "v6.12.90,v6.12.96,v6.18.15"
    )]
    releases: Vec<String>,

    /// These parts only [default: all]
    #[arg(long = "part", value_name = "PART", value_enum)]
    parts: Vec<Part>,

    /// A release tarball, whose import is measured beside `git add -A && git commit`
    #[arg(long, value_name = "FILE")]
    import: Option<std::path::PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Apply and rebase, beside git
    Engine,
    /// `branch status`
    Status,
    /// `branch verify`
    Verify,
    /// `branch check` after one patch has changed
    Check,
    /// Nothing but what --import asks for
    Import,
}

/// One figure and its limit.
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    limit: f64,
    beside: String,
}

impl Bench {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let wanted = |part| self.parts.is_empty() || self.parts.contains(&part);
        let mirror = house.mirror("linux")?;
        let [base, _, further] = &self.releases[..] else {
            return Err(Failure::usage("--releases wants three names").into());
        };
        let watch = Shown::default();
        let mut figures = Vec::new();
        if wanted(Part::Engine) {
            for name in &self.releases {
                mirror.base(name)?;
            }
            watch.step("measuring the engine beside git");
            figures.extend(engine(&mirror, &self.releases)?);
            watch.done();
        }
        if wanted(Part::Status) {
            watch.step("measuring status");
            figures.push(status(house)?);
            watch.done();
        }
        if wanted(Part::Verify) {
            watch.step("measuring verify");
            figures.push(verify(&Trial::new(house, &mirror, base, further, 200)?)?);
            watch.done();
        }
        if wanted(Part::Check) {
            watch.step("measuring checks");
            figures.extend(check(&Trial::new(house, &mirror, base, further, 20)?)?);
            watch.done();
        }
        if let Some(file) = &self.import {
            watch.step("measuring an import");
            figures.extend(import(&std::path::absolute(file)?)?);
            watch.done();
        }
        let broken = figures
            .iter()
            .filter(|figure| figure.value > figure.limit)
            .count();
        if self.json {
            let all: Vec<_> = figures
                .iter()
                .map(|figure| {
                    json!({
                        "what": figure.what,
                        "value": figure.value,
                        "unit": figure.unit,
                        "limit": figure.limit,
                        "beside": figure.beside,
                    })
                })
                .collect();
            println!("{:#}", json!({ "figures": all, "broken": broken }));
        } else {
            let rows: Vec<_> = figures
                .iter()
                .map(|figure| {
                    vec![
                        if figure.value > figure.limit {
                            "OVER"
                        } else {
                            "ok"
                        }
                        .to_owned(),
                        figure.what.clone(),
                        format!("{:.3} {}", figure.value, figure.unit),
                        format!("{:.3}", figure.limit),
                        figure.beside.clone(),
                    ]
                })
                .collect();
            crate::table::print(&["", "what", "measured", "at most", "beside"], &rows);
        }
        Ok(if broken == 0 {
            Status::Good
        } else {
            Status::Failed
        })
    }
}

/// The engine beside git: the bench of the library, which makes its own patches.
fn engine(mirror: &Mirror, releases: &[String]) -> Result<Vec<Figure>> {
    let refs: Vec<_> = releases
        .iter()
        .map(|name| format!("refs/bases/{name}"))
        .collect();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the workspace")?;
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace)
        .args([
            "bench",
            "--quiet",
            "--package",
            "patch-stack",
            "--bench",
            "stack",
        ])
        .args(["--", "--json", "--repository"])
        .arg(mirror.folder())
        .args(["--releases", &refs.join(",")])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !output.status.success() {
        bail!("the library's bench failed");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Value = serde_json::from_str(text.trim())
        .with_context(|| format!("the library's bench said {text}"))?;
    let mut figures = Vec::new();
    for row in rows.as_array().context("rows")? {
        let number = |name: &str| row[name].as_f64().unwrap_or(f64::INFINITY);
        let what = row["what"].as_str().unwrap_or_default().to_owned();
        let git = number("git_cpu_s");
        // The table: 1/8 for patches of several files, 1/12 for those of one, git's own
        // time for a rebase.
        let part = if what.contains("one-file") || what.contains("one file") {
            12.0
        } else if what.contains("rebase") {
            1.0
        } else {
            8.0
        };
        let replay = row["git_replay_cpu_s"]
            .as_f64()
            .map(|seconds| format!(", git replay {seconds:.2} s"))
            .unwrap_or_default();
        figures.push(Figure {
            value: number("engine_cpu_s"),
            unit: "CPU s",
            limit: git / part,
            beside: format!(
                "{} {git:.2} s{replay}",
                row["git"].as_str().unwrap_or_default()
            ),
            what: what.clone(),
        });
        figures.push(Figure {
            value: number("engine_peak_mib"),
            unit: "MiB",
            limit: 64.0,
            beside: String::new(),
            what: format!("{what}: memory"),
        });
    }
    Ok(figures)
}

/// This program, on a folder of its own or on the repository.
fn this_program(folder: &Path, words: &[&str]) -> Command {
    // Even if cargo has replaced the file meanwhile (proc(5), `exe`).
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("branch")
        .args(words)
        .arg("--folder")
        .arg(folder)
        .env_remove("PARAPET_CALLED_FROM")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// `branch status` on all shipped branches, warm: wall time, for that is what a person waits.
fn status(house: &House) -> Result<Figure> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = Instant::now();
        this_program(&house.folder, &["status"]).status()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(Figure {
        what: "status of all branches, warm".to_owned(),
        value: best,
        unit: "s",
        limit: 0.3,
        beside: String::new(),
    })
}

/// `branch verify` of a branch of 200 patches.
fn verify(trial: &Trial) -> Result<Figure> {
    let before = processor_time::of_children()?;
    if !trial.run(&["verify"]).status()?.success() {
        bail!("the branch of the measurement does not verify");
    }
    Ok(Figure {
        what: format!("verify, offline, {} patches", trial.patches.len()),
        value: processor_time::of_children()? - before,
        unit: "CPU s",
        limit: 3.0,
        beside: String::new(),
    })
}

/// `branch check` after one patch has changed: how many patches are asked about anew, and what
/// that costs beside asking about all.
fn check(trial: &Trial) -> Result<Vec<Figure>> {
    const WORDS: &str = "checkpatch,roundtrip";
    let run = || -> Result<(usize, f64)> {
        let before = processor_time::of_children()?;
        let output = trial
            .run(&["check", "bench", WORDS, "--json"])
            .stdout(Stdio::piped())
            .output()?;
        let verdicts: Value = serde_json::from_slice(&output.stdout)
            .context("the report of the branch of the measurement")?;
        let mut asked = BTreeSet::new();
        for verdict in verdicts.as_array().context("verdicts")? {
            if verdict["verdict"] == "SKIPPED" {
                bail!("{}: {}", verdict["check"], verdict["text"]);
            }
            if verdict["cached"] == false {
                asked.insert(verdict["patch"].as_str().unwrap_or_default().to_owned());
            }
        }
        Ok((asked.len(), processor_time::of_children()? - before))
    };
    let all = trial.patches.len();
    let (asked, whole) = run()?;
    if asked != all {
        bail!("{asked} of {all} patches were checked at first");
    }
    trial.change(all / 2)?;
    let (asked, one) = run()?;
    Ok(vec![
        Figure {
            what: format!("checkpatch and round trip, one of {all} patches changed: checked"),
            value: asked as f64,
            unit: "patches",
            limit: 1.0,
            beside: String::new(),
        },
        Figure {
            what: "the same: cost".to_owned(),
            value: one,
            unit: "CPU s",
            // One patch's part, and as much again as looking at all files may take.
            limit: whole / all as f64 + 0.5,
            beside: format!("all of them {whole:.2} s"),
        },
    ])
}

/// An import of `file` beside unpacking it and `git add -A && git commit`.
fn import(file: &Path) -> Result<Vec<Figure>> {
    let scratch = std::env::temp_dir().join(format!("bench-import-{}", std::process::id()));
    let measured = (|| {
        let by_git = scratch.join("git");
        std::fs::create_dir_all(&by_git)?;
        let run = |command: &mut Command| -> Result<()> {
            if command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()?
                .success()
            {
                Ok(())
            } else {
                bail!("{command:?} failed")
            }
        };
        run(Command::new("tar")
            .arg("-C")
            .arg(&by_git)
            .arg("-xf")
            .arg(file)
            .arg("--strip-components=1"))?;
        let before = processor_time::of_children()?;
        for words in [
            &["init", "--quiet"][..],
            &["add", "-A", "-f"],
            &["commit", "--quiet", "-m", "all"],
        ] {
            run(patch_stack::git::isolated("git")
                .arg("-C")
                .arg(&by_git)
                .args(words))?;
        }
        let git = processor_time::of_children()? - before;
        std::fs::remove_dir_all(&by_git)?;
        let toml = format!(
            "schema = 1\n[project.linux]\npatches = \"patches\"\nlicence = \"GPL-2.0-only\"\n\
             [project.linux.base.v]\nsource = [{{ tar = \"{}\" }}]\n",
            file.display()
        );
        std::fs::write(scratch.join("branches.toml"), toml)?;
        let before = processor_time::of_children()?;
        let mut command = this_program(&scratch, &["fetch", "--base", "v"]);
        run(command.env("PARAPET_CACHE", scratch.join("cache")))?;
        let ours = processor_time::of_children()? - before;
        let mirror = scratch.join("cache/branches/mirror/linux.git");
        let output = Command::new("du").arg("-sm").arg(&mirror).output()?;
        let size: f64 = String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .next()
            .and_then(|size| size.parse().ok())
            .context("du")?;
        Ok(vec![
            Figure {
                what: "import of a release".to_owned(),
                value: ours,
                unit: "CPU s",
                limit: git * 2.5,
                beside: format!("git add -A && git commit {git:.1} s, after unpacking"),
            },
            Figure {
                what: "import of a release: disk".to_owned(),
                value: size,
                unit: "MB",
                limit: 330.0,
                beside: String::new(),
            },
        ])
    })();
    let _ = std::fs::remove_dir_all(&scratch);
    measured
}
