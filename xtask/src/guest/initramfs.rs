// SPDX-License-Identifier: MIT OR Apache-2.0
//! The default initramfs: a static busybox, the modules that the checks need, and `/init`.
//! The same kernel and busybox give the same bytes, for the archive is part of what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use xtask_common::busybox;
use xtask_common::cpio::Archive;

use super::kernel::GuestKernel;
use super::modules::{Module, Tree};
use crate::cache::{self, Cache};

const INIT: &str = include_str!("init.sh");

/// The program `attest`.
const ATTEST: &str = include_str!("attest.sh");

/// What `mount -a` mounts.
const FSTAB: &str =
    "dev /dev devtmpfs defaults 0 0\nproc /proc proc defaults 0 0\nsys /sys sysfs defaults 0 0\n";

/// What a login shell reads.
const PROFILE: &str = "PS1='guest \\w # '\nalias ll='ls -l'\n";

/// Modules of the kernel that the guest can load. What is built into the kernel, or what it does
/// not have, is passed over.
const WANTED: [&str; 11] = [
    "qemu_fw_cfg",   // the command
    "sev_guest",     // attestation reports, with configfs-tsm
    "gcm",           // see `CIPHER`
    "ghash_generic", // see `CIPHER`
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_console",
    "msr",   // /dev/cpu/N/msr, for checks
    "cpuid", // /dev/cpu/N/cpuid, for checks
    "configfs",
];

/// The cipher that sev-guest of Linux 6.12 asks the kernel for by name, which is no dependency that
/// a module could declare, and the modules that make it.
const CIPHER: (&[u8], [&str; 2]) = (b"gcm(aes)\0", ["gcm", "ghash_generic"]);

/// An initramfs in the cache that suits `kernel`.
pub(crate) fn default_for(kernel: &GuestKernel, cache: &Cache) -> Result<PathBuf> {
    let busybox_path = busybox::find(cache, ", or give --initrd")?;
    let busybox =
        fs::read(&busybox_path).with_context(|| format!("reading {}", busybox_path.display()))?;
    // The key names all that goes in, so that a hit costs no decompression of modules.
    let modules_key = match &kernel.modules {
        Some(folder) => format!("{}\n{}", folder.display(), stamp(folder)?),
        None => String::new(),
    };
    let key = cache::sha256_parts([
        INIT.as_bytes(),
        ATTEST.as_bytes(),
        FSTAB.as_bytes(),
        PROFILE.as_bytes(),
        WANTED.join(",").as_bytes(),
        CIPHER.0,
        env!("CARGO_PKG_VERSION").as_bytes(),
        busybox.as_slice(),
        modules_key.as_bytes(),
    ]);
    let path = cache.file("initramfs", &format!("{}.cpio", &key[..32]))?;
    if path.exists() {
        return Ok(path);
    }
    let step = crate::progress::Step::start("making the initramfs");
    let applets = applets(&busybox_path)?;
    let (release, modules) = match (&kernel.modules, &kernel.release) {
        (Some(folder), Some(release)) => {
            let mut modules = Tree::open(folder)?.closure(&WANTED)?;
            add_cipher(&mut modules);
            (release.as_str(), modules)
        }
        _ => ("none", Vec::new()),
    };
    let archive = archive(&busybox, &applets, release, &modules);
    cache::write_whole(&path, &archive)?;
    step.done();
    Ok(path)
}

/// An archive that adds one program to another archive.
pub(crate) fn with_program(name: &str, program: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file(&format!("bin/{name}"), 0o755, program);
    archive.finish()
}

