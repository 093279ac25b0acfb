// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches single Debian packages through apt, which checks the archive's signatures, without
//! root and without installing anything.
//!
//! Three views of the archive are tried in turn: what the machine's apt knows already; the same
//! sources with package lists of our own, for a machine whose lists are empty; and Debian's own
//! suites, for a machine that runs another distribution.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cache::{self, Cache};
use crate::captured;
use crate::failure::{Failure, Kind};

/// A package as the archive's signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the .deb file, in hexadecimal.
    pub sha256: String,
    /// Bytes of the .deb file.
    pub size: u64,
}

/// One view of the package archive.
#[derive(Debug)]
pub struct Apt {
    /// Configuration of our own, on top of the machine's.
    config: Option<PathBuf>,
    /// What this view is called in messages.
    pub title: &'static str,
}

/// Is there an apt at all?
pub fn exists() -> bool {
    Command::new("apt-get")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Apt {
    /// The machine's apt as it stands.
    pub fn machine() -> Self {
        Self {
            config: None,
            title: "this machine's package lists",
        }
    }

    /// The machine's sources, with package lists in the cache that this process may refresh.
    pub fn machine_refreshed(cache: &Cache) -> Result<Self> {
        let folder = cache.folder("apt/machine")?;
        let apt = Self {
            config: Some(configure(&folder, "")?),
            title: "this machine's package sources",
        };
        apt.update()?;
        Ok(apt)
    }

    /// Debian's own suites, whatever the machine runs.
    pub fn debian(cache: &Cache, mirror: &str, keyring: &Path) -> Result<Self> {
        let folder = cache.folder("apt/debian")?;
        let mut sources = String::new();
        let options = format!("[arch=amd64 signed-by={}]", keyring.display());
        let mirror = mirror.trim_end_matches('/');
        // Linux 6.12 is in trixie itself, and among the security updates of bookworm, which
        // mirrors keep beside the main archive, if they have them.
        if let Some(base) = mirror.strip_suffix("/debian") {
            for release in ["trixie", "bookworm"] {
                sources.push_str(&format!(
                    "deb {options} {base}/debian-security {release}-security main\n"
                ));
            }
        }
        sources.push_str(&format!("deb {options} {mirror} trixie main\n"));
        let list = folder.join("sources.list");
        cache::write_whole(&list, sources.as_bytes())?;
        let extra = format!(
            "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n",
            list.display()
        );
        let apt = Self {
            config: Some(configure(&folder, &extra)?),
            title: "Debian's suites",
        };
        apt.update()?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(config) = &self.config {
            command.arg("-c").arg(config);
        }
        // As root, apt would otherwise write as a user that may not enter the cache's folder.
        command
            .args(["-o", "APT::Sandbox::User=root"])
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let child = self
            .command(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        Ok(captured::finish(child, || {})?.output)
    }

    /// Fetches the package lists. A source that fails is no error here: what is looked for may
    /// come from another.
    fn update(&self) -> Result<()> {
        let step = crate::progress::Step::start(format!("fetching package lists: {}", self.title));
        let child = self
            .command("apt-get")
            .args(["update", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting apt-get")?;
        let ended = captured::finish(child, || {})?;
        if !ended.success {
            for line in ended.errors.lines().take(4) {
                eprintln!("{line}");
            }
        }
        step.done();
        Ok(())
    }

    /// The names of packages that start with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let output = self.output("apt-cache", &["pkgnames", prefix])?;
        Ok(output.lines().map(str::to_owned).collect())
    }

    /// The newest version of the package `name`, if this view has it.
    pub fn show(&self, name: &str) -> Result<Option<Package>> {
        let index = self.output("apt-cache", &["show", "--no-all-versions", name])?;
        Ok(parse_index(&index)
            .into_iter()
            .find(|package| package.name == name))
    }

    /// Fetches `package` into `folder` and returns the .deb file. An interrupted download is
    /// taken up again where it stopped, if the server can.
    ///
    /// # Errors
    /// [`Dropped`] if the archive has the package no more.
    pub fn download(&self, package: &Package, folder: &Path) -> Result<PathBuf> {
        let file = folder.join(format!("{}.deb", package.sha256));
        let title = format!(
            "downloading {} {} ({} MB)",
            package.name,
            package.version,
            package.size.div_ceil(1_000_000)
        );
        if file.exists() && cache::sha256_of(&file)? == package.sha256 {
            return Ok(file);
        }
        let wanted = format!("{}={}", package.name, package.version);
        let uris = self.output("apt-get", &["download", "--print-uris", &wanted])?;
        let uri = uris
            .lines()
            .find_map(|line| line.strip_prefix('\'')?.split('\'').next())
            .with_context(|| format!("apt names no address for {wanted}"))?
            .to_owned();
        let partial = folder.join(format!("{}.part", package.sha256));
        let step = crate::progress::Step::start(title);
        let child = self
            .command("/usr/lib/apt/apt-helper")
            .arg("download-file")
            .arg(&uri)
            .arg(&partial)
            .arg(format!("SHA256:{}", package.sha256))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting apt-helper")?;
        let ended = captured::finish(child, || {
            let have = fs::metadata(&partial).map_or(0, |data| data.len());
            step.detail(format!("{} %", have * 100 / package.size.max(1)));
        })?;
        if !ended.success {
            drop(step);
            return Err(download_failure(package, &ended.errors));
        }
        let hash = cache::sha256_of(&partial)?;
        if hash != package.sha256 {
            bail!(
                "{} has the SHA-256 {hash}, and the signed index says {}",
                package.name,
                package.sha256
            );
        }
        fs::rename(&partial, &file)?;
        step.done();
        Ok(file)
    }
}

/// The archive has a package no more that an index, older than the archive, still names.
#[derive(Debug)]
pub struct Dropped(String);

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the package archive has dropped {}", self.0)
    }
}

impl std::error::Error for Dropped {}

fn download_failure(package: &Package, said: &str) -> anyhow::Error {
    let Package { name, version, .. } = package;
    if said.contains("404") {
        return Dropped(format!("{name} {version}")).into();
    }
    // "E: Failed to fetch ADDRESS  REASON"
    let reason = said
        .lines()
        .find_map(|line| line.strip_prefix("E: "))
        .map_or("apt-helper says nothing more", |line| {
            line.split_once("  ")
                .map_or(line, |(_, reason)| reason.trim())
        });
    Failure::new(
        Kind::Failed,
        format!("downloading {name} {version} failed: {reason}"),
    )
    .hint("check the network; what is in the cache already keeps working without it")
    .into()
}

/// Writes the configuration of an apt whose state is all below `folder`.
fn configure(folder: &Path, extra: &str) -> Result<PathBuf> {
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let status = folder.join("status");
    if !status.exists() {
        fs::write(&status, b"")?;
    }
    let at = folder.display();
    // Hooks of the machine's own apt are for the machine's own lists.
    let text = format!(
        "Dir::State \"{at}/state\";\n\
         Dir::State::lists \"{at}/state/lists\";\n\
         Dir::State::status \"{at}/status\";\n\
         Dir::Cache \"{at}/cache\";\n\
         Dir::Cache::archives \"{at}/cache/archives\";\n\
         Dir::Cache::pkgcache \"\";\n\
         Dir::Cache::srcpkgcache \"\";\n\
         APT::Architecture \"amd64\";\n\
         Acquire::Languages \"none\";\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons;\n\
         #clear Acquire::IndexTargets::deb::CNF;\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         {extra}"
    );
    let config = folder.join("apt.conf");
    cache::write_whole(&config, text.as_bytes())?;
    Ok(config)
}

/// Reads stanzas of a `Packages` index (deb822: `Field: value`, a blank line between stanzas).
/// Stanzas without a name, a version or a SHA-256 are left out.
fn parse_index(text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.lines().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim())
                })
            };
            let sha256 = field("SHA256")?.to_ascii_lowercase();
            let valid = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
            valid.then_some(Package {
                name: field("Package")?.to_owned(),
                version: field("Version")?.to_owned(),
                sha256,
                size: field("Size")
                    .and_then(|size| size.parse().ok())
                    .unwrap_or(0),
            })
        })
        .collect()
}

