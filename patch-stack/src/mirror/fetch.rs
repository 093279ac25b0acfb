// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gets a base into the mirror: its sources are tried in order, and what came is held against
//! the lock before a ref moves.

use std::path::{Path, PathBuf};

use git2::Oid;

use super::debian::Archive;
use super::download::{Wanted, download};
use super::fixups::{self, Fixup};
use super::origin::{Origin, is_address};
use super::{BaseState, Mirror, tarball};
use crate::declare::{Base, Source, SourceKind};
use crate::failure::{At as _, Failure, Kind, Result};
use crate::git::RefMove;
use crate::hash;
use crate::lock::BaseLock;
use crate::watch::Watch;

/// What a fetch needs to know.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The folder of `branches.toml`; paths are relative to it.
    pub folder: &'a Path,
    /// Debian's archive.
    pub archive: &'a Archive,
    /// What the base has to be, if it is locked.
    pub pinned: Option<&'a BaseLock>,
    /// Fetch it even if the mirror has it.
    pub again: bool,
}

/// Where a base lies once it is got, before refs move.
struct Got {
    commit: Oid,
    sha256: Option<String>,
    fixups: Vec<Fixup>,
    scratch: Option<String>,
}

/// Gets `base` into `mirror`, which the caller has locked. Returns the base and whether it was
/// fetched now.
///
/// # Errors
/// [`Kind::Unavailable`] with the reason of each source, if none has it. [`Kind::Refused`] if
/// what came is not what is pinned.
pub fn fetch(
    mirror: &Mirror,
    base: &Base,
    how: &Fetch<'_>,
    watch: &dyn Watch,
) -> Result<(BaseState, bool)> {
    if !how.again
        && let Some(state) = mirror.find_base(&base.name)?
        && state.differs(base, how.folder).is_none()
    {
        return Ok((state, false));
    }
    tarball::sweep(mirror.folder());
    let mut reasons = Vec::new();
    for source in &base.sources {
        match from(mirror, base, source, how, watch) {
            Ok(state) => return Ok((state, true)),
            Err(error) if error.kind == Kind::Unavailable => {
                // Nothing is known of a source whose program was told to stop.
                watch.check()?;
                reasons.push(format!("{}: {}", source.kind.describe(), error.message));
            }
            Err(error) => {
                return Err(error.context(format!("{} {}", mirror.project, base.name)));
            }
        }
    }
    let failure = Failure::new(
        Kind::Unavailable,
        format!(
            "no source has {} {}: {}",
            mirror.project,
            base.name,
            reasons.join("; ")
        ),
    );
    Err(match mirror.find_base(&base.name)? {
        Some(state) => failure.hint(match state.differs(base, how.folder) {
            None => "the mirror has it from before, and goes on working without".to_owned(),
            Some(why) => format!("{why}; it is kept, and not used"),
        }),
        None => failure.hint("add another source to it in branches.toml"),
    })
}

fn from(
    mirror: &Mirror,
    base: &Base,
    source: &Source,
    how: &Fetch<'_>,
    watch: &dyn Watch,
) -> Result<BaseState> {
    let got = match &source.kind {
        SourceKind::Debian { package, version } => {
            let is_upstream = |name: &str| name.contains(".orig.tar.");
            let (file, sha256) = how.archive.file(package, version, is_upstream, watch)?;
            let fixups = fixups_of(source, how, Some((package, version)), watch)?;
            unpacked(mirror, base, &file, sha256, fixups, how, watch)?
        }
        SourceKind::Tar { location, sha256 } => {
            let file = tarball_file(location, sha256.as_deref(), how, watch)?;
            let found = hash::of_file(&file)?;
            if let Some(wanted) = sha256
                && *wanted != found
            {
                return Err(Failure::refused(format!(
                    "{location} has the SHA-256 {found}, and branches.toml says {wanted}"
                )));
            }
            let fixups = fixups_of(source, how, None, watch)?;
            unpacked(mirror, base, &file, found, fixups, how, watch)?
        }
        SourceKind::Git { url, reference } => {
            let fixups = fixups_of(source, how, None, watch)?;
            cloned(mirror, base, how.folder, url, reference, fixups, watch)?
        }
    };
    let origin = Origin {
        kind: source.kind.word().to_owned(),
        source: source.kind.describe(),
        location: source.location(how.folder),
        sha256: got.sha256.clone(),
        fixups: fixups::digest(&got.fixups),
        fixup_names: source.fixups.clone(),
    };
    // Whoever asks for it again may do so because something is wrong with it.
    let readable = if how.again {
        watch.step(&format!("reading {} {} back", mirror.project, base.name));
        mirror.require_readable(&base.name, got.commit)
    } else {
        Ok(())
    };
    watch.done();
    let finished = readable.and_then(|()| finish(mirror, base, &got, &origin, how));
    if finished.is_err()
        && let Some(name) = got.scratch
    {
        let _ = mirror.git().move_refs(&[RefMove::Delete { name }]);
    }
    finished
}

