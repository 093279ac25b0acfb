// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branch format`: mails, ready to be sent by a person.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Result;
use clap::Args;
use patch_stack::branch;
use patch_stack::history;
use patch_stack::mail::{Person, trailers};
use patch_stack::send::{self, Sending};
use patch_stack::tools::Tools;
use patch_stack::watch::Watch as _;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::house::{House, Place, Shown};
use crate::signals;

pub(crate) const ABOUT: &str = "Write a branch's own series as mails; nothing is ever sent";
pub(crate) const LONG_ABOUT: &str = "\
Write a branch's own series as mails into a folder: numbered, threaded, with recipients from
branches.toml and the project's get_maintainer.pl. Nothing is ever sent.

--signoff adds a Signed-off-by for the person that it names, who sends the series and answers for
it; nobody else's is ever added. --from names who sends it without a sign-off. --cover, which needs
one of the two, takes the cover letter from the file `cover-letter` in the
series' folder: the subject, an empty line, the text. With --since, a commit of this repository that
holds the version before, the cover letter has the range-diff.

A base that came as a tarball is named by its tag, never by the commit that stands for it here.";
pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask branch format planes -v2 --cover --since HEAD~9 --signoff \"Ann Other <ann@example.org>\"";

/// Formats.
#[derive(Debug, Args)]
pub(crate) struct Format {
    /// The branch
    #[arg(value_name = "BRANCH")]
    branch: String,

    /// The number of the version
    #[arg(
        short = 'v',
        long = "reroll",
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    version: u32,

    /// With a cover letter
    #[arg(long)]
    cover: bool,

    /// The commit of this repository with the version before, for the cover letter
    #[arg(long, value_name = "REV", requires = "cover")]
    since: Option<String>,

    /// Sign off as this person, who sends the series
    #[arg(long, value_name = "NAME <MAIL>")]
    signoff: Option<String>,

    /// Send as this person, without a sign-off
    #[arg(long, value_name = "NAME <MAIL>", conflicts_with = "signoff")]
    from: Option<String>,

    /// The folder for the mails [default: out/mails/BRANCH-vN]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Format a branch that is downstream only
    #[arg(long)]
    anyway: bool,