fn archive(busybox: &[u8], applets: &[String], release: &str, modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
    ] {
        archive.directory(folder);
    }
    // The kernel opens it for /init before anything is mounted.
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("etc/fstab", 0o644, FSTAB.as_bytes());
    archive.file("etc/profile", 0o644, PROFILE.as_bytes());
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("bin/attest", 0o755, ATTEST.as_bytes());
    archive.file("bin/busybox", 0o755, busybox);
    for applet in applets.iter().filter(|name| *name != "busybox") {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    archive.symlink("sbin", "bin");
    let folder = format!("lib/modules/{release}");
    archive.directory(&folder);
    for module in modules {
        archive.file(
            &format!("{folder}/{}.ko", module.name),
            0o644,
            &module.content,
        );
    }
    archive.file(
        &format!("{folder}/modules.dep"),
        0o644,
        dependency_list(modules).as_bytes(),
    );
    archive.file(
        &format!("{folder}/modules.alias"),
        0o644,
        alias_list(modules).as_bytes(),
    );
    archive.file(&format!("{folder}/modules.symbols"), 0o644, b"");
    archive.finish()
}

/// Makes the cipher's modules a dependency of sev-guest, if it asks for the cipher.
fn add_cipher(modules: &mut [Module]) {
    let (name, needs) = CIPHER;
    for module in modules
        .iter_mut()
        .filter(|module| module.name == "sev_guest")
    {
        if module
            .content
            .windows(name.len())
            .any(|bytes| bytes == name)
        {
            module.depends.extend(needs.map(str::to_owned));
        }
    }
}

/// `modules.dep` as depmod(8) writes it: all that a module needs, the nearest first.
fn dependency_list(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        text.push_str(&format!("{}.ko:", module.name));
        let mut needs: Vec<&str> = Vec::new();
        collect(module, modules, &mut needs);
        for need in needs {
            text.push_str(&format!(" {need}.ko"));
        }
        text.push('\n');
    }
    text
}

fn collect<'a>(module: &'a Module, modules: &'a [Module], needs: &mut Vec<&'a str>) {
    for name in &module.depends {
        let Some(found) = modules.iter().find(|module| module.name == *name) else {
            continue;
        };
        // Listed again at the end: it has to be loaded before all that need it.
        needs.retain(|need| need != name);
        needs.push(name);
        collect(found, modules, needs);
    }
}

fn alias_list(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        for alias in &module.aliases {
            text.push_str(&format!("alias {alias} {}\n", module.name));
        }
    }
    text
}

/// The names by which the busybox at `path` can be called.
fn applets(path: &Path) -> Result<Vec<String>> {
    let output = Command::new(path)
        .arg("--list")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", path.display()))?;
    if !output.status.success() {
        bail!("{} --list failed: {}", path.display(), output.status);
    }
    let mut applets: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    applets.sort();
    applets.dedup();
    for needed in [
        "sh", "login", "mount", "modprobe", "poweroff", "usleep", "setsid",
    ] {
        if !applets.iter().any(|name| name == needed) {
            bail!(
                "{} has no `{needed}`, which the guest's init needs",
                path.display()
            );
        }
    }
    Ok(applets)
}

/// Changes when the module tree does: the time of its newest folder entry and its name.
fn stamp(folder: &Path) -> Result<String> {
    let modified = fs::metadata(folder)
        .with_context(|| format!("the modules in {}", folder.display()))?
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(format!("{}", modified.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str], aliases: &[&str]) -> Module {
        Module {
            name: name.to_owned(),
            content: name.as_bytes().to_vec(),
            depends: depends.iter().map(|&name| name.to_owned()).collect(),
            aliases: aliases.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn dependencies_are_listed_nearest_first() {
        let modules = [
            module("configfs", &[], &[]),
            module("tsm", &["configfs"], &[]),
            module("sev_guest", &["tsm", "configfs"], &["platform:sev-guest"]),
        ];
        assert_eq!(
            dependency_list(&modules),
            "configfs.ko:\ntsm.ko: configfs.ko\nsev_guest.ko: tsm.ko configfs.ko\n"
        );
        assert_eq!(alias_list(&modules), "alias platform:sev-guest sev_guest\n");
    }

    #[test]
    fn the_archive_is_deterministic() {
        let make = || {
            archive(
                b"elf",
                &["sh".to_owned()],
                "6.12",
                &[module("tsm", &[], &[])],
            )
        };
        assert_eq!(make(), make());
    }
}
