// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release tarball becomes a commit, streamed through git-fast-import(1): nothing is unpacked,
//! and memory does not grow with the release.
//!
//! An import that is cut short leaves no ref and no pack: fast-import writes both at its end.
//! What it leaves of temporary files is swept away by the next one.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Component, Path};
use std::process::{Child, Command, Stdio};

use tar::{Archive, EntryType};

use crate::diff::is_safe_path;
use crate::failure::{At as _, Failure, Kind, Result};
use crate::git::{COMMITTER_EMAIL, COMMITTER_NAME, Git, IMPORT_DATE};
use crate::watch::Watch;

/// Streams the tarball `file` into the bare repository of `git` as a commit on the ref `name`,
/// with `message`. The tarball's top folder, in which all has to be, is left out. Returns the number
/// of files.
///
/// # Errors
/// A tarball that can't be read or has not one top folder, an entry that leaves it, or git's own
/// failure; the ref is not there then.
pub(crate) fn import(
    git: &Git,
    file: &Path,
    name: &str,
    message: &str,
    watch: &dyn Watch,
) -> Result<u64> {
    let (mut decompressor, input) = open(file)?;
    let mut importer = git
        .command()
        .args([
            // The fastest that stays within the size that a mirror may have: a release against
            // the one before it deltas badly in stream order, so depth is not worth its time.
            "-c",
            "core.compression=3",
            "-c",
            "fastimport.unpackLimit=0",
            "fast-import",
            "--quiet",
            "--force",
            "--depth=0",
            "--date-format=raw",
            "--done",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::failed(format!("git cannot be started: {error}")))?;
    let sink = importer.stdin.take().expect("stdin is a pipe");
    let written = stream(input, sink, name, message, watch);
    let output = match &written {
        Ok(_) => importer.wait_with_output(),
        Err(_) => {
            // Without `done` nothing is kept (git-fast-import(1)), and the pipe is closed.
            let _ = importer.kill();
            importer.wait_with_output()
        }
    }
    .map_err(|error| Failure::failed(format!("git fast-import: {error}")))?;
    if let Some(child) = &mut decompressor {
        if written.is_err() {
            let _ = child.kill();
        }
        let status = child
            .wait()
            .map_err(|error| Failure::failed(format!("the decompressor: {error}")))?;
        if written.is_ok() && !status.success() {
            return Err(broken(
                file,
                &format!("the decompressor ended with {status}"),
            ));
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().find(|line| line.starts_with("fatal"));
    match written {
        Ok(count) if output.status.success() => Ok(count),
        Ok(_) => Err(Failure::failed(format!(
            "git fast-import failed: {}",
            said.unwrap_or("it gave no reason")
        ))),
        Err(error) if error.kind == Kind::Interrupted => Err(error),
        Err(error) if error.kind == Kind::Refused => {
            Err(error.context(format!("the tarball {}", file.display())))
        }
        Err(error) => Err(broken(file, said.unwrap_or(&error.message))),
    }
}

/// The content of the file `name` in the tarball `file`.
///
/// # Errors
/// The tarball can't be read, or there is no such file in it.
pub(crate) fn member(file: &Path, name: &str) -> Result<Vec<u8>> {
    let (mut child, input) = open(file)?;
    let found = (|| {
        for entry in Archive::new(input).entries()? {
            let mut entry = entry?;
            if entry.path_bytes().as_ref() == name.as_bytes() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                return Ok(Some(content));
            }
        }
        Ok(None)
    })();
    if let Some(child) = &mut child {
        let _ = child.kill();
        let _ = child.wait();
    }
    match found {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(Failure::failed(format!(
            "there is no {name} in {}",
            file.display()
        ))),
        Err(error) => {
            let error: std::io::Error = error;
            Err(broken(file, &error.to_string()))
        }
    }
}

/// Removes what an import that was cut short has left. Only while the mirror is locked.
pub(crate) fn sweep(repository: &Path) {
    let mut folders = vec![(repository.to_owned(), "fast_import_crash_")];
    folders.push((repository.join("objects/pack"), "tmp_"));
    for (folder, prefix) in folders {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn broken(file: &Path, why: &str) -> Failure {
    Failure::failed(format!("the tarball {} is broken: {why}", file.display()))
        .hint("delete it and fetch again")
}

/// Opens `file` and, by its first bytes, the program that decompresses it.
fn open(file: &Path) -> Result<(Option<Child>, Box<dyn Read>)> {
    let mut start = [0; 6];
    let mut plain = File::open(file).at("reading", file)?;
    let have = plain.read(&mut start).at("reading", file)?;
    let program: &[&str] = match &start[..have] {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => &["xz", "-dc"],
        [0x1f, 0x8b, ..] => &["gzip", "-dc"],
        [b'B', b'Z', b'h', ..] => &["bzip2", "-dc"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dc"],
        _ => return Ok((None, Box::new(File::open(file).at("reading", file)?))),
    };
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(File::open(file).at("reading", file)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            Failure::failed(format!("{} cannot be started: {error}", program[0]))
                .hint(format!("install {}", program[0]))
        })?;
    let output = child.stdout.take().expect("stdout is a pipe");
    Ok((Some(child), Box::new(output)))
}

fn stream(
    input: impl Read,
    sink: impl Write,
    name: &str,
    message: &str,
    watch: &dyn Watch,
) -> Result<u64> {
    let lost = |error: std::io::Error| Failure::failed(error.to_string());
    let mut sink = BufWriter::with_capacity(1 << 18, sink);
    write!(
        sink,
        "commit {name}\ncommitter {COMMITTER_NAME} <{COMMITTER_EMAIL}> {IMPORT_DATE}\n\
         data {}\n{message}\ndeleteall\n",
        message.len()
    )
    .map_err(lost)?;
    let mut archive = Archive::new(input);
    let mut count = 0;
    let mut top = Top::default();
    for entry in archive.entries().map_err(lost)? {
        let mut entry = entry.map_err(lost)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let path = entry.path_bytes().into_owned();
        let below = top.below(&path)?;
        if kind == EntryType::Directory {
            continue;
        }
        let Some(path) = below else {
            return Err(Failure::refused(format!(
                "{} is in no folder, and all has to be in one",
                String::from_utf8_lossy(&path)
            )));
        };
        let quoted = quote(&path);
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().map_err(lost)?;
                let mode = if mode & 0o100 == 0 {
                    "100644"
                } else {
                    "100755"
                };
                let size = entry.size();
                write!(sink, "M {mode} inline {quoted}\ndata {size}\n").map_err(lost)?;
                let copied = std::io::copy(&mut entry, &mut sink).map_err(lost)?;
                if copied != size {
                    return Err(Failure::failed("it ends in the middle of a file"));
                }
                sink.write_all(b"\n").map_err(lost)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                write!(sink, "M 120000 inline {quoted}\ndata {}\n", target.len()).map_err(lost)?;
                sink.write_all(&target).map_err(lost)?;
                sink.write_all(b"\n").map_err(lost)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = top
                    .below(&target)?
                    .ok_or_else(|| Failure::failed("a hard link to a folder"))?;
                writeln!(sink, "C {} {quoted}", quote(&target)).map_err(lost)?;
            }
            other => {
                return Err(Failure::failed(format!(
                    "{} is neither file nor link ({other:?})",
                    String::from_utf8_lossy(&path)
                )));
            }
        }
        count += 1;
        if count % 512 == 0 {
            watch.detail(&format!("{count} files"));
            watch.check()?;
        }
    }
    if count == 0 {
        return Err(Failure::failed("there is no file in it"));
    }
    // The archive ends before its padding does, and a decompressor whose reader is gone fails.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(lost)?;
    sink.write_all(b"done\n").map_err(lost)?;
    sink.flush().map_err(lost)?;
    Ok(count)
}

/// The one folder that everything in the tarball is in.
#[derive(Default)]
struct Top(Option<Vec<u8>>);

impl Top {
    /// The path below the top folder, or `None` for that folder alone. A path in another folder, one
    /// that could leave the tree, or one that git would not have in it, is refused.
    fn below(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        use std::os::unix::ffi::OsStrExt as _;
        let refused = |why: &str| {
            let shown = String::from_utf8_lossy(path);
            Failure::refused(format!("it has the path {shown}, {why}"))
        };
        let mut parts = Vec::new();
        for part in Path::new(std::ffi::OsStr::from_bytes(path)).components() {
            match part {
                Component::CurDir => {}
                Component::Normal(part) => parts.push(part.as_bytes()),
                _ => return Err(refused("which no tree may have")),
            }
        }
        let Some((&first, below)) = parts.split_first() else {
            return Ok(None);
        };
        let top = self.0.get_or_insert_with(|| first.to_vec());
        if *top != first {
            let top = String::from_utf8_lossy(top);
            return Err(refused(&format!(
                "and {top} beside it: all has to be in one folder"
            )));
        }
        if below.is_empty() {
            return Ok(None);
        }
        let below = below.join(&b'/');
        if !is_safe_path(&below) {
            return Err(refused("which no tree may have"));
        }
        Ok(Some(below))
    }
}

/// A path as fast-import reads it back: in quotes if it has any byte that could mislead it.
fn quote(path: &[u8]) -> String {
    let plain = path
        .iter()
        .all(|&byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    let text = String::from_utf8_lossy(path);
    if plain {
        return text.into_owned();
    }
    let mut quoted = String::from("\"");
    for &byte in path {
        match byte {
            b'"' => quoted.push_str("\\\""),
            b'\\' => quoted.push_str("\\\\"),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Silent;

    fn archive(entries: &[(&str, EntryType, u32, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for &(path, kind, mode, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            // By hand: the library refuses to write the paths that are refused here.
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            let body = if is_link {
                header.set_link_name(content).unwrap();
                ""
            } else {
                content
            };
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn imported(bytes: &[u8]) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::bare(folder.path());
        git.output(&["init", "--quiet", "--bare"])?;
        let file = folder.path().join("a.tar");
        std::fs::write(&file, bytes).unwrap();
        import(&git, &file, "refs/import/a", "a\n", &Silent)?;
        sweep(folder.path());
        git.text(&["ls-tree", "-r", "refs/import/a"])
    }

    #[test]
    fn modes_links_and_odd_names_come_through() {
        let tree = imported(&archive(&[
            ("top/", EntryType::Directory, 0o755, ""),
            ("top/run", EntryType::Regular, 0o755, "#!/bin/sh\n"),
            ("top/a b\"c", EntryType::Regular, 0o644, "text"),
            ("top/f\u{fc}r", EntryType::Regular, 0o640, ""),
            ("top/link", EntryType::Symlink, 0o777, "run"),
            ("top/hard", EntryType::Link, 0o755, "top/run"),
        ]))
        .unwrap();
        let lines: Vec<_> = tree
            .lines()
            .map(|line| {
                let (mode, rest) = line.split_once(' ').unwrap();
                (mode, rest.split_once('\t').unwrap().1)
            })
            .collect();
        assert_eq!(
            lines,
            [
                ("100644", "\"a b\\\"c\""),
                ("100644", "\"f\\303\\274r\""),
                ("100755", "hard"),
                ("120000", "link"),
                ("100755", "run"),
            ]
        );
    }

    #[test]
    fn padding_behind_the_end_is_read() {
        // More than a pipe holds, so that a decompressor would have to wait for its reader.
        let mut bytes = archive(&[("top/a", EntryType::Regular, 0o644, "a\n")]);
        bytes.resize(bytes.len() + (4 << 20), 0);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        std::fs::write(&file, &bytes).unwrap();
        let status = Command::new("gzip").arg(&file).status().unwrap();
        assert!(status.success());
        let packed = std::fs::read(folder.path().join("a.tar.gz")).unwrap();
        assert!(imported(&packed).unwrap().ends_with("\ta"));
    }

    #[test]
    fn a_tarball_without_one_top_folder_is_refused() {
        let regular = |path| (path, EntryType::Regular, 0o644, "x");
        let folder = |path| (path, EntryType::Directory, 0o755, "");
        for entries in [
            &[regular("Makefile"), regular("src/a.c"), regular("doc/a.c")][..],
            &[regular("src/a.c"), regular("doc/a.c")],
            &[regular("src/a.c"), regular("Makefile")],
            &[folder("src/"), folder("doc/"), regular("doc/a.c")],
            &[regular("./a.c"), regular("./b.c")],
        ] {
            let error = imported(&archive(entries)).unwrap_err();
            assert!(error.message.contains("all has to be in one"), "{error}");
            assert_eq!(error.kind, Kind::Refused);
        }
        let dotted = [folder("./"), folder("./top/"), regular("./top/a")];
        assert!(imported(&archive(&dotted)).unwrap().ends_with("\ta"));
    }

    #[test]
    fn a_hostile_or_broken_tarball_is_refused() {
        let refused = |bytes: &[u8]| imported(bytes).unwrap_err().message;
        let file = |path: &'static str| archive(&[(path, EntryType::Regular, 0o644, "x")]);
        assert!(refused(&file("top/../../x")).contains("no tree may have"));
        assert!(refused(&file("/etc/x")).contains("no tree may have"));
        for path in [".git/config", ".git./x", "a/git~1/config"] {
            let path: &str = Box::leak(format!("top/{path}").into_boxed_str());
            assert!(refused(&file(path)).contains("no tree may have"), "{path}");
        }
        assert!(refused(b"").contains("no file in it"));
        let mut cut = archive(&[("top/a", EntryType::Regular, 0o644, &"x".repeat(4000))]);
        cut.truncate(2000);
        assert!(refused(&cut).contains("is broken"));
        assert!(refused(b"\xfd7zXZ\0 nonsense").contains("is broken"));
        let device = archive(&[("top/null", EntryType::Char, 0o644, "")]);
        assert!(refused(&device).contains("neither file nor link"));
    }
}