    /// The project, where the branch has parts in several
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Format {
    pub(crate) fn run(self, house: &House) -> Result<Status> {
        let place = house.place(&self.branch, self.project.as_deref())?;
        if place.branch.downstream_only && !self.anyway {
            return Err(Failure::new(
                Status::Refused,
                format!(
                    "{} is downstream only: its upstream declines it",
                    self.branch
                ),
            )
            .hint("docs/src/branches.md says why; --anyway formats it for another reader")
            .into());
        }
        let sender = match (&self.signoff, &self.from) {
            (Some(text), _) => Some(person("--signoff", text)?),
            (None, Some(text)) => Some(person("--from", text)?),
            (None, None) => None,
        };
        let mirror = place.mirror()?;
        let watch = Shown::default();
        let _guard = mirror.lock(&watch)?;
        let applied = place.applied()?;
        if applied.standing() != branch::Standing::Clean {
            applied.require_applied()?;
            return Err(Failure::new(
                Status::NeedsRefresh,
                format!("{} needs a refresh before it can be mailed", place.title()),
            )
            .into());
        }
        branch::keep(&mirror, &applied)?;
        let below = applied
            .layers
            .iter()
            .take_while(|layer| layer.external)
            .map(|layer| layer.patches.len())
            .sum::<usize>();
        let start = match below {
            0 => applied.base.start,
            count => applied.outcome.steps[count - 1].commit,
        };
        watch.step(&format!("writing the mails of {}", place.title()));
        let own: Vec<_> = branch::patches(&applied.layers).skip(below).collect();
        let cover = self.cover.then(|| cover_letter(&applied)).transpose()?;
        let previous = self
            .since
            .as_deref()
            .map(|revision| {
                history::version(
                    &house.folder,
                    Some(revision),
                    &self.branch,
                    &place.project.name,
                    &mirror,
                )
            })
            .transpose()?;
        let mut to = place.project.to.clone();
        to.extend(place.part.to.iter().cloned());
        for address in maintainers(&place, &applied, &own)? {
            if !to.contains(&address) {
                to.push(address);
            }
        }
        let folder = match self.output {
            Some(folder) => std::path::absolute(folder)?,
            None => house
                .folder
                .join("out/mails")
                .join(format!("{}-v{}", self.branch, self.version)),
        };
        let prerequisites: Vec<_> = place
            .part
            .series
            .iter()
            .filter_map(|name| place.project.series[name].message_id.clone())
            .collect();
        let notes: Vec<_> = own.iter().map(|file| file.patch.notes.as_slice()).collect();
        let files = send::write_mails(
            &mirror,
            &applied.base,
            &place.project.bases[&place.part.base],
            &Sending {
                start,
                tip: applied.tip(),
                version: self.version,
                notes: &notes,
                cover: cover
                    .as_ref()
                    .map(|(subject, text)| (subject.as_str(), text.as_str())),
                sender: sender.as_ref(),
                signoff: self.signoff.is_some(),
                previous: previous.as_ref(),
                to: &to,
                prerequisites: &prerequisites,
                folder: &folder,
            },
        )?;
        watch.done();
        let unsigned = own
            .iter()
            .filter(|file| {
                !trailers(&file.patch.message)
                    .iter()
                    .any(|trailer| trailer.key.eq_ignore_ascii_case("Signed-off-by"))
            })
            .count();
        let unsigned = if self.signoff.is_none() { unsigned } else { 0 };
        if self.json {
            println!(
                "{:#}",
                json!({ "mails": files, "unsigned": unsigned, "to": to, "sent": false })
            );
            return Ok(Status::Good);
        }
        println!("{} mails are in {}", files.len(), folder.display());
        if unsigned > 0 {
            println!(
                "{unsigned} of them carry no Signed-off-by: --signoff \"Name <mail>\" adds yours"
            );
        }
        println!(
            "nothing was sent; a person does that: git send-email {}/*",
            folder.display()
        );
        Ok(Status::Good)
    }
}

fn person(option: &str, text: &str) -> Result<Person> {
    text.trim()
        .strip_suffix('>')
        .and_then(|text| text.split_once('<'))
        .filter(|(name, mail)| !name.trim().is_empty() && mail.contains('@'))
        .and_then(|(name, mail)| Person::new(name.trim().as_bytes(), mail.trim().as_bytes()))
        .ok_or_else(|| {
            Failure::usage(format!("{option} {text}: not a person"))
                .hint("write it like \"Ann Other <ann@example.org>\"")
                .into()
        })
}

/// Subject and text of the cover letter of the branch's last own series.
fn cover_letter(applied: &branch::Applied) -> Result<(String, String)> {
    let layer = applied
        .layers
        .iter()
        .rfind(|layer| !layer.external)
        .ok_or_else(|| Failure::usage("the branch has no series of its own"))?;
    let file = layer.folder.join("cover-letter");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::new(
            Status::Refused,
            format!("the cover letter {}: {error}", file.display()),
        )
        .hint("its first line is the subject, then an empty line and the text")
    })?;
    let (subject, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    Ok((subject.replace('\n', " "), body.to_owned()))
}

/// Who get_maintainer.pl names. It reads MAINTAINERS alone: there is no history to ask.
fn maintainers(
    place: &Place<'_>,
    applied: &branch::Applied,
    patches: &[&branch::PatchFile],
) -> Result<Vec<String>> {
    let Some(script) = &place.project.maintainers else {
        return Ok(Vec::new());
    };
    let tools = Tools::take(
        &place.mirror()?,
        applied.base.start,
        &[script, "MAINTAINERS"],
    )?;
    let output = patch_stack::git::isolated("perl")
        .current_dir(&tools.folder)
        .arg(script)
        .args(["--no-tree", "--nogit", "--nogit-fallback", "--no-rolestats"])
        .args(patches.iter().map(|file| &file.path))
        .stdin(Stdio::null())
        .output();
    signals::check()?;
    let found = match output {
        Ok(output) if output.status.success() => output.stdout,
        _ => {
            eprintln!("note: {script} could not be run; only the declared recipients are named");
            return Ok(Vec::new());
        }
    };
    Ok(String::from_utf8_lossy(&found)
        .lines()
        .map(str::trim)
        .filter(|line| line.contains('@'))
        .map(str::to_owned)
        .collect())
}
