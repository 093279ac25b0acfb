// SPDX-License-Identifier: MIT OR Apache-2.0
//! Picks modules out of a kernel's module tree, with what they depend on.
//!
//! A kernel package has no `modules.dep`: `depmod` writes it when the package is installed, which
//! it never is here. Each module names what it needs itself, in its `.modinfo` section.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// One module, ready for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name as `lsmod` shows it.
    pub(crate) name: String,
    /// The ELF file, not compressed.
    pub(crate) content: Vec<u8>,
    /// The names of the modules that have to be loaded before it.
    pub(crate) depends: Vec<String>,
    /// Patterns of the device names that it drives.
    pub(crate) aliases: Vec<String>,
}

/// The module tree of one kernel: `lib/modules/RELEASE`.
#[derive(Debug)]
pub(crate) struct Tree {
    files: BTreeMap<String, PathBuf>,
}

impl Tree {
    /// Lists the modules below `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(folder) = pending.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("the modules in {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                // A symbolic link here leads to the sources of the kernel, or in circles.
                if entry.file_type()?.is_dir() {
                    pending.push(entry.path());
                } else if let Some(name) = entry.file_name().to_str().and_then(module_name) {
                    files.insert(name, entry.path());
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules `wanted` and all that they need, each after what it depends on. Those that the
    /// kernel does not have (built in, or left out) are not in the answer.
    pub(crate) fn closure(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut found = Vec::new();
        for name in wanted {
            self.visit(name, &mut Vec::new(), &mut found)?;
        }
        Ok(found)
    }

    fn visit(&self, name: &str, path: &mut Vec<String>, found: &mut Vec<Module>) -> Result<()> {
        if found.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            return Ok(());
        };
        if path.iter().any(|above| above == name) {
            bail!("modules depend on each other in a circle: {path:?}");
        }
        let content = read(file)?;
        let info = modinfo(&content)
            .with_context(|| format!("{} is not a kernel module", file.display()))?;
        let depends = depends(info);
        let aliases = values(info, "alias").map(str::to_owned).collect();
        path.push(name.to_owned());
        for dependency in &depends {
            self.visit(dependency, path, found)?;
        }
        path.pop();
        found.push(Module {
            name: name.to_owned(),
            content,
            depends,
            aliases,
        });
        Ok(())
    }
}

/// The name of a module from that of its file: `virtio-rng.ko.xz` is `virtio_rng`.
fn module_name(file: &str) -> Option<String> {
    let (stem, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".gz" | ".zst").then(|| stem.replace('-', "_"))
}

/// Reads a module and undoes its compression with the program for it.
fn read(file: &Path) -> Result<Vec<u8>> {
    let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    // The first program that exists does it; busybox brings its own for two of the three.
    let programs: &[&[&str]] = match file.extension().and_then(|name| name.to_str()) {
        Some("xz") => &[&["xz", "-dc"], &["busybox", "xz", "-dc"]],
        Some("gz") => &[&["gzip", "-dc"], &["busybox", "gzip", "-dc"]],
        Some("zst") => &[&["zstd", "-dcq"]],
        _ => return Ok(content),
    };
    for program in programs {
        match Command::new(program[0])
            .args(&program[1..])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
        {
            Ok(output) if output.status.success() => return Ok(output.stdout),
            Ok(output) => bail!(
                "{} failed on {}: {}",
                program[0],
                file.display(),
                output.status
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("starting {}", program[0])),
        }
    }
    bail!(
        "{} is compressed, and `{}` is not installed",
        file.display(),
        programs[0][0]
    )
}

/// The values of `key` among the `key=value` strings of a `.modinfo` section.
fn values<'a>(info: &'a [u8], key: &'a str) -> impl Iterator<Item = &'a str> {
    info.split(|&byte| byte == 0).filter_map(move |entry| {
        std::str::from_utf8(entry)
            .ok()?
            .strip_prefix(key)?
            .strip_prefix('=')
    })
}

