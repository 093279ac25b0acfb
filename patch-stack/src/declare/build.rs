// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a project is built, and how one sees that a file was compiled.

use super::Error;
use super::fields::Fields;

/// A build of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its name.
    pub name: String,
    /// Commands that set up the build folder, run once for each base and declaration.
    pub configure: Vec<Vec<String>>,
    /// Commands that build. `{source}`, `{build}`, `{folder}` (that of `branches.toml`) and
    /// `{jobs}` are filled in; a file below `{folder}` is part of the build's name.
    pub make: Vec<Vec<String>>,
    /// Commands that show of a single patch that it builds; those of `make` if there are none.
    pub each: Vec<Vec<String>>,
    /// Where the object of a C file is.
    pub objects: Objects,
    /// Objects that have to be there whatever the branch touches.
    pub require: Vec<String>,
    /// Starts of paths that some other build compiles, like `tools/`.
    pub elsewhere: Vec<String>,
    /// Debian packages that it needs.
    pub packages: Vec<String>,
    /// The file that `boot` and `stack` take, relative to the build folder.
    pub product: Option<String>,
}

/// Where a build puts the object of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objects {
    /// At the same path, as Linux's kbuild does.
    SamePath,
    /// In some folder, under the path with `_` for `/`, as meson does.
    Meson,
}

impl Build {
    pub(super) fn read(name: &str, fields: &Fields<'_>) -> Result<Self, Error> {
        let objects = match fields.text("objects")?.as_str() {
            "same-path" => Objects::SamePath,
            "meson" => Objects::Meson,
            other => {
                return Err(fields.wrong(format!(
                    "`objects = \"{other}\"` is not known; `same-path` and `meson` are"
                )));
            }
        };
        let build = Self {
            name: name.to_owned(),
            configure: fields.text_lists("configure")?,
            make: fields.text_lists("make")?,
            each: fields.text_lists("each")?,
            objects,
            require: fields.texts("require")?,
            elsewhere: fields.texts("elsewhere")?,
            packages: fields.texts("packages")?,
            product: fields.optional_text("product")?,
        };
        fields.end(&[])?;
        if [&build.make, &build.each, &build.configure]
            .iter()
            .any(|commands| commands.iter().any(Vec::is_empty))
        {
            return Err(fields.wrong("an empty command"));
        }
        if build.make.is_empty() {
            return Err(fields.missing("make"));
        }
        Ok(build)
    }
}
