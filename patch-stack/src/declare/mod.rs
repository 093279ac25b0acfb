// SPDX-License-Identifier: MIT OR Apache-2.0
//! `branches.toml`: which projects, bases, series and branches there are.
//!
//! A *project* is an upstream (Linux, QEMU). A *base* is one state of it, with the sources that it
//! can be had from. A *series* is a folder of patch files with an order file. A *branch* puts
//! series, in order, on a base; a series with a message-id is an external layer, taken in as it
//! was mailed and never written by an export. Where one series can't carry several bases, a
//! *variant* replaces single patches of it, under the same file names, for the bases that it names.
//!
//! The schema is strict. [`Declaration::parse`] refuses what it does not know.

mod build;
mod error;
pub(crate) mod fields;
mod names;
mod project;
mod stack;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

pub use self::build::{Build, Objects};
pub use self::error::Error;
pub use self::names::{check_name, nearest_name};
pub use self::project::{Base, Checkpatch, Project, SeriesEntry, Source, SourceKind, Variant};
pub use self::stack::{From as PartFrom, Stack, StackPart};

pub use self::write::{with_base, with_branch, with_series};

use self::fields::Fields;

/// The version of the schema that is read.
pub const SCHEMA: u64 = 1;

/// What a `branches.toml` declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Suites of Debian's archive that hold source packages, like `trixie` or `bookworm-security`.
    pub suites: Vec<String>,
    /// The projects, by name.
    pub projects: BTreeMap<String, Project>,
    /// The branches, by name.
    pub branches: BTreeMap<String, Branch>,
    /// The stacks, by platform.
    pub stacks: BTreeMap<String, Stack>,
}

/// A branch: series on a base, for one project or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// One line on what it is for.
    pub description: String,
    /// Who answers for it; empty if nobody is named.
    pub owner: String,
    /// Is it never meant for upstream? `format` then says so in the cover letter.
    pub downstream_only: bool,
    /// Its part in each project, by the project's name.
    pub parts: BTreeMap<String, Part>,
}

/// A branch's part in one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the base.
    pub base: String,
    /// Where the base's name stands in the file, quotes included: `rebase` replaces it.
    pub base_span: Range<usize>,
    /// The series, the lowest first.
    pub series: Vec<String>,
    /// Where their list stands in the file, brackets included: `import` adds to it.
    pub series_span: Range<usize>,
    /// The names of the project's builds that `build` makes.
    pub builds: Vec<String>,
    /// The names of the boot tests that `boot` runs.
    pub boot: Vec<String>,
    /// Why `boot` runs none, for people: `no VMX under TCG`.
    pub no_boot: Option<String>,
    /// Ends of paths that no build compiles, with the reason given in `branches.toml`.
    pub not_built: Vec<String>,
    /// Recipients of `format`, besides the project's.
    pub to: Vec<String>,
}

impl Declaration {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// A file that can't be read, or what [`Declaration::parse`] refuses.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error {
            file: Some(path.to_owned()),
            line: 1,
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Reads a declaration.
    ///
    /// # Errors
    /// Wrong TOML, a key or a name that is not known, a value of the wrong type; each with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = DeTable::parse(text).map_err(|error| Error::syntax(text, &error))?;
        let top = Fields::top(text, &document);
        match top.optional_number("schema")? {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(top.wrong(format!(
                    "schema {other} is not known; this tool reads schema {SCHEMA}"
                )));
            }
            None => return Err(top.wrong(format!("the file has no `schema = {SCHEMA}`"))),
        }
        // Unknown ones first: below `[brnch.b]` stands half of a branch.
        let debian = top.optional_table("debian")?;
        let (of_projects, of_branches, of_stacks) = (
            top.children("project")?,
            top.children("branch")?,
            top.children("stack")?,
        );
        top.end(&[])?;
        let mut suites = Vec::new();
        if let Some(debian) = debian {
            suites = debian.texts("suites")?;
            debian.end(&[])?;
        }
        let mut projects = BTreeMap::new();
        for (name, fields) in of_projects {
            check_name(&name).map_err(|why| fields.wrong(why))?;
            let project = Project::read(&name, &fields)?;
            projects.insert(name, project);
        }
        let mut branches = BTreeMap::new();
        for (name, fields) in of_branches {
            check_name(&name).map_err(|why| fields.wrong(why))?;
            let branch = Branch::read(&name, &fields, &projects)?;
            branches.insert(name, branch);
        }
        let mut stacks = BTreeMap::new();
        for (name, fields) in of_stacks {
            check_name(&name).map_err(|why| fields.wrong(why))?;
            let stack = Stack::read(&name, &fields, &branches)?;
            stacks.insert(name, stack);
        }
        Ok(Self {
            suites,
            projects,
            branches,
            stacks,
        })
    }

    /// The branch `name`.
    ///
    /// # Errors
    /// A sentence that names the nearest branch.
    pub fn branch(&self, name: &str) -> Result<&Branch, String> {
        self.branches
            .get(name)
            .ok_or_else(|| nearest_name("branch", name, self.branches.keys().map(String::as_str)))
    }
}