/// The names of the modules that have to be loaded before the one with this `.modinfo`.
fn depends(info: &[u8]) -> Vec<String> {
    values(info, "depends")
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// The section `.modinfo` of a 64-bit little-endian ELF file (ELF-64 object file format, 1.5).
fn modinfo(elf: &[u8]) -> Option<&[u8]> {
    let bytes = |offset: usize, length: usize| elf.get(offset..offset.checked_add(length)?);
    let half = |offset| Some(u16::from_le_bytes(bytes(offset, 2)?.try_into().ok()?));
    let word = |offset| Some(u32::from_le_bytes(bytes(offset, 4)?.try_into().ok()?));
    let long =
        |offset| usize::try_from(u64::from_le_bytes(bytes(offset, 8)?.try_into().ok()?)).ok();
    if bytes(0, 6)? != b"\x7FELF\x02\x01" {
        return None;
    }
    let table = long(0x28)?;
    let entry_size = usize::from(half(0x3A)?);
    let count = usize::from(half(0x3C)?);
    let header = |index: usize| table.checked_add(index.checked_mul(entry_size)?);
    let extent = |index: usize| {
        let at = header(index)?;
        bytes(long(at.checked_add(0x18)?)?, long(at.checked_add(0x20)?)?)
    };
    let names = extent(usize::from(half(0x3E)?))?;
    for index in 0..count {
        let name = names.get(word(header(index)?)? as usize..)?;
        if name.starts_with(b".modinfo\0") {
            return extent(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object file with the sections null, `.modinfo` and `.shstrtab`.
    fn object(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 0x40];
        elf[..6].copy_from_slice(b"\x7FELF\x02\x01");
        let info_at = elf.len();
        elf.extend_from_slice(info);
        let names_at = elf.len();
        elf.extend_from_slice(names);
        let table = elf.len();
        for (name, offset, size) in [
            (0_u32, 0, 0),
            (1, info_at, info.len()),
            (10, names_at, names.len()),
        ] {
            let mut header = [0; 0x40];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        elf[0x3A..0x3C].copy_from_slice(&0x40_u16.to_le_bytes());
        elf[0x3C..0x3E].copy_from_slice(&3_u16.to_le_bytes());
        elf[0x3E..0x40].copy_from_slice(&2_u16.to_le_bytes());
        elf
    }

    #[test]
    fn reads_dependencies_out_of_the_module() {
        let elf = object(b"license=GPL\0depends=failover,net-failover\0alias=a*\0alias=b\0");
        let info = modinfo(&elf).unwrap();
        assert_eq!(depends(info), ["failover", "net_failover"]);
        assert_eq!(values(info, "alias").collect::<Vec<_>>(), ["a*", "b"]);
        assert!(depends(modinfo(&object(b"license=GPL\0depends=\0")).unwrap()).is_empty());
    }

    #[test]
    fn survives_broken_modules() {
        let elf = object(b"depends=\0");
        for length in 0..elf.len() {
            let _ = modinfo(&elf[..length]);
        }
        assert!(modinfo(b"#!/bin/sh").is_none());
    }

    #[test]
    fn names_modules_as_the_kernel_does() {
        assert_eq!(
            module_name("virtio-rng.ko.xz").as_deref(),
            Some("virtio_rng")
        );
        assert_eq!(module_name("tsm.ko").as_deref(), Some("tsm"));
        assert_eq!(module_name("modules.order"), None);
        assert_eq!(module_name("x.ko.bak"), None);
    }

    #[test]
    fn orders_modules_after_their_needs() {
        let folder = std::env::temp_dir().join(format!("parapet-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("kernel/net")).unwrap();
        let write = |path: &str, info: &[u8]| fs::write(folder.join(path), object(info)).unwrap();
        write("kernel/net/virtio_net.ko", b"depends=net_failover\0");
        write("kernel/net/net_failover.ko", b"depends=failover\0");
        write("kernel/failover.ko", b"depends=\0");
        let tree = Tree::open(&folder).unwrap();
        let names: Vec<_> = tree
            .closure(&["virtio_net", "failover", "built_in"])
            .unwrap()
            .into_iter()
            .map(|module| module.name)
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["failover", "net_failover", "virtio_net"]);
    }
}
