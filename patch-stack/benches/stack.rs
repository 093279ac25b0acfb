// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the engine costs beside git, in one run: processor seconds and memory.
//!
//! ```text
//! cargo bench -p patch-stack --bench stack -- --repository …/mirror.git \
//!     --releases v6.12.90,v6.12.96,v6.18.15 [--json]
//! ```
//!
//! The releases are the base, the next release, and a further one, whose changes the patches are
//! made of. Nothing is written to the repository. Each measurement of the engine is a process of
//! its own, from reading the patches to the tip; git's are the commands that a maintainer would
//! use, in a sparse worktree that is there already.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/real_trees/material.rs"]
mod material;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Repo, parse, policy};
use git2::{Oid, Repository};
use material::{Part, Selection};
use patch_stack::apply::{Applier, Outcome};
use patch_stack::mail::{self, Patch};
use patch_stack::rebase;

/// Patches of a measurement.
const PATCHES: usize = 100;
/// Runs of the engine, of which the median counts.
const RUNS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if arguments.first().is_some_and(|first| first == "engine") {
        return engine(&arguments[1..]);
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned()
    };
    let (Some(repository), Some(releases)) = (value("--repository"), value("--releases")) else {
        eprintln!("usage: stack --repository MIRROR --releases BASE,NEXT,FURTHER [--json]");
        std::process::exit(2);
    };
    let bench = Bench::new(Path::new(&repository), &releases);
    let rows = bench.rows();
    if arguments.iter().any(|argument| argument == "--json") {
        let rows: Vec<String> = rows.iter().map(Row::json).collect();
        println!("[{}]", rows.join(","));
    } else {
        for row in rows {
            println!("{}", row.text());
        }
    }
}

/// A process of the engine: prints its processor time in microseconds, its largest resident size
/// in KiB, and the tip.
fn engine(arguments: &[String]) {
    let [what, repository, base, mailbox, rest @ ..] = arguments else {
        panic!("not for people")
    };
    let id = |text: &str| Oid::from_str(text).unwrap();
    let repository = Repository::open(repository).unwrap();
    let mut applier = Applier::new(&repository, policy()).unwrap();
    let mailbox = std::fs::read(mailbox).unwrap();
    let outcome: Outcome = if what == "apply" {
        let patches: Vec<Patch> = mail::split(&mailbox).into_iter().map(parse).collect();
        applier.series(id(base), &patches).unwrap()
    } else {
        let commits: Vec<Oid> = String::from_utf8(mailbox)
            .unwrap()
            .lines()
            .map(id)
            .collect();
        rebase::dry_run(&mut applier, &commits, id(&rest[0])).unwrap()
    };
    let schedule = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let nanoseconds: u64 = schedule.split(' ').next().unwrap().parse().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB");
    println!("{} {peak} {}", nanoseconds / 1000, common::tip(&outcome));
}

/// A comparison.
struct Row {
    what: &'static str,
    engine: f64,
    peak_mib: f64,
    git: f64,
    git_command: &'static str,
    /// git-replay(1), where git has it.
    replay: Option<f64>,
}

impl Row {
    fn text(&self) -> String {
        let replay = self
            .replay
            .map(|seconds| format!(", git replay {seconds:.2} s"))
            .unwrap_or_default();
        format!(
            "{}: engine {:.3} s and {:.0} MiB, {} {:.2} s (1/{:.1}){replay}",
            self.what,
            self.engine,
            self.peak_mib,
            self.git_command,
            self.git,
            self.git / self.engine
        )
    }

    fn json(&self) -> String {
        let replay = self
            .replay
            .map_or("null".to_owned(), |seconds| format!("{seconds:.3}"));
        format!(
            r#"{{"what":"{}","engine_cpu_s":{:.4},"engine_peak_mib":{:.1},"git":"{}","git_cpu_s":{:.3},"git_replay_cpu_s":{replay}}}"#,
            self.what, self.engine, self.peak_mib, self.git_command, self.git
        )
    }
}

struct Series {
    tip: Oid,
    commits: Vec<Oid>,
    files: Vec<Vec<u8>>,
    patches: Vec<Patch>,
}

struct Bench {
    repo: Repo,
    base: Oid,
    next: Oid,
    further: Oid,
}