impl Branch {
    fn read(
        name: &str,
        fields: &Fields<'_>,
        projects: &BTreeMap<String, Project>,
    ) -> Result<Self, Error> {
        let mut branch = Self {
            name: name.to_owned(),
            description: fields.text("description")?,
            owner: fields.optional_text("owner")?.unwrap_or_default(),
            downstream_only: fields.flag("downstream-only")?,
            parts: BTreeMap::new(),
        };
        for (project, part) in fields.all(|name| projects.contains_key(name))? {
            let declared = &projects[&project];
            branch.parts.insert(project, Part::read(&part, declared)?);
        }
        let names: Vec<_> = projects.keys().cloned().collect();
        fields.end(&names)?;
        if branch.parts.is_empty() {
            return Err(fields.wrong(format!(
                "the branch `{name}` has no project; add `[branch.{name}.{}]`",
                names.first().map_or("linux", String::as_str)
            )));
        }
        Ok(branch)
    }

    /// The part in `project`; without a name, the only part.
    ///
    /// # Errors
    /// A sentence that says which projects there are.
    pub fn part(&self, project: Option<&str>) -> Result<(&str, &Part), String> {
        match project {
            Some(wanted) => self
                .parts
                .get_key_value(wanted)
                .map(|(name, part)| (name.as_str(), part))
                .ok_or_else(|| {
                    nearest_name(
                        &format!("project of the branch `{}`", self.name),
                        wanted,
                        self.parts.keys().map(String::as_str),
                    )
                }),
            None if self.parts.len() == 1 => Ok(self
                .parts
                .iter()
                .next()
                .map(|(name, part)| (name.as_str(), part))
                .expect("a branch has a part")),
            None => Err(format!(
                "the branch `{}` has parts in {}; say which with --project",
                self.name,
                self.parts.keys().cloned().collect::<Vec<_>>().join(" and ")
            )),
        }
    }
}

impl Part {
    fn read(fields: &Fields<'_>, project: &Project) -> Result<Self, Error> {
        let known = |kind: &str, names: &[String], known: Vec<&str>| -> Result<(), Error> {
            names
                .iter()
                .find(|name| !known.contains(&name.as_str()))
                .map_or(Ok(()), |name| {
                    Err(fields.wrong(nearest_name(
                        &format!("{kind} of the project `{}`", project.name),
                        name,
                        known.into_iter(),
                    )))
                })
        };
        let (base, base_span) = fields
            .spanned_text("base")?
            .ok_or_else(|| fields.missing("base"))?;
        let (series, series_span) = fields.spanned_texts("series")?;
        let part = Self {
            base,
            base_span,
            series,
            series_span,
            builds: fields.texts("build")?,
            boot: fields.texts("boot")?,
            no_boot: fields.optional_text("no-boot")?,
            not_built: fields.texts("not-built")?,
            to: fields.texts("to")?,
        };
        known(
            "base",
            std::slice::from_ref(&part.base),
            project.bases.keys().map(String::as_str).collect(),
        )?;
        known(
            "series",
            &part.series,
            project.series.keys().map(String::as_str).collect(),
        )?;
        known(
            "build",
            &part.builds,
            project.builds.keys().map(String::as_str).collect(),
        )?;
        if part.series.is_empty() {
            return Err(fields.wrong(format!("`{}` names no series", fields.path())));
        }
        let mut ours = false;
        for (index, name) in part.series.iter().enumerate() {
            if part.series[..index].contains(name) {
                return Err(fields.wrong(format!("the series `{name}` is named a second time")));
            }
            let external = project.series[name].message_id.is_some();
            if external && ours {
                return Err(fields.wrong(format!(
                    "the external series `{name}` has to come before our own series"
                )));
            }
            ours |= !external;
        }
        fields.end(&[])?;
        Ok(part)
    }
}
