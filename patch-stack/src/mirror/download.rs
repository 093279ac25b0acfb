// SPDX-License-Identifier: MIT OR Apache-2.0
//! Downloads: into a `.part` file that a later run takes up again, checked before it gets its
//! name.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::failure::{At as _, Failure, Kind, Result};
use crate::hash;
use crate::watch::Watch;

/// What is to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its address.
    pub(super) address: String,
    /// The file's name.
    pub(super) name: String,
    /// Its size in bytes, if it is known.
    pub(super) size: Option<u64>,
    /// Its SHA-256, if it is known.
    pub(super) sha256: Option<String>,
    /// Download it even if it is there, unless its SHA-256 says that it is the one.
    pub(super) again: bool,
}

/// Fetches a file with `program`, whose arguments come from the address and the file to write.
pub(super) fn download(
    wanted: &Wanted,
    folder: &Path,
    mut program: impl FnMut(&Path) -> Command,
    watch: &dyn Watch,
) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).at("making", folder)?;
    let file = folder.join(&wanted.name);
    let good = |path: &Path| -> Result<bool> {
        Ok(match &wanted.sha256 {
            Some(sha256) => &hash::of_file(path)? == sha256,
            None => true,
        })
    };
    let part = folder.join(format!("{}.part", wanted.name));
    if wanted.again && wanted.sha256.is_none() {
        // Half of what was there before and half of what is there now would be neither.
        let _ = std::fs::remove_file(&part);
    } else if file.exists() && good(&file)? {
        return Ok(file);
    }
    let size = wanted.size.unwrap_or(0);
    watch.step(&format!(
        "downloading {}{}",
        wanted.name,
        if size > 0 {
            format!(" ({} MB)", size.div_ceil(1_000_000))
        } else {
            String::new()
        }
    ));
    // A part that can't be completed is no reason to fail: the second try starts afresh.
    for attempt in 0..2 {
        let child = program(&part)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::failed(format!("the downloader cannot be started: {error}"))
            })?;
        let output = wait(child, &part, size, watch)?;
        if output.status.success() && part.exists() && good(&part)? {
            std::fs::rename(&part, &file).at("writing", &file)?;
            watch.done();
            return Ok(file);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let resumable = !output.status.success() && !said.contains("416");
        if said.contains("404") {
            let _ = std::fs::remove_file(&part);
            return Err(Failure::new(
                Kind::Unavailable,
                format!("the registry no longer has {} (404)", wanted.name),
            ));
        }
        if resumable || attempt == 1 {
            let reason = said
                .lines()
                .rev()
                .find(|line| line.starts_with("E: ") || line.starts_with("curl: "))
                .map_or("its SHA-256 is not the one that is pinned", str::trim);
            if !resumable {
                let _ = std::fs::remove_file(&part);
            }
            return Err(Failure::new(
                Kind::Unavailable,
                format!("downloading {} failed: {reason}", wanted.name),
            )
            .hint("what was downloaded is kept, and the next run goes on from there"));
        }
        let _ = std::fs::remove_file(&part);
    }
    unreachable!("the second attempt returns")
}

fn wait(mut child: Child, part: &Path, size: u64, watch: &dyn Watch) -> Result<Output> {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) => {}
            Err(error) => return Err(Failure::failed(format!("the downloader: {error}"))),
        }
        if let Err(stop) = watch.check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stop);
        }
        let have = std::fs::metadata(part).map_or(0, |data| data.len());
        match (have * 100).checked_div(size) {
            Some(percent) => watch.detail(&format!("{percent} %")),
            None => watch.detail(&format!("{} MB", have / 1_000_000)),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child
        .wait_with_output()
        .map_err(|error| Failure::failed(format!("the downloader: {error}")))
}