fn finish(
    mirror: &Mirror,
    base: &Base,
    got: &Got,
    origin: &Origin,
    how: &Fetch<'_>,
) -> Result<BaseState> {
    let tree = mirror.repository()?.find_commit(got.commit)?.tree_id();
    if let Some(pinned) = how.pinned {
        let (commit, pinned_tree) = (got.commit.to_string(), tree.to_string());
        if pinned.tree != pinned_tree || pinned.commit != commit {
            return Err(Failure::refused(format!(
                "{} {} is pinned to the tree {} and came with the tree {pinned_tree}",
                mirror.project, base.name, pinned.tree
            ))
            .hint(
                "if that is what you want, take its [[base]] out of branches.lock and fetch again",
            ));
        }
    }
    let start = fixups::apply(mirror, got.commit, &base.name, &got.fixups)?;
    let blob = mirror.repository()?.blob(origin.to_text().as_bytes())?;
    let set = |kind: &str, to| RefMove::Set {
        name: format!("refs/{kind}/{}", base.name),
        to,
    };
    let mut moves = vec![
        set("bases", got.commit),
        set("fixed", start),
        set("origins", blob),
    ];
    if let Some(name) = &got.scratch {
        moves.push(RefMove::Delete { name: name.clone() });
    }
    mirror.git().move_refs(&moves)?;
    mirror.base(&base.name)
}

fn tarball_file(
    location: &str,
    sha256: Option<&str>,
    how: &Fetch<'_>,
    watch: &dyn Watch,
) -> Result<PathBuf> {
    if !is_address(location) {
        let file = how.folder.join(location);
        if !file.exists() {
            return Err(Failure::new(
                Kind::Unavailable,
                format!("there is no file {}", file.display()),
            ));
        }
        return Ok(file);
    }
    let wanted = Wanted {
        address: location.to_owned(),
        name: location.rsplit('/').next().unwrap_or("tarball").to_owned(),
        size: None,
        sha256: sha256.map(str::to_owned),
        again: how.again,
    };
    // Two addresses may well end in the same name.
    let folder = hash::of_parts([location.as_bytes()]);
    download(
        &wanted,
        &how.archive.folder.join("files").join(folder),
        |part| {
            let mut command = std::process::Command::new("curl");
            command
                .args(["--fail", "--location", "--silent", "--show-error"])
                .args(["--continue-at", "-", "--output"])
                .arg(part)
                .arg(&wanted.address);
            command
        },
        watch,
    )
}

fn unpacked(
    mirror: &Mirror,
    base: &Base,
    file: &Path,
    sha256: String,
    fixups: Vec<Fixup>,
    how: &Fetch<'_>,
    watch: &dyn Watch,
) -> Result<Got> {
    if let Some(wanted) = how.pinned.and_then(|pinned| pinned.sha256.as_ref())
        && *wanted != sha256
        && how.pinned.is_some_and(|pinned| pinned.kind != "git")
    {
        // Another archive of the same tree is as good; the tree decides below.
        watch.detail("not the file that is pinned; its tree decides");
    }
    watch.step(&format!("importing {} {}", mirror.project, base.name));
    let scratch = format!("refs/import/{}", base.name);
    let message = format!(
        "{}\n\nThe tree of a release, without its history.\n",
        base.name
    );
    tarball::import(&mirror.git(), file, &scratch, &message, watch)?;
    watch.done();
    let commit = mirror
        .find_ref(&scratch)?
        .ok_or_else(|| Failure::failed("git fast-import made no commit"))?;
    Ok(Got {
        commit,
        sha256: Some(sha256),
        fixups,
        scratch: Some(scratch),
    })
}

fn cloned(
    mirror: &Mirror,
    base: &Base,
    folder: &Path,
    url: &str,
    reference: &str,
    fixups: Vec<Fixup>,
    watch: &dyn Watch,
) -> Result<Got> {
    let scratch = format!("refs/import/{}", base.name);
    let local = folder.join(url);
    let url = if local.exists() {
        local.display().to_string()
    } else {
        url.to_owned()
    };
    watch.step(&format!("fetching {reference} of {url}"));
    let output = mirror.git().try_output(&[
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        &url,
        &format!("+{reference}:{scratch}"),
    ])?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("fatal: ") || line.starts_with("error: "))
            .collect();
        return Err(Failure::new(Kind::Unavailable, said.join("; ")));
    }
    watch.done();
    let commit = mirror
        .git()
        .text(&["rev-parse", "--verify", &format!("{scratch}^{{commit}}")])?;
    let commit = Oid::from_str(&commit)?;
    if let Some(declared) = &base.commit
        && *declared != commit.to_string()
    {
        let _ = mirror.git().move_refs(&[RefMove::Delete { name: scratch }]);
        return Err(Failure::refused(format!(
            "{reference} of {url} is {commit}, and branches.toml says {declared}"
        )));
    }
    Ok(Got {
        commit,
        sha256: None,
        fixups,
        scratch: Some(scratch),
    })
}

/// The fixups of `source`: from Debian's own part of the source package where a name begins with
/// `debian/`, else files of the repository.
fn fixups_of(
    source: &Source,
    how: &Fetch<'_>,
    debian: Option<(&str, &str)>,
    watch: &dyn Watch,
) -> Result<Vec<Fixup>> {
    let mut packaged = None;
    source
        .fixups
        .iter()
        .map(|name| {
            let bytes = match debian {
                Some((package, version)) if source.is_packaged(name) => {
                    if packaged.is_none() {
                        let is_debians = |name: &str| name.contains(".debian.tar.");
                        packaged = Some(how.archive.file(package, version, is_debians, watch)?.0);
                    }
                    let file = packaged.as_deref().expect("it was just set");
                    tarball::member(file, name)?
                }
                _ => {
                    let file = how.folder.join(name);
                    std::fs::read(&file).at("reading", &file)?
                }
            };
            Ok((name.clone(), bytes))
        })
        .collect()
}
