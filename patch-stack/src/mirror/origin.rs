// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a base came from, as the mirror remembers it: lines of `key = value` in a blob.

/// Where a base came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source: `debian`, `tar` or `git`.
    pub kind: String,
    /// The source in words, like `Debian's source linux 7.1.8-2`.
    pub source: String,
    /// SHA-256 of the file that was fetched, in hexadecimal; none for git.
    pub sha256: Option<String>,
    /// SHA-256 over the fixups, in hexadecimal; none if there are none.
    pub fixups: Option<String>,
    /// The names of the fixups, as declared then.
    pub fixup_names: Vec<String>,
}

impl Origin {
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("kind = {}\nsource = {}\n", self.kind, self.source);
        for (key, value) in [("sha256", &self.sha256), ("fixups", &self.fixups)] {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        for name in &self.fixup_names {
            text.push_str(&format!("fixup = {name}\n"));
        }
        text
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let field = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(" = ")?;
                (key == wanted).then(|| value.to_owned())
            })
        };
        Self {
            kind: field("kind").unwrap_or_default(),
            source: field("source").unwrap_or_default(),
            sha256: field("sha256"),
            fixups: field("fixups"),
            fixup_names: text
                .lines()
                .filter_map(|line| line.strip_prefix("fixup = "))
                .map(str::to_owned)
                .collect(),
        }
    }
}
