// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of single patches. Each answer is kept under all that it depends on, so that after a
//! change only what changed is checked again.

#[cfg(test)]
mod tests;

use std::process::Stdio;

use git2::Oid;
use serde::{Deserialize, Serialize};

use crate::apply::{Applier, How, Policy, Step};
use crate::branch::PatchFile;
use crate::declare::Project;
use crate::failure::{At as _, Failure, Kind, Result};
use crate::format;
use crate::git;
use crate::hash;
use crate::lock::write_whole;
use crate::mail::{self, Patch, trailers};
use crate::mirror::Mirror;
use crate::tools::Tools;

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Is it signed off? A patch that is not is reported, and no failure.
    Signoff,
    /// The project's own style checker, without its question for a sign-off.
    Checkpatch,
    /// Does the message say why the patch is there?
    Reason,
    /// Does the patch survive being committed, written by git and read again?
    Roundtrip,
}

impl Check {
    /// All of them, the cheap ones first.
    pub const ALL: [Self; 4] = [
        Self::Signoff,
        Self::Reason,
        Self::Roundtrip,
        Self::Checkpatch,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signoff => "signoff",
            Self::Checkpatch => "checkpatch",
            Self::Reason => "reason",
            Self::Roundtrip => "roundtrip",
        }
    }

    /// The check called `name`.
    ///
    /// # Errors
    /// A sentence that names the nearest.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|check| check.name() == name)
            .ok_or_else(|| {
                Failure::usage(crate::declare::nearest_name(
                    "check",
                    name,
                    Self::ALL.iter().map(|check| check.name()),
                ))
            })
    }
}

/// What a check says of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// Good to know, and no failure.
    Note(String),
    /// It does not; each line is one finding.
    Fail(Vec<String>),
    /// It could not be checked, which is no pass.
    Skip(String),
}

/// A verdict, and whether it was found now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index of the patch over all layers.
    pub patch: usize,
    /// The check.
    pub check: Check,
    /// What it says.
    pub verdict: Verdict,
    /// Was it known already?
    pub cached: bool,
}

/// Checks the patches of a branch, whose commits have to be in the mirror
/// ([`branch::keep`](crate::branch::keep)).
pub struct Checker<'a> {
    mirror: &'a Mirror,
    project: &'a Project,
    start: Oid,
    tools: std::result::Result<Tools, String>,
}

impl<'a> Checker<'a> {
    /// A checker for patches on the commit `start`.
    ///
    /// # Errors
    /// The mirror can't be read.
    pub fn new(mirror: &'a Mirror, project: &'a Project, start: Oid) -> Result<Self> {
        let tools = match &project.checkpatch {
            None => Err("the project declares no checker".to_owned()),
            Some(declared) => {
                let mut paths = vec![declared.script.as_str()];
                paths.extend(declared.files.iter().map(String::as_str));
                match Tools::take(mirror, start, &paths) {
                    Ok(tools) => Ok(tools),
                    Err(error) if error.kind == Kind::Unavailable => Err(error.message),
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(Self {
            mirror,
            project,
            start,
            tools,
        })
    }

    /// Runs `check` on the patch at `index`, which made `steps[index]`, unless its answer is known.
    ///
    /// # Errors
    /// A program that can't be run, or a mirror that can't be read.
    pub fn check(
        &self,
        check: Check,
        index: usize,
        file: &PatchFile,
        steps: &[Step],
    ) -> Result<Finding> {
        let before = match index {
            0 => self.start,
            _ => steps.get(index - 1).map_or(self.start, |step| step.commit),
        };
        let key = self.key(check, before, steps.get(index), file)?;
        let place = self.mirror.root().join("checks").join(&key[..2]).join(&key);
        let found = |verdict, cached| Finding {
            patch: index,
            check,
            verdict,
            cached,
        };
        if let Some(verdict) = std::fs::read(&place)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            return Ok(found(verdict, true));
        }
        let verdict = match check {
            Check::Signoff => signoff(&file.patch),
            Check::Reason => reason(&file.patch),
            Check::Roundtrip => self.roundtrip(before, steps.get(index))?,
            Check::Checkpatch => self.checkpatch(file)?,
        };
        // A skip may be none next time.
        if !matches!(verdict, Verdict::Skip(_)) {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent).at("making", parent)?;
            }
            let bytes = serde_json::to_vec(&verdict).expect("texts become JSON");
            write_whole(&place, &bytes)?;
        }
        Ok(found(verdict, false))
    }

    /// All that the answer depends on.
    fn key(
        &self,
        check: Check,
        before: Oid,
        step: Option<&Step>,
        file: &PatchFile,
    ) -> Result<String> {
        let mut parts = vec![
            // Counted up when a check asks something else than before.
            b"checks 1".to_vec(),
            check.name().into(),
            file.patch.bytes.clone(),
        ];
        match check {
            Check::Signoff | Check::Reason => {}
            Check::Checkpatch => {
                let declared = self.project.checkpatch.as_ref();
                for list in declared
                    .map(|it| [&it.arguments, &it.ignore])
                    .into_iter()
                    .flatten()
                {
                    parts.push(list.join("\0").into_bytes());
                }
                parts.push(match &self.tools {
                    Ok(tools) => tools.version.clone().into_bytes(),
                    Err(reason) => reason.clone().into_bytes(),
                });
            }
            Check::Roundtrip => {
                // What it touches, before and after: a change elsewhere asks nothing anew.
                let repository = self.mirror.repository()?;
                let trees = [Some(before), step.map(|step| step.commit)];
                for commit in trees.into_iter().flatten() {
                    let tree = repository.find_commit(commit)?.tree()?;
                    for touched in &file.patch.diff.files {
                        for path in [&touched.old_path, &touched.new_path].into_iter().flatten() {
                            let entry = tree.get_path(&path_of(path)).ok();
                            parts.push(entry.map_or_else(Vec::new, |entry| {
                                [entry.id().as_bytes(), &entry.filemode().to_le_bytes()].concat()
                            }));
                        }
                    }
                }
                parts.push(vec![u8::from(self.project.keep_cr)]);
            }
        }
        Ok(hash::of_parts(parts.iter().map(Vec::as_slice)))
    }

