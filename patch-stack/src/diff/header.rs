// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of one file (git-diff(1), "Generating patch text with -p").

use super::parse::Lines;
use super::{Content, Error, File, Mode, path};

/// What the lines from `diff --git` to the content say, each at most once.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The path, where the first line leaves no doubt about it.
    both: Option<Vec<u8>>,
    /// `---`: a path, or `None` in it for `/dev/null`.
    minus: Option<Option<Vec<u8>>>,
    plus: Option<Option<Vec<u8>>>,
    old_mode: Option<Mode>,
    new_mode: Option<Mode>,
    index_mode: Option<Mode>,
    new_file: Option<Mode>,
    deleted_file: Option<Mode>,
    rename: (Option<Vec<u8>>, Option<Vec<u8>>),
    copy: (Option<Vec<u8>>, Option<Vec<u8>>),
    blobs: Option<Blobs>,
}

/// The blobs before and after, in hexadecimal.
type Blobs = (String, String);

impl Header {
    pub(super) fn read(lines: &mut Lines<'_>) -> Result<Self, Error> {
        let first = lines.next_if(b"diff --git ").unwrap_or_default();
        let mut header = Self {
            both: path::of_git_line(&first[11.min(first.len())..]),
            ..Self::default()
        };
        while let Some(line) = lines.peek() {
            if !header.take(line, lines)? {
                break;
            }
            lines.next();
        }
        Ok(header)
    }

    /// Takes a line in; `false` when it is no part of a header.
    fn take(&mut self, line: &[u8], lines: &Lines<'_>) -> Result<bool, Error> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let after = |prefix: &str| text.strip_prefix(prefix.as_bytes());
        if let Some(text) = after("--- ") {
            once(&mut self.minus, side(text, lines)?, lines)?;
        } else if let Some(text) = after("+++ ") {
            once(&mut self.plus, side(text, lines)?, lines)?;
        } else if let Some(text) = after("old mode ") {
            once(&mut self.old_mode, mode(text, lines)?, lines)?;
        } else if let Some(text) = after("new mode ") {
            once(&mut self.new_mode, mode(text, lines)?, lines)?;
        } else if let Some(text) = after("new file mode ") {
            once(&mut self.new_file, mode(text, lines)?, lines)?;
        } else if let Some(text) = after("deleted file mode ") {
            once(&mut self.deleted_file, mode(text, lines)?, lines)?;
        } else if let Some(text) = after("rename from ") {
            once(&mut self.rename.0, whole_path(text, lines)?, lines)?;
        } else if let Some(text) = after("rename to ") {
            once(&mut self.rename.1, whole_path(text, lines)?, lines)?;
        } else if let Some(text) = after("copy from ") {
            once(&mut self.copy.0, whole_path(text, lines)?, lines)?;
        } else if let Some(text) = after("copy to ") {
            once(&mut self.copy.1, whole_path(text, lines)?, lines)?;
        } else if let Some(text) = after("index ") {
            let (blobs, rest) =
                blobs(text).ok_or_else(|| lines.error("an `index` line that can't be read"))?;
            once(&mut self.blobs, blobs, lines)?;
            self.index_mode = rest.map(|text| mode(text, lines)).transpose()?;
        } else {
            return Ok(after("similarity index ")
                .or(after("dissimilarity index "))
                .is_some());
        }
        Ok(true)
    }

