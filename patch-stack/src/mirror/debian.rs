// SPDX-License-Identifier: MIT OR Apache-2.0
//! Upstream tarballs out of Debian's archive, through an apt whose configuration, lists and cache
//! are all ours, so that nothing of the machine changes and no root is needed. apt checks the
//! archive's signatures.
//!
//! An index entry is not a file: what an index names may be gone from the pool (404), and that is
//! said plainly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::download::{Wanted, download};
use crate::failure::{At as _, Failure, Kind, Result};
use crate::watch::Watch;

/// Debian's archive as a caller wants it to be reached.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The address of a mirror, ending in `/debian`.
    pub address: String,
    /// The keys that sign it, if not the machine's own.
    pub keyring: Option<PathBuf>,
    /// The suites, like `trixie`, `bookworm-security`.
    pub suites: Vec<String>,
    /// The folder for lists and downloads.
    pub folder: PathBuf,
}

impl Archive {
    /// The file of `package` at `version` whose name ends with `ending`, downloaded.
    pub(super) fn file(
        &self,
        package: &str,
        version: &str,
        ending: fn(&str) -> bool,
        watch: &dyn Watch,
    ) -> Result<(PathBuf, String)> {
        let config = self.configure()?;
        let mut wanted = self.look_up(&config, package, version, ending)?;
        if wanted.is_none() {
            self.update(&config, watch)?;
            wanted = self.look_up(&config, package, version, ending)?;
        }
        let wanted = wanted.ok_or_else(|| {
            Failure::new(
                Kind::Unavailable,
                format!(
                    "Debian's index no longer has the source {package} {version} in any of {}",
                    self.suites.join(", ")
                ),
            )
        })?;
        let file = download(
            &wanted,
            &self.folder.join("files"),
            |part| {
                let mut command = apt(&config, "/usr/lib/apt/apt-helper");
                command.arg("download-file").arg(&wanted.address).arg(part);
                if let Some(sha256) = &wanted.sha256 {
                    command.arg(format!("SHA256:{sha256}"));
                }
                command
            },
            watch,
        )?;
        let sha256 = match wanted.sha256 {
            Some(sha256) => sha256,
            None => crate::hash::of_file(&file)?,
        };
        Ok((file, sha256))
    }

    fn look_up(
        &self,
        config: &Path,
        package: &str,
        version: &str,
        ending: fn(&str) -> bool,
    ) -> Result<Option<Wanted>> {
        let output = apt(config, "apt-get")
            .args(["source", "--print-uris", "--only-source", "-q"])
            .arg(format!("{package}={version}"))
            .stderr(Stdio::null())
            .output()
            .map_err(no_apt)?;
        Ok(parse_uris(&String::from_utf8_lossy(&output.stdout))
            .into_iter()
            .find(|wanted| ending(&wanted.name)))
    }

    fn update(&self, config: &Path, watch: &dyn Watch) -> Result<()> {
        watch.step("fetching Debian's package lists");
        let mut child = apt(config, "apt-get")
            .args(["update", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(no_apt)?;
        loop {
            match child.try_wait() {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(error) => return Err(Failure::failed(format!("apt-get: {error}"))),
            }
            if let Err(stop) = watch.check() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(stop);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // A suite that fails is no error here: what is looked for may be in another.
        watch.done();
        Ok(())
    }

    fn configure(&self) -> Result<PathBuf> {
        for name in ["state/lists/partial", "cache/archives/partial"] {
            let folder = self.folder.join(name);
            std::fs::create_dir_all(&folder).at("making", &folder)?;
        }
        let status = self.folder.join("status");
        if !status.exists() {
            std::fs::write(&status, b"").at("writing", &status)?;
        }
        let list = self.folder.join("sources.list");
        std::fs::write(&list, self.sources()).at("writing", &list)?;
        let at = self.folder.display();
        let text = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::State \"{at}/state\";\n\
             Dir::State::lists \"{at}/state/lists\";\n\
             Dir::State::status \"{at}/status\";\n\
             Dir::Cache \"{at}/cache\";\n\
             Dir::Cache::pkgcache \"\";\n\
             Dir::Cache::srcpkgcache \"\";\n\
             APT::Sandbox::User \"root\";\n\
             APT::Architecture \"amd64\";\n\
             Acquire::Languages \"none\";\n\
             #clear Acquire::IndexTargets::deb::DEP-11;\n\
             #clear Acquire::IndexTargets::deb::CNF;\n\
             #clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n"
        );
        let config = self.folder.join("apt.conf");
        std::fs::write(&config, text).at("writing", &config)?;
        Ok(config)
    }

    /// The lines of a sources.list(5). Security suites are an archive of their own beside the
    /// main one.
    fn sources(&self) -> String {
        let address = self.address.trim_end_matches('/');
        let options = self.keyring.as_ref().map_or(String::new(), |file| {
            format!("[signed-by={}] ", file.display())
        });
        self.suites
            .iter()
            .map(|suite| {
                let address = match address.strip_suffix("/debian") {
                    Some(host) if suite.ends_with("-security") => {
                        format!("{host}/debian-security")
                    }
                    _ => address.to_owned(),
                };
                format!("deb-src {options}{address} {suite} main\n")
            })
            .collect()
    }
}

fn apt(config: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(config)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn no_apt(error: std::io::Error) -> Failure {
    Failure::new(
        Kind::Unavailable,
        format!("apt-get cannot be started: {error}"),
    )
    .hint("a `debian` source needs apt; a `tar` or a `git` source does not")
}

/// Reads `apt-get source --print-uris`: `'ADDRESS' NAME SIZE SHA256:HASH` on each line.
fn parse_uris(text: &str) -> Vec<Wanted> {
    text.lines()
        .filter_map(|line| {
            let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
            let mut words = rest.split_whitespace();
            Some(Wanted {
                address: address.to_owned(),
                name: words.next()?.to_owned(),
                size: words.next().and_then(|size| size.parse().ok()),
                sha256: words
                    .find_map(|word| word.strip_prefix("SHA256:"))
                    .map(str::to_owned),
                again: false,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_prints() {
        let uris = parse_uris(
            "Reading package lists...\n\
             'http://a/l_7.1.8-2.dsc' linux_7.1.8-2.dsc 315000 SHA256:aa\n\
             'http://a/l_7.1.8.orig.tar.xz' linux_7.1.8.orig.tar.xz 154000000 SHA256:bb\n",
        );
        assert_eq!(uris.len(), 2);
        assert_eq!(uris[1].name, "linux_7.1.8.orig.tar.xz");
        assert_eq!(uris[1].size, Some(154_000_000));
        assert_eq!(uris[1].sha256.as_deref(), Some("bb"));
    }

    #[test]
    fn security_suites_have_their_own_archive() {
        let archive = Archive {
            address: "http://deb.debian.org/debian/".to_owned(),
            keyring: Some("/k.gpg".into()),
            suites: vec!["sid".to_owned(), "trixie-security".to_owned()],
            folder: PathBuf::new(),
        };
        assert_eq!(
            archive.sources(),
            "deb-src [signed-by=/k.gpg] http://deb.debian.org/debian sid main\n\
             deb-src [signed-by=/k.gpg] http://deb.debian.org/debian-security trixie-security main\n"
        );
    }
}