impl Bench {
    fn new(repository: &Path, releases: &str) -> Self {
        let source = Repository::open(repository).expect("the repository opens");
        let ids: Vec<Oid> = releases
            .split(',')
            .map(|name| {
                source
                    .revparse_single(name)
                    .and_then(|object| object.peel_to_commit())
                    .expect(name)
                    .id()
            })
            .collect();
        let &[base, next, further] = ids.as_slice() else {
            panic!("three releases are wanted")
        };
        Self {
            repo: Repo::over(source.path()),
            base,
            next,
            further,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let one_file = Selection {
            base: self.base,
            further: self.further,
            also_in: None,
            patches: PATCHES,
            files: 1,
            part: Part::FirstHunk,
            without: Vec::new(),
            title: "one file",
        };
        let real = Selection {
            also_in: Some(self.next),
            files: 7,
            part: Part::Half,
            title: "real",
            ..one_file
        };
        let one_file = Selection {
            without: Vec::new(),
            ..one_file
        };
        let real = self.those_that_rebase(real);
        vec![
            self.apply("apply 100 patches of 7 files", &real),
            self.apply("apply 100 patches of one file", &one_file),
            self.rebase("rebase 100 patches to the next release", &real),
        ]
    }

    /// Leaves out what leaves conflicts on the next release: a measurement has to go to the end.
    /// Each patch has files of its own, so each can be tried by itself.
    fn those_that_rebase<'s>(&self, selection: Selection<'s>) -> Selection<'s> {
        let more = Selection {
            patches: PATCHES * 2,
            without: Vec::new(),
            ..selection
        };
        let commits = material::commits(&self.repo.repository(), &more);
        let mut applier = self.repo.applier();
        let mut without = Vec::new();
        for (number, commit) in commits.iter().enumerate() {
            let outcome = rebase::dry_run(&mut applier, &[*commit], self.next).unwrap();
            if outcome.stopped.is_some() {
                without.push(number);
            }
        }
        Selection {
            without,
            ..selection
        }
    }

    fn apply(&self, what: &'static str, selection: &Selection<'_>) -> Row {
        let series = self.series(selection);
        let mailbox = self.file("mailbox");
        std::fs::write(&mailbox, series.files.concat()).unwrap();
        let (engine, peak_mib, ours) = self.engine("apply", &mailbox, &[]);
        self.repo.check_out_sparse(self.base, &series.patches);
        let path = mailbox.to_str().unwrap();
        let am = [
            "am",
            "-q",
            "-3",
            "--keep-non-patch",
            "--committer-date-is-author-date",
            path,
        ];
        let git = self.cost(&am).expect("git am succeeds");
        assert_eq!(self.repo.id("HEAD"), ours);
        Row {
            what,
            engine,
            peak_mib,
            git,
            git_command: "git am",
            replay: None,
        }
    }

    fn rebase(&self, what: &'static str, selection: &Selection<'_>) -> Row {
        let series = self.series(selection);
        let list = self.file("commits");
        std::fs::write(
            &list,
            series
                .commits
                .iter()
                .map(|id| format!("{id}\n"))
                .collect::<String>(),
        )
        .unwrap();
        let (engine, peak_mib, ours) = self.engine("rebase", &list, &[&self.next.to_string()]);
        self.repo.check_out_sparse(series.tip, &series.patches);
        let (onto, base) = (self.next.to_string(), self.base.to_string());
        let rebase = [
            "rebase",
            "-q",
            "--committer-date-is-author-date",
            "--onto",
            &onto,
            &base,
        ];
        let git = self.cost(&rebase).expect("git rebase succeeds");
        assert_eq!(self.repo.id("HEAD"), ours);
        self.repo
            .git(&["branch", "-f", "topic", &series.tip.to_string()]);
        let replay = self.cost(&["replay", "--onto", &onto, &format!("{base}..topic")]);
        Row {
            what,
            engine,
            peak_mib,
            git,
            git_command: "git rebase --onto",
            replay,
        }
    }

    fn series(&self, selection: &Selection<'_>) -> Series {
        let commits = material::commits(&self.repo.repository(), selection);
        assert_eq!(commits.len(), PATCHES, "the releases differ by too little");
        let tip = *commits.last().unwrap();
        let files = self
            .repo
            .format_patch(&format!("{}..{tip}", self.base), &[]);
        let patches = files.iter().map(|file| parse(file)).collect();
        Series {
            tip,
            commits,
            files,
            patches,
        }
    }

    /// Processor seconds of a git command, or `None` when it fails.
    fn cost(&self, arguments: &[&str]) -> Option<f64> {
        let before = children();
        let output = self.repo.command(arguments).output().unwrap();
        output.status.success().then(|| children() - before)
    }

    /// Seconds, MiB and the tip of the run that took the median time.
    fn engine(&self, what: &str, input: &Path, rest: &[&str]) -> (f64, f64, Oid) {
        let mut runs: Vec<(u64, u64, String)> = (0..RUNS)
            .map(|_| {
                let output = Command::new(std::env::current_exe().unwrap())
                    .args([
                        "engine",
                        what,
                        self.repo.path().to_str().unwrap(),
                        &self.base.to_string(),
                        input.to_str().unwrap(),
                    ])
                    .args(rest)
                    .output()
                    .unwrap();
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                let printed = String::from_utf8(output.stdout).unwrap();
                let words: Vec<&str> = printed.split_whitespace().collect();
                (
                    words[0].parse().unwrap(),
                    words[1].parse().unwrap(),
                    words[2].to_owned(),
                )
            })
            .collect();
        runs.sort();
        let (microseconds, kib, tip) = &runs[RUNS / 2];
        (
            *microseconds as f64 / 1e6,
            *kib as f64 / 1024.0,
            Oid::from_str(tip).unwrap(),
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.repo.path().join(".git").join(name)
    }
}

/// Processor seconds of all child processes that have ended.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the command's name, which may have blanks: user and system time of children are the
    // 14th and 15th field (proc_pid_stat(5)), in hundredths on every Linux that there is.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) / 100.0
}