    /// The file, once its content is known.
    pub(super) fn finish(self, content: Content, line: usize) -> Result<File, Error> {
        let error = |what: &str| Error {
            line,
            what: what.to_owned(),
        };
        let hunks = matches!(content, Content::Hunks(_));
        if hunks && (self.minus.is_none() || self.plus.is_none()) {
            return Err(error("hunks without `---` and `+++` lines before them"));
        }
        if self.rename.0.is_some() && self.copy.0.is_some()
            || self.new_file.is_some() && self.deleted_file.is_some()
        {
            return Err(error("header lines that contradict each other"));
        }
        let copy = self.copy.0.is_some();
        let (old, new) = match (self.rename, self.copy) {
            ((Some(old), Some(new)), (None, None)) | ((None, None), (Some(old), Some(new))) => {
                (old, new)
            }
            ((None, None), (None, None)) => {
                let from_sides = self
                    .plus
                    .clone()
                    .flatten()
                    .or_else(|| self.minus.clone().flatten());
                let path = self
                    .both
                    .or(from_sides)
                    .ok_or_else(|| error("the path can't be told from the header"))?;
                (path.clone(), path)
            }
            _ => return Err(error("a rename or copy without one of its paths")),
        };
        let old_path = self.new_file.is_none().then_some(old);
        let new_path = self.deleted_file.is_none().then_some(new);
        if (old_path.is_none() || new_path.is_none()) && copy {
            return Err(error("header lines that contradict each other"));
        }
        let agrees = |side: &Option<Option<Vec<u8>>>, path: &Option<Vec<u8>>| {
            side.as_ref().is_none_or(|side| side == path)
        };
        if !agrees(&self.minus, &old_path) || !agrees(&self.plus, &new_path) {
            return Err(error(
                "`---` and `+++` name other files than the lines before them",
            ));
        }
        for path in [&old_path, &new_path].into_iter().flatten() {
            if let Some(fault) = path::fault(path) {
                let shown = path[..path.len().min(80)].escape_ascii();
                let more = if path.len() > 80 { "..." } else { "" };
                return Err(error(&format!("the path `{shown}{more}` {fault}")));
            }
        }
        let mode = self.new_mode.or(self.new_file).or(self.index_mode);
        if mode == Some(Mode::Symlink) && new_path.as_deref().is_some_and(path::is_module_list) {
            return Err(error("a symbolic link in the place of `.gitmodules`"));
        }
        let (old_blob, new_blob) = self.blobs.unzip();
        let file = File {
            old_mode: self.old_mode.or(self.deleted_file).or(self.index_mode),
            new_mode: self.new_mode.or(self.new_file),
            old_path,
            new_path,
            copy,
            old_blob,
            new_blob,
            content,
            line,
        };
        check(&file).map_err(error)?;
        Ok(file)
    }
}

/// What a file's content may be, given what happens to the file.
fn check(file: &File) -> Result<(), &'static str> {
    if let Content::Hunks(hunks) = &file.content {
        if file.old_path.is_none() && hunks.iter().any(|hunk| !hunk.old.is_empty()) {
            return Err("a new file with old lines");
        }
        if file.old_path.is_none() && hunks.len() > 1 {
            return Err("a new file with more than one hunk");
        }
        if file.new_path.is_none() && hunks.iter().any(|hunk| !hunk.new.is_empty()) {
            return Err("a deleted file with new lines");
        }
    }
    if let (Some(old), Some(new)) = (file.old_mode, file.new_mode)
        && file.old_path.is_some()
        && file.new_path.is_some()
        && !old.same_type(new)
    {
        return Err("a file that becomes a symbolic link has to be deleted and made anew");
    }
    let same_mode = file.new_mode.is_none() || file.new_mode == file.old_mode;
    let unchanged = file.content == Content::Same && file.old_path == file.new_path && same_mode;
    if unchanged {
        Err("nothing happens to this file")
    } else {
        Ok(())
    }
}

/// `1234..5678 100644`, the mode only when it does not change.
fn blobs(text: &[u8]) -> Option<(Blobs, Option<&[u8]>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (blobs, mode) = text
        .split_once(' ')
        .map_or((text, None), |(blobs, mode)| (blobs, Some(mode.as_bytes())));
    let (old, new) = blobs.split_once("..")?;
    let hex = |text: &str| {
        (4..=40).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    (hex(old) && hex(new)).then(|| ((old.to_owned(), new.to_owned()), mode))
}

/// Fills in what a header may say once.
fn once<T>(slot: &mut Option<T>, value: T, lines: &Lines<'_>) -> Result<(), Error> {
    if slot.replace(value).is_some() {
        return Err(lines.error("a second header line of this kind"));
    }
    Ok(())
}

fn whole_path(text: &[u8], lines: &Lines<'_>) -> Result<Vec<u8>, Error> {
    match path::read(text) {
        Some((path, b"" | b"\t")) => Ok(path),
        _ => Err(lines.error("a path that can't be read")),
    }
}

/// The path of a `---` or `+++` line, or `None` for `/dev/null`.
fn side(text: &[u8], lines: &Lines<'_>) -> Result<Option<Vec<u8>>, Error> {
    let path = whole_path(text, lines)?;
    if path == b"/dev/null" {
        return Ok(None);
    }
    let stripped = path::stripped(&path)
        .ok_or_else(|| lines.error("a path without `a/` or `b/` before it"))?;
    Ok(Some(stripped.to_vec()))
}

fn mode(text: &[u8], lines: &Lines<'_>) -> Result<Mode, Error> {
    if text == b"160000" {
        return Err(lines.error("a change of a submodule, which a stack can't carry"));
    }
    let bits = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 6);
    bits.and_then(|text| u32::from_str_radix(text, 8).ok())
        .and_then(Mode::from_bits)
        .ok_or_else(|| {
            lines.error("a mode that no file of a patch has; 100644, 100755 and 120000 are known")
        })
}
