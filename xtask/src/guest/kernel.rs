// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel the guest boots: the one that `--kernel` names, else the newest
//! `linux-image-6.12*-cloud-amd64` of Debian, fetched once and kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xtask_common::apt::{self, Apt, Dropped, Package};

use super::bzimage;
use crate::cache::{self, Cache};
use crate::failure::Failure;

const PREFIX: &str = "linux-image-6.12.";
const SUFFIX: &str = "-cloud-amd64";
/// Written last into a kernel's folder of the cache; says where the kernel came from.
const ORIGIN: &str = "origin";
/// Where Debian installs the keys that sign its archive.
const KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel and its modules.
#[derive(Debug, Clone)]
pub(crate) struct GuestKernel {
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// Its release, as `uname -r` prints it, if it says so.
    pub(crate) release: Option<String>,
    /// Its modules: a `lib/modules/RELEASE` folder.
    pub(crate) modules: Option<PathBuf>,
}

/// The kernel that `--kernel` and `--modules` name.
pub(crate) fn given(image: &Path, modules: Option<&Path>) -> Result<GuestKernel> {
    let header = bzimage::inspect(image)?;
    let modules = match modules {
        Some(folder) if folder.is_dir() => Some(folder.to_owned()),
        Some(folder) => {
            return Err(
                Failure::usage(format!("the modules {} are no folder", folder.display()))
                    .hint("--modules takes a folder like /lib/modules/VERSION")
                    .into(),
            );
        }
        None => header
            .release
            .as_ref()
            .and_then(|release| beside(image, release)),
    };
    Ok(GuestKernel {
        image: std::path::absolute(image)?,
        release: header.release,
        modules,
    })
}

/// The modules of an installed or an unpacked kernel.
fn beside(image: &Path, release: &str) -> Option<PathBuf> {
    let unpacked = image
        .parent()?
        .parent()
        .map(|root| root.join("lib/modules"));
    [unpacked, Some(PathBuf::from("/lib/modules"))]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(release))
        .find(|folder| folder.is_dir())
}

/// The default kernel: the newest in the cache, else Debian's newest, which is fetched now.
pub(crate) fn default(cache: &Cache) -> Result<GuestKernel> {
    if let Some(folder) = newest_cached(cache)? {
        return open(&folder);
    }
    let _lock = cache.lock()?;
    // Another run may have fetched it while this one waited.
    if let Some(folder) = newest_cached(cache)? {
        return open(&folder);
    }
    fetch_newest(cache)
}

/// Fetches Debian's newest kernel, whatever the cache holds.
pub(crate) fn fetch_newest(cache: &Cache) -> Result<GuestKernel> {
    if !apt::exists() {
        return Err(Failure::missing(
            "the default kernel comes from Debian through apt, and this machine has none",
        )
        .hint(
            "give any kernel for SEV-SNP guests, Linux 6.11 or newer, with --kernel and --modules",
        )
        .into());
    }
    let mut dropped = None;
    for view in [View::Machine, View::Refreshed, View::Debian] {
        let Some(apt) = view.open(cache)? else {
            continue;
        };
        match fetch_from(&apt, cache) {
            Ok(Some(kernel)) => return Ok(kernel),
            Ok(None) => {}
            // The index is old: a fresh one names what there is now.
            Err(error) if error.is::<Dropped>() => {
                eprintln!("{error}, which is still in {}", apt.title);
                dropped = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let message = dropped
        .unwrap_or_else(|| format!("no {PREFIX}*{SUFFIX} is to be had from the package archive"));
    Err(Failure::missing(message)
        .hint("check the network and the package sources, or give a kernel with --kernel")
        .into())
}

#[derive(Debug, Clone, Copy)]
enum View {
    Machine,
    Refreshed,
    Debian,
}

impl View {
    fn open(self, cache: &Cache) -> Result<Option<Apt>> {
        match self {
            Self::Machine => Ok(Some(Apt::machine())),
            // Only Debian has this kernel: elsewhere the lists are fetched for nothing.
            Self::Refreshed if is_debian() => Ok(Some(Apt::machine_refreshed(cache)?)),
            Self::Refreshed => Ok(None),
            Self::Debian => {
                let mirror = apt::debian_mirror().ok_or_else(|| {
                    Failure::missing("the address of a Debian mirror is not known here").hint(
                        "set PARAPET_DEBIAN_MIRROR to one of those at \
                         https://www.debian.org/mirror/list (it ends in /debian), \
                         or give a kernel with --kernel",
                    )
                })?;
                let keyring = keyring(cache)?;
                Ok(Some(Apt::debian(cache, &mirror, &keyring)?))
            }
        }
    }
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "ID=debian"))
}

/// The keys of Debian's archive: installed, or out of the machine's own signed archive.
fn keyring(cache: &Cache) -> Result<PathBuf> {
    let installed = Path::new("/").join(KEYRING);
    if installed.exists() {
        return Ok(installed);
    }
    let folder = cache.folder("keyring")?;
    let cached = folder.join(KEYRING);
    if cached.exists() {
        return Ok(cached);
    }
    for refresh in [false, true] {
        let apt = if refresh {
            Apt::machine_refreshed(cache)?
        } else {
            Apt::machine()
        };
        if let Some(package) = apt.show("debian-archive-keyring")?
            && let Ok(deb) = apt.download(&package, &cache.folder("downloads")?)
        {
            apt::unpack(&deb, &folder)?;
            if cached.exists() {
                return Ok(cached);
            }
        }
    }
    Err(Failure::missing(
        "the keys of Debian's archive are not installed, so its kernel cannot be trusted",
    )
    .hint("apt-get install debian-archive-keyring, or give a kernel with --kernel")
    .into())
}

fn fetch_from(apt: &Apt, cache: &Cache) -> Result<Option<GuestKernel>> {
    let names = apt.names(PREFIX)?;
    let Some(name) = newest(names.iter().map(String::as_str)) else {
        return Ok(None);
    };
    let Some(package) = apt.show(name)? else {
        return Ok(None);
    };
    let deb = apt.download(&package, &cache.folder("downloads")?)?;
    let folder = install(&package, &deb, cache)?;
    fs::remove_file(&deb)?;
    open(&folder).map(Some)
}

/// Unpacks a kernel's package into the cache.
fn install(package: &Package, deb: &Path, cache: &Cache) -> Result<PathBuf> {
    let folder = cache.folder("kernels")?.join(&package.name);
    let fresh = cache
        .folder("kernels")?
        .join(format!(".{}.new", package.name));
    let _ = fs::remove_dir_all(&fresh);
    let step = crate::progress::Step::start(format!("unpacking {}", package.name));
    apt::unpack(deb, &fresh)?;
    // What only a machine that installs it needs.
    let _ = fs::remove_dir_all(fresh.join("usr/share"));
    let origin = format!(
        "package {}\nversion {}\nsha256 {}\n",
        package.name, package.version, package.sha256
    );
    cache::write_whole(&fresh.join(ORIGIN), origin.as_bytes())?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&fresh, &folder)?;
    step.done();
    Ok(folder)
}

