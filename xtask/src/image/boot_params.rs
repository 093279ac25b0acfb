// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's 64-bit boot protocol: the kernel file, and the page of boot parameters that its entry
//! expects (Linux `Documentation/arch/x86/boot.rst` and `zero-page.rst`).

use std::path::Path;

use anyhow::{Context as _, Result};
use emulator_defs::layout;
use snp_defs::cc_blob::{self, CcBlob};
use zerocopy::IntoBytes;

use super::guest_memory::{Machine, area};
use crate::failure::Failure;

/// What lies where in the boot parameters and, from `SETUP_HEADER` on, in the kernel's file.
mod field {
    pub(super) const ACPI_RSDP_ADDR: usize = 0x070;
    pub(super) const E820_ENTRIES: usize = 0x1E8;
    pub(super) const SETUP_HEADER: usize = 0x1F1;
    pub(super) const SETUP_SECTORS: usize = 0x1F1;
    pub(super) const BOOT_FLAG: usize = 0x1FE;
    pub(super) const JUMP_LENGTH: usize = 0x201;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const TYPE_OF_LOADER: usize = 0x210;
    pub(super) const LOAD_FLAGS: usize = 0x211;
    pub(super) const CODE32_START: usize = 0x214;
    pub(super) const RAMDISK_IMAGE: usize = 0x218;
    pub(super) const RAMDISK_SIZE: usize = 0x21C;
    pub(super) const CMD_LINE_PTR: usize = 0x228;
    pub(super) const INITRD_ADDR_MAX: usize = 0x22C;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(super) const CMDLINE_SIZE: usize = 0x238;
    pub(super) const SETUP_DATA: usize = 0x250;
    pub(super) const PREF_ADDRESS: usize = 0x258;
    pub(super) const INIT_SIZE: usize = 0x260;
    pub(super) const HEADER_END: usize = 0x264;
    pub(super) const E820_TABLE: usize = 0x2D0;
}

/// Boot protocol 2.12 (Linux 3.8): the first with `xloadflags`, which tells of a 64-bit entry.
const OLDEST_PROTOCOL: u16 = 0x020C;
const XLF_KERNEL_64: u16 = 1 << 0;
const LOADED_HIGH: u8 = 1 << 0;
/// Offset of the 64-bit entry from where the kernel is loaded.
const ENTRY_64: u64 = 0x200;
/// Bytes of the command line's page, less the zero at its end.
const COMMAND_LINE_ROOM: usize = 4095;
/// Offset of the structure for confidential guests in the page of `setup_data`.
const CC_BLOB_OFFSET: u64 = 0x40;

/// Types of memory in the e820 table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum E820 {
    /// Free memory.
    Ram = 1,
    /// Not for the kernel to use.
    Reserved = 2,
    /// ACPI tables.
    Acpi = 3,
}

/// A bzImage.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The setup header, as the boot parameters hold it.
    header: Vec<u8>,
    /// What is loaded.
    pub(crate) code: Vec<u8>,
    /// Where it is loaded.
    pub(crate) address: u64,
    /// Bytes from there on that it uses before it knows its memory map.
    pub(crate) init_size: u64,
    /// Longest command line.
    command_line_max: usize,
    /// Highest address of the initramfs's last byte.
    initramfs_max: u64,
}

