// SPDX-License-Identifier: MIT OR Apache-2.0
//! A project: where its patches lie, its bases with their sources, its series.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::build::Build;
use super::fields::Fields;
use super::{Error, check_name};

/// An upstream project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The folder of its series, relative to the declaration's folder.
    pub patches: String,
    /// The licence of its patches, as an SPDX expression or in words.
    pub licence: String,
    /// Folders that a worktree has, besides what the patches touch.
    pub sparse: Vec<String>,
    /// Do patch files keep carriage returns at line ends?
    pub keep_cr: bool,
    /// The project's own style checker.
    pub checkpatch: Option<Checkpatch>,
    /// Mail addresses that every mailing of it goes to.
    pub to: Vec<String>,
    /// The script in its tree that names maintainers, like `scripts/get_maintainer.pl`.
    pub maintainers: Option<String>,
    /// Its bases, by name.
    pub bases: BTreeMap<String, Base>,
    /// Its series, by name.
    pub series: BTreeMap<String, SeriesEntry>,
    /// Its builds, by name.
    pub builds: BTreeMap<String, Build>,
}

/// A checker that lives in the project's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpatch {
    /// The script's path in the tree.
    pub script: String,
    /// Other files of the tree that it reads.
    pub files: Vec<String>,
    /// Its arguments; the patch file follows.
    pub arguments: Vec<String>,
    /// Texts; a finding that has one of them does not count.
    pub ignore: Vec<String>,
}

/// One state of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name, by custom the upstream's tag.
    pub name: String,
    /// The upstream's tag, for mails; the name if nothing else is said.
    pub tag: String,
    /// The upstream's commit, if it is known: only such a commit is sent as `base-commit`.
    pub commit: Option<String>,
    /// Where it can be had, tried in order.
    pub sources: Vec<Source>,
}

/// A place that a base can be had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which kind, and where.
    pub kind: SourceKind,
    /// Patches that make this source fit to build; a layer below the series, never exported.
    /// Names of patches in Debian's own part of a source package, or paths in the repository.
    pub fixups: Vec<String>,
}

/// The kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// The upstream tarball of a Debian source package.
    Debian {
        /// The source package.
        package: String,
        /// Its version, Debian's revision included.
        version: String,
    },
    /// A tarball: a file, relative to the declaration's folder, or an address.
    Tar {
        /// Where it is.
        location: String,
        /// The SHA-256 that it has to have, if that is known.
        sha256: Option<String>,
    },
    /// A git repository.
    Git {
        /// Its address or path.
        url: String,
        /// The ref or commit.
        reference: String,
    },
}

impl SourceKind {
    /// The word for it in `branches.toml` and `branches.lock`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Debian { .. } => "debian",
            Self::Tar { .. } => "tar",
            Self::Git { .. } => "git",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Debian { package, version } => format!("Debian's source {package} {version}"),
            Self::Tar { location, .. } => format!("the tarball {location}"),
            Self::Git { url, reference } => format!("{reference} of {url}"),
        }
    }
}

/// A series as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its name, and the name of its folder.
    pub name: String,
    /// One line on what it does.
    pub description: String,
    /// The message-id of the mail that it came with. Such a series is an external layer.
    pub message_id: Option<String>,
    /// Replacements of single patches for other bases.
    pub variants: Vec<Variant>,
}

impl SeriesEntry {
    /// The variant that is for `base`, if one is.
    #[must_use]
    pub fn variant(&self, base: &str) -> Option<&Variant> {
        self.variants
            .iter()
            .find(|variant| variant.bases.iter().any(|name| name == base))
    }
}

/// A variant of a series: files in a folder `variant-NAME` below the series replace those of the
/// same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The bases that it is for.
    pub bases: Vec<String>,
}

impl Variant {
    /// Its folder below that of the series.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("variant-{}", self.name)
    }
}

