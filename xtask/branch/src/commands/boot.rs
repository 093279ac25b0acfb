// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch boot`: does it run?

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use patch_stack::branch::Applied;
use patch_stack::build::{Key, Purpose, Yard, packages};
use patch_stack::declare::Build;
use patch_stack::mirror::Mirror;
use patch_stack::watch::Watch as _;
use serde_json::{Value, json};

use crate::boot::compare;
use crate::boot::machine::{self, Machine};
use crate::boot::selftests;
use crate::boot::verdict::{Done, Transcript, Verdict};
use crate::building::{self, Subject};
use crate::cache::write_whole;
use crate::failure::{Failure, Status};
use crate::house::{House, Place, Shown};
use crate::table;

pub(crate) const ABOUT: &str = "Boot a branch's kernel, and run KVM's selftests in it";
pub(crate) const LONG_ABOUT: &str = "\
Boot a branch's kernel under stock QEMU (TCG with nested SVM, no hardware needed), open /dev/kvm,
and run the selftests that branches.toml names for the branch, from the branch's own tree.

A test that is SKIPPED has tested nothing and is no pass: there is no VMX, SEV or TDX here. A test
fails if it says so, takes longer than its limit, or makes the kernel complain. A kernel that is
lost on the way is booted again for the tests that are left.

With --long, all selftests of the base run on the unpatched kernel and on the branch's, side by
side: nothing that passed before may fail. One that does is run again with twice the time, since a
busy host makes tests late. The base's verdicts are kept.

--build names another build of the project, like a kernel with lockdep and KASAN: its complaints fail
the test in which they come.

PARAPET_QEMU names the QEMU to use; without it, it is qemu-system-x86_64 in PATH.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch boot planes
  cargo xtask branch boot planes --test 'x86/plane_*' --test irqfd_test
  cargo xtask branch boot planes --build kvm-debug --test 'x86/plane_*'
  cargo xtask branch boot planes --long --json > verdicts.json";

/// Packages that `boot` needs besides those of the build.
const PACKAGES: [&str; 4] = ["binutils", "busybox-static", "gcc", "libc6-dev"];

/// Boots.
#[derive(Debug, Args)]
pub(crate) struct BootCommand {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Run only these selftests; a `*` stands for any text
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,

    /// Boot this build of the project [default: the branch's own]
    #[arg(long, value_name = "NAME")]
    build: Option<String>,

    /// Run all selftests of the base, on the base and on the branch
    #[arg(long)]
    long: bool,

    /// Seconds that a test may take [default: 60; with --long: 120]
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,

    /// The QEMU to use
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A kernel and the tests for it.
struct Ready<'r> {
    place: &'r Place<'r>,
    build: &'r Build,
    mirror: &'r Mirror,
    yard: &'r Yard<'r>,
    watch: &'r Shown,
    qemu: PathBuf,
    limit: u64,
    json: bool,
    /// Whether it is what `branch status` tells as the branch's last boot.
    noted: bool,
}

impl BootCommand {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        if let Some(reason) = &place.part.no_boot {
            if self.json {
                let report = json!({
                    "branch": place.branch.name, "verdict": "SKIPPED", "reason": reason,
                });
                println!("{report:#}");
            } else {
                println!("SKIPPED  {}: {reason}", place.title());
            }
            return Ok(Status::Good);
        }
        let build = building::kernel(&place, self.build.as_deref())?;
        let qemu = machine::qemu(self.qemu.as_deref());
        machine::version(&qemu)?;
        packages::require(&PACKAGES.map(str::to_owned))?;
        let watch = Shown::default();
        let (mirror, applied) = building::ready(&place, &watch)?;
        let yard = building::yard(&place, build, &mirror, &watch)?;
        let ready = Ready {
            place: &place,
            build,
            mirror: &mirror,
            yard: &yard,
            watch: &watch,
            qemu,
            limit: self.limit.unwrap_or(if self.long { 120 } else { 60 }),
            json: self.json,
            noted: self.build.is_none() && self.tests.is_empty(),
        };
        if self.long {
            ready.long(&applied, &self.tests)
        } else {
            ready.smoke(&applied, &self.tests)
        }
    }
}