impl Kernel {
    /// Reads and checks a kernel's file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).map_err(|error| {
            Failure::usage(format!("can't read the kernel {}: {error}", path.display()))
                .hint("--kernel wants the path of a bzImage, for example /boot/vmlinuz-VERSION")
        })?;
        Self::parse(&file).with_context(|| format!("{} can't be booted", path.display()))
    }

    fn parse(file: &[u8]) -> Result<Self> {
        let is_kernel = file.len() > field::HEADER_END
            && file[field::MAGIC..field::MAGIC + 4] == *b"HdrS"
            && u16_at(file, field::BOOT_FLAG) == 0xAA55;
        if !is_kernel {
            return Err(Failure::usage("it is no bzImage")
                .hint("a vmlinux (ELF) or a compressed Image does not do; take the vmlinuz that a distribution installs in /boot")
                .into());
        }
        let version = u16_at(file, field::VERSION);
        let old = version < OLDEST_PROTOCOL;
        if old || u16_at(file, field::XLOADFLAGS) & XLF_KERNEL_64 == 0 {
            let (major, minor) = (version >> 8, version & 0xFF);
            let why = if old {
                "which is too old"
            } else {
                "but has no 64-bit entry"
            };
            return Err(Failure::usage(format!("it speaks boot protocol {major}.{minor}, {why}"))
                .hint("take an x86-64 kernel; as an SEV-SNP guest Linux works from 5.19 on, under an SVSM from 6.11 on")
                .into());
        }
        if file[field::LOAD_FLAGS] & LOADED_HIGH == 0 {
            return Err(Failure::usage("it is a zImage, to be loaded in low memory").into());
        }
        let setup_sectors = match file[field::SETUP_SECTORS] {
            0 => 4,
            count => usize::from(count),
        };
        let code = file
            .get((setup_sectors + 1) * 512..)
            .filter(|code| code.len() > 0x400);
        let code = code.ok_or_else(|| Failure::usage("it is cut short"))?;
        let header_end = field::MAGIC + usize::from(file[field::JUMP_LENGTH]);
        let header_end = header_end.clamp(field::HEADER_END, field::E820_TABLE);
        Ok(Self {
            header: file[field::SETUP_HEADER..header_end].to_vec(),
            code: code.to_vec(),
            address: u64_at(file, field::PREF_ADDRESS),
            init_size: u64::from(u32_at(file, field::INIT_SIZE)).max(code.len() as u64),
            command_line_max: u32_at(file, field::CMDLINE_SIZE) as usize,
            initramfs_max: u32_at(file, field::INITRD_ADDR_MAX).into(),
        })
    }

    /// Where it is entered in 64-bit mode.
    pub(crate) fn entry(&self) -> u64 {
        self.address + ENTRY_64
    }

    /// Chooses the initramfs's place: as high below 4 GiB as the kernel lets it, on a 2M boundary.
    pub(crate) fn place_initramfs(&self, size: u64, machine: &Machine) -> Result<u64> {
        let top = machine.low_end().min(self.initramfs_max + 1);
        let kernel_end = self.address + self.init_size;
        let place = top
            .checked_sub(size)
            .map(|start| start & !(2 * layout::MIB - 1));
        match place {
            Some(start) if start >= kernel_end => Ok(start),
            _ => Err(Failure::usage(format!(
                "the initramfs of {} MiB does not fit between the kernel and {} MiB",
                size.div_ceil(layout::MIB),
                top / layout::MIB
            ))
            .hint("give the guest more memory with --memory, or make the initramfs smaller")
            .into()),
        }
    }

    /// Checks that the kernel itself fits the guest's memory.
    pub(crate) fn check_room(&self, machine: &Machine) -> Result<()> {
        let end = self.address.checked_add(self.init_size);
        if self.address < area::PAYLOAD || end.is_none_or(|end| end > machine.low_end()) {
            return Err(Failure::usage(format!(
                "the kernel needs {} MiB of memory from {:#x} on, which the guest does not have",
                self.init_size.div_ceil(layout::MIB),
                self.address
            ))
            .hint("give the guest more memory with --memory")
            .into());
        }
        Ok(())
    }
}

/// What the boot parameters say.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    /// The kernel; `None` for a bare-metal guest that reads the rest of the page.
    pub(crate) kernel: Option<&'a Kernel>,
    /// Place and size of the initramfs.
    pub(crate) initramfs: Option<(u64, u64)>,
    /// Address of the RSDP.
    pub(crate) rsdp: u64,
    /// Memory map: address, bytes, type.
    pub(crate) e820: &'a [(u64, u64, E820)],
}