impl Project {
    pub(super) fn read(name: &str, fields: &Fields<'_>) -> Result<Self, Error> {
        let mut project = Self {
            name: name.to_owned(),
            patches: fields.text("patches")?,
            licence: fields.text("licence")?,
            sparse: fields.texts("sparse")?,
            keep_cr: fields.flag("keep-cr")?,
            checkpatch: None,
            to: fields.texts("to")?,
            maintainers: fields.optional_text("maintainers")?,
            bases: BTreeMap::new(),
            series: BTreeMap::new(),
            builds: BTreeMap::new(),
        };
        if !is_below(&project.patches) {
            return Err(fields.wrong(format!(
                "`patches` is `{}`, and has to be a folder below that of branches.toml, like `patches/{name}`",
                project.patches
            )));
        }
        if let Some(check) = fields.optional_table("checkpatch")? {
            project.checkpatch = Some(Checkpatch {
                script: check.text("script")?,
                files: check.texts("files")?,
                arguments: check.texts("arguments")?,
                ignore: check.texts("ignore")?,
            });
            check.end(&[])?;
        }
        for (name, base) in fields.children("base")? {
            check_name(&name).map_err(|why| base.wrong(why))?;
            project
                .bases
                .insert(name.clone(), Base::read(&name, &base)?);
        }
        for (name, series) in fields.children("series")? {
            check_name(&name).map_err(|why| series.wrong(why))?;
            let entry = SeriesEntry::read(&name, &series, &project.bases)?;
            project.series.insert(name, entry);
        }
        for (name, build) in fields.children("build")? {
            check_name(&name).map_err(|why| build.wrong(why))?;
            project
                .builds
                .insert(name.clone(), Build::read(&name, &build)?);
        }
        fields.end(&[])?;
        Ok(project)
    }
}

/// Is `path` a folder below another, however that is reached?
fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

impl Base {
    fn read(name: &str, fields: &Fields<'_>) -> Result<Self, Error> {
        let base = Self {
            name: name.to_owned(),
            tag: fields
                .optional_text("tag")?
                .unwrap_or_else(|| name.to_owned()),
            commit: fields.optional_text("commit")?,
            sources: fields
                .list("source")?
                .iter()
                .map(Source::read)
                .collect::<Result<_, _>>()?,
        };
        fields.end(&[])?;
        if let Some(commit) = &base.commit
            && (commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(fields.wrong("`commit` has to be a commit's full name, 40 digits"));
        }
        if base.sources.is_empty() {
            return Err(fields.missing("source"));
        }
        Ok(base)
    }
}

impl Source {
    fn read(fields: &Fields<'_>) -> Result<Self, Error> {
        let debian = fields.optional_text("debian")?;
        let version = fields.optional_text("version")?;
        let tar = fields.optional_text("tar")?;
        let sha256 = fields.optional_text("sha256")?;
        let git = fields.optional_text("git")?;
        let reference = fields.optional_text("ref")?;
        let fixups = fields.texts("fixups")?;
        fields.end(&[])?;
        let kind = match (debian, version, tar, sha256, git, reference) {
            (Some(package), Some(version), None, None, None, None) => {
                SourceKind::Debian { package, version }
            }
            (None, None, Some(location), sha256, None, None) => {
                SourceKind::Tar { location, sha256 }
            }
            (None, None, None, None, Some(url), Some(reference)) => {
                SourceKind::Git { url, reference }
            }
            _ => {
                return Err(fields.wrong(
                    "a source is `debian` with `version`, or `tar` (with `sha256`), or `git` with `ref`",
                ));
            }
        };
        Ok(Self { kind, fixups })
    }
}

impl SeriesEntry {
    fn read(
        name: &str,
        fields: &Fields<'_>,
        bases: &BTreeMap<String, Base>,
    ) -> Result<Self, Error> {
        let mut series = Self {
            name: name.to_owned(),
            description: fields.text("description")?,
            message_id: fields.optional_text("message-id")?,
            variants: Vec::new(),
        };
        for (name, variant) in fields.children("variant")? {
            check_name(&name).map_err(|why| variant.wrong(why))?;
            let read = Variant {
                name,
                bases: variant.texts("bases")?,
            };
            variant.end(&[])?;
            if read.bases.is_empty() {
                return Err(variant.missing("bases"));
            }
            for base in &read.bases {
                if !bases.contains_key(base) {
                    return Err(variant.wrong(super::nearest_name(
                        "base",
                        base,
                        bases.keys().map(String::as_str),
                    )));
                }
                if series.variant(base).is_some() {
                    return Err(variant.wrong(format!("two variants are for the base `{base}`")));
                }
            }
            series.variants.push(read);
        }
        fields.end(&[])?;
        Ok(series)
    }
}