    fn checkpatch(&self, file: &PatchFile) -> Result<Verdict> {
        let (tools, declared) = match (&self.tools, &self.project.checkpatch) {
            (Ok(tools), Some(declared)) => (tools, declared),
            (Err(reason), _) => return Ok(Verdict::Skip(reason.clone())),
            (_, None) => return Ok(Verdict::Skip("the project declares no checker".to_owned())),
        };
        let output = git::isolated("perl")
            .current_dir(&tools.folder)
            .arg(&declared.script)
            .args(&declared.arguments)
            .arg(&file.path)
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => return Ok(Verdict::Skip(format!("perl cannot be started: {error}"))),
        };
        if output.status.code().is_none() {
            // What it has said until then is no verdict, and not to be remembered.
            return Err(Failure::new(
                Kind::Interrupted,
                format!("{}: {}", declared.script, output.status),
            ));
        }
        let shown = file.path.display().to_string();
        let text = String::from_utf8_lossy(&output.stdout);
        let findings: Vec<_> = text
            .lines()
            .map(|line| line.replace(&shown, &file.name))
            .filter(|line| {
                ["ERROR", "WARNING", "CHECK"]
                    .iter()
                    .any(|word| line.contains(&format!("{word}:")) || line.starts_with(word))
            })
            .collect();
        let told = !findings.is_empty();
        let findings: Vec<_> = findings
            .into_iter()
            .filter(|line| !declared.ignore.iter().any(|text| says(line, text)))
            .collect();
        if findings.is_empty() && (told || output.status.success()) {
            return Ok(Verdict::Pass);
        }
        if findings.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it says nothing").to_owned();
            return Ok(Verdict::Fail(vec![format!("{}: {said}", declared.script)]));
        }
        Ok(Verdict::Fail(findings))
    }

    /// Commits the patch, has git write it, reads that and applies it again.
    fn roundtrip(&self, before: Oid, step: Option<&Step>) -> Result<Verdict> {
        let Some(step) = step else {
            return Ok(Verdict::Skip("the patch does not apply".to_owned()));
        };
        if step.how == How::AlreadyApplied {
            return Ok(Verdict::Fail(vec!["the patch changes nothing".to_owned()]));
        }
        let repository = self.mirror.repository()?;
        let mails = format::mails(self.mirror, before, step.commit, 1)?;
        let options = mail::Options {
            keep_cr: self.project.keep_cr,
        };
        let again = match Patch::parse(&mails[0], &options) {
            Ok(again) => again,
            Err(error) => {
                return Ok(Verdict::Fail(vec![format!(
                    "as git writes it, it can't be read: {error}"
                )]));
            }
        };
        let strict = Policy {
            offsets: false,
            three_way: false,
            committer: git::committer(),
        };
        let mut applier = Applier::new(&repository, strict)?;
        let outcome = applier.series(before, [&again])?;
        let mut findings = Vec::new();
        match outcome.steps.first() {
            Some(found) if found.tree != step.tree => {
                findings.push("as git writes it, it makes another tree".to_owned());
            }
            Some(found) if found.commit != step.commit => {
                findings.push("as git writes it, message, author or date are others".to_owned());
            }
            Some(_) => {}
            None => findings.push("as git writes it, it does not apply".to_owned()),
        }
        Ok(if findings.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Fail(findings)
        })
    }
}

fn path_of(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(path).into()
}

fn signoff(patch: &Patch) -> Verdict {
    let signed = trailers(&patch.message)
        .iter()
        .any(|trailer| trailer.key.eq_ignore_ascii_case("Signed-off-by"));
    if signed {
        Verdict::Pass
    } else {
        Verdict::Note("unsigned; a person signs when it is sent".to_owned())
    }
}

/// A message has to have a body: sentences, not only trailers.
fn reason(patch: &Patch) -> Verdict {
    let body = patch
        .message
        .split_once("\n\n")
        .map_or("", |(_, body)| body);
    let known: Vec<_> = trailers(&patch.message)
        .iter()
        .map(|trailer| format!("{}:", trailer.key.to_ascii_lowercase()))
        .collect();
    let words: usize = body
        .lines()
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            !known.iter().any(|key| line.starts_with(key))
        })
        .map(|line| line.split_whitespace().count())
        .sum();
    if words >= 3 {
        Verdict::Pass
    } else {
        Verdict::Fail(vec![
            "the message does not say why the patch is there".to_owned(),
        ])
    }
}

/// Does the finding `line` have `text`, in which `*` stands for anything?
fn says(line: &str, text: &str) -> bool {
    let mut rest = line;
    text.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}