impl Parameters<'_> {
    /// The page of boot parameters.
    pub(crate) fn to_page(&self) -> [u8; 4096] {
        let mut page = [0; 4096];
        if let Some(kernel) = self.kernel {
            let start = field::SETUP_HEADER;
            page[start..start + kernel.header.len()].copy_from_slice(&kernel.header);
            page[field::LOAD_FLAGS] |= LOADED_HIGH;
            put(
                &mut page,
                field::CODE32_START,
                &(kernel.address as u32).to_le_bytes(),
            );
        }
        page[field::TYPE_OF_LOADER] = 0xFF; // none of the registered ones
        put(&mut page, field::ACPI_RSDP_ADDR, &self.rsdp.to_le_bytes());
        put(
            &mut page,
            field::CMD_LINE_PTR,
            &(area::COMMAND_LINE as u32).to_le_bytes(),
        );
        put(
            &mut page,
            field::SETUP_DATA,
            &area::SETUP_DATA.to_le_bytes(),
        );
        if let Some((address, size)) = self.initramfs {
            put(
                &mut page,
                field::RAMDISK_IMAGE,
                &(address as u32).to_le_bytes(),
            );
            put(&mut page, field::RAMDISK_SIZE, &(size as u32).to_le_bytes());
        }
        page[field::E820_ENTRIES] = self.e820.len() as u8;
        for (index, (address, size, kind)) in self.e820.iter().enumerate() {
            let at = field::E820_TABLE + 20 * index;
            put(&mut page, at, &address.to_le_bytes());
            put(&mut page, at + 8, &size.to_le_bytes());
            put(&mut page, at + 16, &(*kind as u32).to_le_bytes());
        }
        page
    }
}

/// The page with the one entry of `setup_data`, and the structure that it points to.
pub(crate) fn setup_data() -> [u8; 4096] {
    let mut page = [0; 4096];
    let blob = CcBlob {
        magic: cc_blob::MAGIC,
        version: cc_blob::VERSION,
        reserved: 0,
        secrets_gpa: area::SECRETS,
        secrets_len: 4096,
        reserved1: 0,
        cpuid_gpa: area::CPUID,
        cpuid_len: 4096,
        reserved2: 0,
    };
    let blob_address = (area::SETUP_DATA + CC_BLOB_OFFSET) as u32;
    // struct setup_data: u64 next, u32 type, u32 len, then `len` bytes.
    put(&mut page, 8, &cc_blob::SETUP_CC_BLOB.to_le_bytes());
    put(&mut page, 12, &4u32.to_le_bytes());
    put(&mut page, 16, &blob_address.to_le_bytes());
    put(&mut page, CC_BLOB_OFFSET as usize, blob.as_bytes());
    page
}

/// The page of the command line.
pub(crate) fn command_line(text: &str, kernel: Option<&Kernel>) -> Result<[u8; 4096]> {
    let most = kernel.map_or(COMMAND_LINE_ROOM, |kernel| kernel.command_line_max);
    let most = most.min(COMMAND_LINE_ROOM);
    if text.len() > most {
        return Err(Failure::usage(format!(
            "the command line has {} bytes, and the kernel takes {most}",
            text.len()
        ))
        .hint("shorten what --append adds")
        .into());
    }
    if text.bytes().any(|byte| byte == 0 || byte == b'\n') {
        return Err(
            Failure::usage("the command line has a line break or a zero byte in it").into(),
        );
    }
    let mut page = [0; 4096];
    put(&mut page, 0, text.as_bytes());
    Ok(page)
}