impl Ready<'_> {
    /// The branch's kernel with tests of its own tree.
    fn smoke(&self, applied: &Applied, tests: &[String]) -> Result<Status> {
        let tip = Subject::tip(self.place, self.mirror, applied)?;
        let names = selftests::names(self.mirror, &tip)?;
        let wanted = if tests.is_empty() {
            &self.place.part.boot
        } else {
            tests
        };
        let names = selftests::chosen(&names, wanted)?;
        let kernel = self.kernel(&tip)?;
        let programs = selftests::programs(self.place, self.yard, &tip, &names, self.watch)?;
        let started = Instant::now();
        let machine = self.machine(kernel, "tip", 1024);
        self.watch.step(&format!("booting {}", tip.name));
        let (transcript, mut done) = machine.run(&programs, &names, self.watch)?;
        self.watch.done();
        let seconds = started.elapsed().as_secs_f64();
        let boot = boot_verdict(&machine, &transcript);
        // What the kernel took away can't be said to have been left out.
        for name in &names {
            if !done.iter().any(|one| one.name == *name) {
                done.push(not_reached(name));
            }
        }
        let all: Vec<_> = boot.into_iter().chain(done).collect();
        let counts = count(&all.iter().map(|one| &one.verdict).collect::<Vec<_>>());
        if self.noted {
            building::note_boot(self.place, &tip, counts.0, counts.1, counts.2)?;
        }
        if self.json {
            let report = json!({
                "branch": self.place.branch.name,
                "tip_commit": tip.commit.to_string(),
                "kernel": transcript.release,
                "qemu": machine::version(&self.qemu)?,
                "seconds": seconds,
                "tests": all.iter().map(Done::to_json).collect::<Vec<_>>(),
                "passed": counts.0, "failed": counts.1, "skipped": counts.2,
            });
            println!("{report:#}");
        } else {
            for one in &all {
                tell(one);
            }
            println!(
                "{} passed, {} failed, {} skipped in {seconds:.1} s",
                counts.0, counts.1, counts.2
            );
            if counts.1 > 0 {
                println!("consoles and results are in {}", machine.folder.display());
            }
        }
        Ok(status(counts.1))
    }

    /// All tests of the base, or these, on both kernels.
    fn long(&self, applied: &Applied, tests: &[String]) -> Result<Status> {
        let base = Subject::base(self.place, self.mirror, applied)?;
        let tip = Subject::tip(self.place, self.mirror, applied)?;
        let mut names = selftests::names(self.mirror, &base)?;
        if !tests.is_empty() {
            names = selftests::chosen(&names, tests)?;
        }
        let kernels = (self.kernel(&base)?, self.kernel(&tip)?);
        let programs = selftests::programs(self.place, self.yard, &base, &names, self.watch)?;
        let before = self.base_verdicts(kernels.0, &base, &programs, &names)?;
        let run = |folder: &str, names: &[String], limit| {
            self.all(
                kernels.1.clone(),
                &tip.name,
                folder,
                &programs,
                names,
                limit,
            )
        };
        let (transcript, after) = run("tip-long", &names, self.limit)?;
        let mut pairs = compare::pairs(&names, &before, &after);
        // A busy host makes tests late: what is worse has to be so twice.
        let again = compare::worse(&pairs);
        if !again.is_empty() {
            let (_, second) = run("tip-again", &again, 2 * self.limit)?;
            compare::second_run(&mut pairs, &second);
        }
        let worse = pairs.iter().filter(|pair| pair.worse()).count();
        if self.json {
            let report = json!({
                "branch": self.place.branch.name,
                "base_commit": base.commit.to_string(),
                "tip_commit": tip.commit.to_string(),
                "kernel": transcript.release,
                "qemu": machine::version(&self.qemu)?,
                "limit": self.limit,
                "tests": pairs.iter().map(compare::Pair::to_json).collect::<Vec<Value>>(),
                "worse": worse,
            });
            println!("{report:#}");
            return Ok(status(worse));
        }
        let rows: Vec<_> = pairs
            .iter()
            .filter(|pair| {
                pair.differs() || pair.first.is_some() || matches!(pair.base, Verdict::Fail(_))
            })
            .map(|pair| {
                vec![
                    pair.name.clone(),
                    pair.base.word().to_owned(),
                    pair.tip.word().to_owned(),
                    if pair.worse() { "WORSE: " } else { "" }.to_owned() + &pair.told(),
                ]
            })
            .collect();
        if !rows.is_empty() {
            table::print(&["test", &base.name, &tip.name, ""], &rows);
        }
        let verdicts: [(_, Vec<&Verdict>); 2] = [
            (&base.name, pairs.iter().map(|pair| &pair.base).collect()),
            (&tip.name, pairs.iter().map(|pair| &pair.tip).collect()),
        ];
        for (name, verdicts) in verdicts {
            let (passed, failed, skipped) = count(&verdicts);
            println!("{name}: {passed} passed, {failed} failed, {skipped} skipped");
        }
        println!("{worse} that passed before do no more");
        Ok(status(worse))
    }

    /// The base's verdicts, kept from before or made now.
    fn base_verdicts(
        &self,
        kernel: PathBuf,
        base: &Subject,
        programs: &[crate::boot::initramfs::Program],
        names: &[String],
    ) -> Result<Vec<Done>> {
        let list = names.join("\n");
        let kernel_name = kernel.to_string_lossy().into_owned();
        let tests = programs.first().map(|program| program.path.clone());
        let tests = tests.unwrap_or_default().to_string_lossy().into_owned();
        let key = Key::of_parts([
            kernel_name.as_bytes(),
            tests.as_bytes(),
            list.as_bytes(),
            machine::version(&self.qemu)?.as_bytes(),
            &self.limit.to_le_bytes(),
        ]);
        let folder = self.place.house.root.join("verdicts");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", key.text()));
        if let Some(done) = compare::read(&path) {
            return Ok(done);
        }
        let (_, done) = self.all(kernel, &base.name, "base-long", programs, names, self.limit)?;
        write_whole(&path, &compare::write(&done))?;
        Ok(done)
    }

    /// All of `names` on this kernel, which has to reach user space.
    fn all(
        &self,
        kernel: PathBuf,
        title: &str,
        folder: &str,
        programs: &[crate::boot::initramfs::Program],
        names: &[String],
        limit: u64,
    ) -> Result<(Transcript, Vec<Done>)> {
        let mut machine = self.machine(kernel, folder, 4096);
        machine.limit = limit;
        self.watch
            .step(&format!("running all selftests on {title}"));
        let result = machine.run(programs, names, self.watch)?;
        self.watch.done();
        if result.0.release.is_none() {
            let why = machine.why_not(&format!("the kernel of {title} did not reach user space"));
            return Err(Failure::new(Status::Failed, why).into());
        }
        Ok(result)
    }

    fn kernel(&self, subject: &Subject) -> Result<PathBuf> {
        let built = building::make(
            self.place,
            self.build,
            self.yard,
            subject,
            Purpose::Whole,
            self.watch,
        )?;
        Ok(building::product(self.build, &built.kept).expect("a build with a product was chosen"))
    }

    fn machine(&self, kernel: PathBuf, folder: &str, memory: u32) -> Machine {
        let home = self.place.house.root.join("boot");
        Machine {
            qemu: self.qemu.clone(),
            kernel,
            folder: home.join(&self.place.branch.name).join(folder),
            cpus: 2,
            memory,
            limit: self.limit,
        }
    }
}