/// Unpacks the files of a .deb below `into`, without root.
pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for program in [&["dpkg-deb"][..], &["busybox", "dpkg-deb"]] {
        match Command::new(program[0])
            .args(&program[1..])
            .arg("-x")
            .arg(deb)
            .arg(into)
            .stdin(Stdio::null())
            .status()
        {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => bail!(
                "{} -x {} failed: {status}",
                program.join(" "),
                deb.display()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("starting {}", program[0])),
        }
    }
    bail!(
        "neither dpkg-deb nor busybox is installed to unpack {}",
        deb.display()
    )
}

/// The address of a Debian mirror: `$PARAPET_DEBIAN_MIRROR`, else one that this machine's files
/// name, for Ubuntu ships a list of them.
pub fn debian_mirror() -> Option<String> {
    let given = std::env::var("PARAPET_DEBIAN_MIRROR")
        .ok()
        .filter(|text| !text.is_empty());
    given.or_else(|| {
        let template = fs::read_to_string("/usr/share/python-apt/templates/Debian.info").ok()?;
        template.lines().find_map(|line| {
            let uri = line.trim().strip_prefix("BaseURI:")?.trim();
            uri.ends_with("/debian/").then(|| uri.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "Package: linux-image-6.12.9-cloud-amd64\nVersion: 6.12.9-1\n\
        Description: Linux\n 6.12: a kernel\nSize: 34307256\n\
        SHA256: 5195B288dec79e2981d6b84457f38b7ce7310a2d702930ec7d07209c7f78ce37\n\n\
        Package: no-hash\nVersion: 1\n\n\
        Package: bad-hash\nVersion: 1\nSHA256: 51\n";

    #[test]
    fn reads_an_index() {
        let packages = parse_index(INDEX);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].name, "linux-image-6.12.9-cloud-amd64");
        assert_eq!(packages[0].version, "6.12.9-1");
        assert_eq!(packages[0].size, 34_307_256);
        assert!(packages[0].sha256.starts_with("5195b288"));
        assert!(parse_index("").is_empty());
        assert!(parse_index("N: Unable to locate package\n").is_empty());
    }

    #[test]
    fn a_dropped_package_is_told_plainly() {
        let package = &parse_index(INDEX)[0];
        let told = download_failure(package, "E: Failed to fetch x  404  Not Found");
        assert!(told.is::<Dropped>());
        assert_eq!(
            told.to_string(),
            "the package archive has dropped linux-image-6.12.9-cloud-amd64 6.12.9-1"
        );
        let told = download_failure(package, "E: Failed to fetch x  Could not connect\n");
        assert!(!told.is::<Dropped>());
        assert!(
            told.to_string().ends_with("failed: Could not connect"),
            "{told}"
        );
    }
}