fn put(page: &mut [u8; 4096], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u16_at(file: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([file[at], file[at + 1]])
}

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from(u16_at(file, at)) | u32::from(u16_at(file, at + 2)) << 16
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    u64::from(u32_at(file, at)) | u64::from(u32_at(file, at + 4)) << 32
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A bzImage of 2 MiB as to its header.
    pub(in crate::image) fn kernel_file() -> Vec<u8> {
        let mut file = vec![0x90; 2 << 20];
        file[..0x1000].fill(0);
        file[field::SETUP_SECTORS] = 7;
        put_at(&mut file, field::BOOT_FLAG, &0xAA55u16.to_le_bytes());
        file[field::JUMP_LENGTH] = 0x6A;
        put_at(&mut file, field::MAGIC, b"HdrS");
        put_at(&mut file, field::VERSION, &0x020Fu16.to_le_bytes());
        file[field::LOAD_FLAGS] = LOADED_HIGH;
        put_at(&mut file, field::XLOADFLAGS, &XLF_KERNEL_64.to_le_bytes());
        put_at(&mut file, field::CMDLINE_SIZE, &2047u32.to_le_bytes());
        put_at(
            &mut file,
            field::INITRD_ADDR_MAX,
            &0x7FFF_FFFFu32.to_le_bytes(),
        );
        put_at(&mut file, field::PREF_ADDRESS, &0x100_0000u64.to_le_bytes());
        put_at(&mut file, field::INIT_SIZE, &0x300_0000u32.to_le_bytes());
        file
    }

    fn put_at(file: &mut [u8], at: usize, bytes: &[u8]) {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn a_kernel_is_split_into_header_and_code() {
        let file = kernel_file();
        let kernel = Kernel::parse(&file).unwrap();
        assert_eq!(kernel.code.len(), file.len() - 0x1000);
        assert_eq!(kernel.entry(), 0x100_0200);
        let parameters = Parameters {
            kernel: Some(&kernel),
            initramfs: None,
            rsdp: 0,
            e820: &[],
        };
        let page = parameters.to_page();
        assert_eq!(page[field::MAGIC..field::MAGIC + 4], *b"HdrS");
        assert_eq!(page[field::E820_TABLE..], [0; 4096 - field::E820_TABLE]);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let good = kernel_file();
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = good.clone();
            change(&mut file);
            Kernel::parse(&file).unwrap_err().to_string()
        };
        assert_eq!(refused(&|file| file.truncate(100)), "it is no bzImage");
        assert_eq!(refused(&|file| file[field::MAGIC] = 0), "it is no bzImage");
        assert_eq!(
            refused(&|file| file[field::VERSION] = 5),
            "it speaks boot protocol 2.5, which is too old"
        );
        assert_eq!(
            refused(&|file| file[field::XLOADFLAGS] = 0),
            "it speaks boot protocol 2.15, but has no 64-bit entry"
        );
        assert_eq!(refused(&|file| file.truncate(0x1000)), "it is cut short");
    }

    #[test]
    fn an_initramfs_lies_as_high_as_it_may() {
        let kernel = Kernel::parse(&kernel_file()).unwrap();
        let machine = Machine::new(256 * layout::MIB, 1).unwrap();
        assert_eq!(
            kernel.place_initramfs(5000, &machine).unwrap(),
            254 * layout::MIB
        );
        let room = machine.low_end() - (kernel.address + kernel.init_size);
        assert!(kernel.place_initramfs(room, &machine).is_ok());
        assert!(kernel.place_initramfs(room + 1, &machine).is_err());
        assert!(kernel.place_initramfs(u64::MAX, &machine).is_err());
    }

    #[test]
    fn a_command_line_that_is_too_long_is_refused() {
        let kernel = Kernel::parse(&kernel_file()).unwrap();
        assert!(command_line(&"a".repeat(2047), Some(&kernel)).is_ok());
        assert!(command_line(&"a".repeat(2048), Some(&kernel)).is_err());
        assert!(command_line(&"a".repeat(4095), None).is_ok());
        assert!(command_line("a\nb", None).is_err());
    }

    #[test]
    fn secrets_and_cpuid_pages_are_found_as_linux_looks_for_them() {
        let page = setup_data();
        assert_eq!(u64_at(&page, 0), 0, "no further entry");
        assert_eq!((u32_at(&page, 8), u32_at(&page, 12)), (7, 4));
        let blob = (u64::from(u32_at(&page, 16)) - area::SETUP_DATA) as usize;
        assert_eq!(&page[blob..blob + 4], b"AMDE");
        assert_eq!(u64_at(&page, blob + 8), area::SECRETS);
        assert_eq!(u64_at(&page, blob + 24), area::CPUID);
    }
}