/// The first two tests: did it boot, and is there KVM?
fn boot_verdict(machine: &Machine, transcript: &Transcript) -> Vec<Done> {
    let done = |name: &str, verdict| Done {
        name: name.to_owned(),
        verdict,
        seconds: 0.0,
        said: String::new(),
    };
    if transcript.release.is_none() {
        let why = machine.why_not("the kernel did not reach user space");
        return vec![done("boot", Verdict::Fail(why))];
    }
    let kvm = if transcript.kvm {
        Verdict::Pass
    } else {
        Verdict::Fail(machine.why_not("/dev/kvm can't be opened"))
    };
    vec![
        done("boot", machine.boot_complaint()),
        done("/dev/kvm", kvm),
    ]
}

fn not_reached(name: &str) -> Done {
    Done {
        name: name.to_owned(),
        verdict: Verdict::Fail("it was not reached".to_owned()),
        seconds: 0.0,
        said: String::new(),
    }
}

fn count(verdicts: &[&Verdict]) -> (usize, usize, usize) {
    let of = |word: &str| verdicts.iter().filter(|one| one.word() == word).count();
    (of("pass"), of("FAIL"), of("SKIPPED"))
}

fn status(bad: usize) -> Status {
    if bad == 0 {
        Status::Good
    } else {
        Status::Failed
    }
}

fn tell(one: &Done) {
    let time = if one.seconds > 0.0 {
        format!(" ({:.1} s)", one.seconds)
    } else {
        String::new()
    };
    println!("{:8} {}{time}", one.verdict.word(), one.name);
    for line in one.verdict.reason().lines() {
        println!("         {line}");
    }
    if matches!(one.verdict, Verdict::Fail(_)) {
        let lines: Vec<_> = one.said.lines().collect();
        for line in &lines[lines.len().saturating_sub(6)..] {
            println!("         | {line}");
        }
    }
}