/// The newest kernel that the cache has whole.
pub(crate) fn newest_cached(cache: &Cache) -> Result<Option<PathBuf>> {
    let kernels = cache.folder("kernels")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&kernels)? {
        let entry = entry?;
        if entry.path().join(ORIGIN).exists() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(newest(names.iter().map(String::as_str)).map(|name| kernels.join(name)))
}

/// Package, version and hash of a kernel in the cache, in one line.
pub(crate) fn origin(folder: &Path) -> String {
    fs::read_to_string(folder.join(ORIGIN))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| {
            if key == "sha256" {
                format!("sha256:{value}")
            } else {
                value.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn open(folder: &Path) -> Result<GuestKernel> {
    let boot = folder.join("boot");
    let entry = fs::read_dir(&boot)
        .with_context(|| format!("reading {}", boot.display()))?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
        .with_context(|| format!("{} holds no kernel: delete that folder", folder.display()))?;
    let image = entry.path();
    let header = bzimage::inspect(&image)?;
    let name = entry.file_name().to_string_lossy().into_owned();
    let release = header
        .release
        .unwrap_or_else(|| name.trim_start_matches("vmlinuz-").to_owned());
    let modules = ["lib/modules", "usr/lib/modules"]
        .into_iter()
        .map(|place| folder.join(place).join(&release))
        .find(|place| place.is_dir());
    Ok(GuestKernel {
        image,
        release: Some(release),
        modules,
    })
}

/// The newest of the packages that are 6.12 kernels for clouds; of two flavours the signed one.
fn newest<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .filter_map(|name| Some((rank(name)?, name)))
        .max()
        .map(|(_, name)| name)
}

/// Orders kernel packages by patch level, then by Debian's build, then signed over unsigned.
fn rank(name: &str) -> Option<(u32, u32, bool)> {
    let signed = !name.ends_with("-unsigned");
    let name = name.strip_suffix("-unsigned").unwrap_or(name);
    let version = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (patch, build) = version.split_once('+').unwrap_or((version, ""));
    // Before 2023 the names had an ABI number: 6.12.9-1-cloud-amd64.
    let patch = patch.split('-').next()?.parse().ok()?;
    let build = build.trim_start_matches(|c: char| !c.is_ascii_digit());
    Some((patch, build.parse().unwrap_or(0), signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_by_number() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-dbg",
            "linux-image-6.12.118+deb12-amd64",
            "linux-image-6.12.119+deb12-rt-amd64",
            "linux-image-6.12-cloud-amd64",
        ];
        assert_eq!(newest(names.into_iter()), Some(names[2]));
        assert_eq!(newest([names[0], names[1]].into_iter()), Some(names[1]));
        assert_eq!(newest(std::iter::empty()), None);
    }

    #[test]
    fn a_later_release_of_debian_wins() {
        assert!(
            rank("linux-image-6.12.57+deb13-cloud-amd64")
                > rank("linux-image-6.12.57+deb12-cloud-amd64")
        );
    }

    #[test]
    fn a_missing_kernel_is_told_plainly() {
        let error = given(Path::new("/nonexistent/vmlinuz"), None).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the kernel /nonexistent/vmlinuz cannot be read")
        );
        let error = given(Path::new("/etc/passwd"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/etc/passwd is not a bootable kernel: it has no Linux setup header"
        );
    }
}
