// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole images, read back by a parser and measured by code that are not ours.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use ::igvm::{IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IsolationType};
use emulator_defs::layout::{GIB, MIB, SVSM_BASE};
use igvm_defs::IgvmPageDataType;
use snp_shim::BootList;
use svsm_launch::{GUEST_VA, LaunchInfo, REGION_VA, per_cpu};
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

use super::guest_memory::area;
use super::page_tables::{C_BIT, Rights, walk};
use super::*;

const PAGE: u64 = 4096;

/// A static ELF file with the given parts: address, flags (4 read, 2 write, 1 execute), bytes.
fn elf(entry: u64, parts: &[(u64, u32, usize)]) -> Vec<u8> {
    let mut file = vec![0u8; 64];
    file[..8].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1, 1, 0]);
    file[16..20].copy_from_slice(&[2, 0, 62, 0]); // static, x86-64
    file[20..24].copy_from_slice(&1u32.to_le_bytes());
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file[32..40].copy_from_slice(&64u64.to_le_bytes());
    file[52..54].copy_from_slice(&64u16.to_le_bytes());
    file[54..56].copy_from_slice(&56u16.to_le_bytes());
    file[56..58].copy_from_slice(&(parts.len() as u16).to_le_bytes());
    let mut data = Vec::new();
    for (address, flags, size) in parts {
        let offset = (64 + 56 * parts.len() + data.len()) as u64;
        file.extend([1, *flags].iter().flat_map(|word| word.to_le_bytes()));
        let load = address & 0x7FFF_FFFF;
        let size64 = *size as u64;
        let fields = [offset, *address, load, size64, size64 + 0x2000, PAGE];
        file.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        data.extend(std::iter::repeat_n(0xAA, *size));
    }
    file.extend(data);
    file
}

struct Inputs {
    folder: TempDir,
}

impl Inputs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write("kernel", &boot_params::tests::kernel_file());
        write("initramfs", &[0x55; 100_000]);
        write("shim", &elf(area::SHIM, &[(area::SHIM, 5, 0x300)]));
        let svsm = [
            (REGION_VA, 5, 0x1_8000),
            (REGION_VA + 0x1_A000, 4, 0x9000),
            (REGION_VA + 0x2_5000, 6, 0x3000),
            (REGION_VA + 0x3_0000, 6, 0xE000),
        ];
        write("svsm", &elf(REGION_VA + 0x10, &svsm));
        write(
            "probe",
            &elf(0x20_0000, &[(0x20_0000, 5, 0x5000), (0x30_0000, 6, 0x123)]),
        );
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, svsm: bool, memory: u64, vcpus: u32) -> ImageOptions {
        ImageOptions {
            monitor: if svsm {
                Monitor::Svsm {
                    elf: self.path("svsm"),
                    log_level: 3,
                }
            } else {
                Monitor::None {
                    shim: self.path("shim"),
                }
            },
            payload: Payload::Linux {
                kernel: self.path("kernel"),
                initramfs: Some(self.path("initramfs")),
                command_line: "console=ttyS0".into(),
            },
            vcpus,
            memory,
            vmsa: VmsaPlace::Memory,
            out: self.path("image.igvm"),
        }
    }
}

/// An image as the `igvm` crate reads it.
struct Loaded {
    file: IgvmFile,
    bytes: Vec<u8>,
    memory: BTreeMap<u64, (IgvmPageDataType, Vec<u8>)>,
    required: Vec<Range<u64>>,
    vmsa_gpa: u64,
    vmsa: snp_defs::vmsa::Vmsa,
}

impl Loaded {
    fn read(options: &ImageOptions) -> Self {
        let files = build(options).unwrap();
        let bytes = std::fs::read(files.igvm).unwrap();
        let file = IgvmFile::new_from_binary(&bytes, Some(IsolationType::Snp)).unwrap();
        let mut memory = BTreeMap::new();
        let mut required = Vec::new();
        let mut vcpu = None;
        for directive in file.directives() {
            match directive {
                IgvmDirectiveHeader::PageData {
                    gpa,
                    data_type,
                    data,
                    ..
                } => {
                    // A page of zeros, too, has bytes in the file.
                    assert_eq!(data.is_empty(), *data_type != IgvmPageDataType::NORMAL);
                    let mut data = data.clone();
                    data.resize(PAGE as usize, 0);
                    assert!(memory.insert(*gpa, (*data_type, data)).is_none());
                }
                IgvmDirectiveHeader::RequiredMemory {
                    gpa,
                    number_of_bytes,
                    ..
                } => {
                    required.push(*gpa..*gpa + u64::from(*number_of_bytes));
                }
                IgvmDirectiveHeader::SnpVpContext {
                    gpa,
                    vp_index,
                    vmsa,
                    ..
                } => {
                    assert_eq!(*vp_index, 0);
                    assert!(vcpu.is_none());
                    vcpu = Some((*gpa, vmsa.as_bytes().to_vec()));
                }
                _ => {}
            }
        }
        let (vmsa_gpa, mut vmsa) = vcpu.unwrap();
        vmsa.resize(PAGE as usize, 0);
        let vmsa = snp_defs::vmsa::Vmsa::read_from_bytes(&vmsa).unwrap();
        Self {
            file,
            bytes,
            memory,
            required,
            vmsa_gpa,
            vmsa,
        }
    }

    fn page(&self, gpa: u64) -> &[u8] {
        &self.memory[&gpa].1
    }

    fn walk(&self, virt: u64) -> Option<(u64, Rights)> {
        let read = |address: u64| {
            let at = (address % PAGE) as usize;
            let page = self.page(address - address % PAGE);
            u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
        };
        assert_ne!(self.vmsa.cr3 & C_BIT, 0);
        walk(read, self.vmsa.cr3 & !C_BIT, virt)
    }

    fn at<T: FromBytes>(&self, virt: u64) -> T {
        let (gpa, _) = self.walk(virt).unwrap();
        let at = (gpa % PAGE) as usize;
        T::read_from_prefix(&self.page(gpa - gpa % PAGE)[at..])
            .unwrap()
            .0
    }
}

#[test]
fn without_an_svsm_image_and_list_cover_the_memory_exactly() {
    let inputs = Inputs::new();
    for (memory, vcpus) in [(256 * MIB, 1), (2 * GIB, 4), (5 * GIB, 64)] {
        let image = Loaded::read(&inputs.options(false, memory, vcpus));
        let list: BootList = image.at(image.vmsa.rdi);
        let mut covered: Vec<Range<u64>> = list.ranges[..list.count as usize]
            .iter()
            .map(|range| range.base..range.base + range.size)
            .chain(image.memory.keys().map(|gpa| *gpa..gpa + PAGE))
            .collect();
        covered.push(image.vmsa_gpa..image.vmsa_gpa + PAGE);
        covered.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in covered {
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                Some(last) => {
                    assert!(last.end < range.start, "{range:x?} is covered twice");
                    merged.push(range);
                }
                None => merged.push(range),
            }
        }
        assert_eq!(merged, Machine::new(memory, vcpus).unwrap().ram());
        assert_eq!(list.entry, 0x100_0200);
        assert_eq!(image.page(0x100_0000)[..16], [0x90; 16]);
    }
}

#[test]
fn without_an_svsm_the_shim_starts_in_64_bit_mode_at_vmpl0() {
    let inputs = Inputs::new();
    let image = Loaded::read(&inputs.options(false, GIB, 2));
    let vmsa = &image.vmsa;
    assert_eq!((vmsa.rip, vmsa.rsi), (area::SHIM, area::BOOT_PARAMS));
    assert_eq!((vmsa.vmpl, vmsa.cpl, vmsa.sev_features), (0, 0, 1));
    assert_eq!(image.walk(vmsa.rip), Some((vmsa.rip, Rights::ALL)));
    assert_eq!(image.walk(511 * GIB), Some((511 * GIB, Rights::ALL)));
    let gdt = image.page(vmsa.gdtr.base);
    let code = u64::from_le_bytes(gdt[0x10..0x18].try_into().unwrap());
    // Access byte and flags as the segment register has them (24593, 15.34.10).
    let attributes = (code >> 40 & 0xFF) | (code >> 52 & 0xF) << 8;
    assert_eq!(u64::from(vmsa.cs.attributes), attributes);
    assert_eq!(image.memory[&area::SECRETS].0, IgvmPageDataType::SECRETS);
    assert_eq!(image.memory[&area::CPUID].0, IgvmPageDataType::CPUID_DATA);
}

#[test]
fn under_the_svsm_no_page_is_writable_and_executable() {
    let inputs = Inputs::new();
    let image = Loaded::read(&inputs.options(true, 2 * GIB, 4));
    let launch: LaunchInfo = image.at(image.vmsa.rdi);
    for virt in (REGION_VA..REGION_VA + launch.region.size).step_by(PAGE as usize) {
        let Some((gpa, rights)) = image.walk(virt) else {
            continue;
        };
        assert_eq!(gpa, launch.region.base + (virt - REGION_VA));
        assert!(!(rights.write && rights.execute), "{virt:#x}");
        // What is mapped is there: loaded, or the host's, or filled by the loader.
        let required = image.required.iter().any(|range| range.contains(&gpa));
        assert_eq!(required, rights.shared, "{gpa:#x}");
        let host_map = launch.host_memory_map.base;
        let loaded = image.memory.contains_key(&gpa);
        assert!(
            loaded || required || gpa == image.vmsa_gpa || gpa == host_map,
            "{gpa:#x}"
        );
        assert!(!(loaded && required), "{gpa:#x}");
    }
    // And what is there is mapped.
    for gpa in image.memory.keys().filter(|gpa| **gpa >= SVSM_BASE) {
        assert!(
            image.walk(REGION_VA + (gpa - SVSM_BASE)).is_some(),
            "{gpa:#x}"
        );
    }
    let rip = image.walk(image.vmsa.rip).unwrap().1;
    assert_eq!((rip, image.vmsa.rip), (Rights::EXECUTE, REGION_VA + 0x10));
    assert_eq!(image.walk(image.vmsa.rdi).unwrap().1, Rights::READ);
    assert_eq!(image.walk(image.vmsa.rsp - 8).unwrap().1, Rights::WRITE);
    assert_eq!(image.walk(image.vmsa.rsp - per_cpu::STACK_SIZE - 1), None);
    for gpa in [0, 0x6FFF_FFFF, 4 * GIB + 123] {
        assert_eq!(image.walk(GUEST_VA + gpa), Some((gpa, Rights::WRITE)));
    }
}

#[test]
fn the_launch_page_tells_what_the_image_holds() {
    let inputs = Inputs::new();
    // Not a number of runs for which the tracker happens to be whole pages.
    let image = Loaded::read(&inputs.options(true, 3 * GIB + 2 * MIB, 3));
    let launch: LaunchInfo = image.at(image.vmsa.rdi);
    assert_eq!(
        (launch.magic, launch.version),
        (svsm_launch::MAGIC, svsm_launch::VERSION)
    );
    assert_eq!(launch.vcpus, 3);
    let within =
        |range: &svsm_launch::Range, gpa: u64| (range.base..range.base + range.size).contains(&gpa);
    let guest_pages = image.memory.keys().filter(|gpa| **gpa < SVSM_BASE);
    let mut count = 0;
    for gpa in guest_pages {
        assert!(
            launch.preloaded.iter().any(|range| within(range, *gpa)),
            "{gpa:#x}"
        );
        count += 1;
    }
    assert_eq!(
        launch.preloaded.iter().map(|range| range.size).sum::<u64>(),
        count * PAGE
    );
    let guest = &launch.guest;
    assert_eq!(
        (guest.vmpl, guest.rip, guest.rsi),
        (2, 0x100_0200, area::BOOT_PARAMS)
    );
    let filled = [
        guest.secrets_page,
        guest.cpuid_page,
        guest.calling_areas.base,
    ];
    for gpa in filled {
        assert!(
            !image.memory.contains_key(&gpa),
            "{gpa:#x} is the SVSM's to fill"
        );
        assert!(launch.guest_memory.iter().any(|range| within(range, gpa)));
    }
    assert_eq!(guest.calling_areas.size, 3 * PAGE);
    assert_eq!(
        image.memory[&launch.secrets_page].0,
        IgvmPageDataType::SECRETS
    );
    assert_eq!(
        image.memory[&launch.cpuid_page].0,
        IgvmPageDataType::CPUID_DATA
    );
    assert_eq!(image.vmsa_gpa, launch.per_cpu.base + per_cpu::STATE);
    assert!(launch.tracker.size >= svsm_launch::tracker::bytes(&launch.guest_memory));
    for range in [launch.tracker, launch.heap] {
        for gpa in (range.base..range.base + range.size).step_by(PAGE as usize) {
            assert_eq!(image.page(gpa), [0; PAGE as usize]);
        }
    }
    // SNP and restricted injection.
    assert_eq!(image.vmsa.sev_features, 1 | 1 << 3);
}

#[test]
fn four_vcpus_and_2_gib_cost_at_most_2_mib() {
    let inputs = Inputs::new();
    let largest = elf(REGION_VA, &[(REGION_VA, 5, 0x3_E000)]);
    std::fs::write(inputs.path("svsm"), largest).unwrap();
    let files = build(&inputs.options(true, 2 * GIB, 4)).unwrap();
    let size = files.svsm.unwrap();
    assert!(size.memory <= 2 * MIB, "{} KiB", size.memory >> 10);
    assert_eq!(size.loaded, 0x3_E000);
    let map = std::fs::read_to_string(files.map).unwrap();
    let line = format!("memory that the SVSM keeps: {} KiB", size.memory >> 10);
    assert!(map.contains(&line));
}

#[test]
fn a_bare_metal_guest_takes_the_place_of_linux() {
    let inputs = Inputs::new();
    for svsm in [false, true] {
        let mut options = inputs.options(svsm, GIB, 1);
        let command_line = "list=all".to_owned();
        options.payload = Payload::Elf {
            path: inputs.path("probe"),
            command_line,
        };
        let image = Loaded::read(&options);
        assert_eq!(image.page(0x20_0000), [0xAA; PAGE as usize]);
        assert_eq!(
            image.page(0x30_0000)[..0x124],
            [[0xAA; 0x123].as_slice(), &[0]].concat()
        );
        assert_eq!(
            image.page(0x30_1000),
            [0; PAGE as usize],
            "zeroed data is loaded too"
        );
        assert_eq!(image.page(area::COMMAND_LINE)[..9], *b"list=all\0");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_nothing_is_written_twice() {
    let inputs = Inputs::new();
    let options = inputs.options(true, GIB, 2);
    let first = build(&options).unwrap();
    let bytes = std::fs::read(&first.igvm).unwrap();
    let time = std::fs::metadata(&first.igvm).unwrap().modified().unwrap();
    let second = build(&options).unwrap();
    assert!(first.written && !second.written);
    assert_eq!(
        std::fs::metadata(&first.igvm).unwrap().modified().unwrap(),
        time
    );
    std::fs::remove_file(&first.igvm).unwrap();
    assert!(build(&options).unwrap().written);
    assert_eq!(std::fs::read(&first.igvm).unwrap(), bytes);
    let other = ImageOptions {
        vcpus: 3,
        ..options
    };
    assert!(build(&other).unwrap().written);
}

#[test]
fn another_crate_measures_the_same() {
    let inputs = Inputs::new();
    for svsm in [false, true] {
        let options = inputs.options(svsm, GIB, 2);
        let image = Loaded::read(&options);
        let theirs = ::igvm::measurement::generate_snp_measurement(
            image.file.initializations(),
            image.file.directives(),
            1,
        )
        .unwrap();
        let ours = measure::measure(&image.bytes, Vmsas::First, 2, EPYC_V4).unwrap();
        assert_eq!(ours.digest, theirs);
        assert_eq!(ours.vmsas, [(0, image.vmsa_gpa)]);
        let policy = image
            .file
            .initializations()
            .iter()
            .find_map(|header| match header {
                IgvmInitializationHeader::GuestPolicy { policy, .. } => Some(*policy),
                _ => None,
            });
        assert_eq!(policy, Some(POLICY));
    }
}

#[test]
fn wrong_inputs_are_told_apart() {
    let inputs = Inputs::new();
    let fails = |change: &dyn Fn(&mut ImageOptions)| {
        let mut options = inputs.options(true, GIB, 2);
        change(&mut options);
        let error = build(&options).unwrap_err();
        assert!(
            error.downcast_ref::<crate::failure::Failure>().is_some(),
            "{error:#}"
        );
        format!("{error:#}")
    };
    let linux = |kernel: &str, initramfs: &str, command_line: String| Payload::Linux {
        kernel: inputs.path(kernel),
        initramfs: Some(inputs.path(initramfs)),
        command_line,
    };
    let text = fails(&|options| options.payload = linux("none", "initramfs", String::new()));
    assert!(text.contains("can't read the kernel"), "{text}");
    let text = fails(&|options| options.payload = linux("shim", "initramfs", String::new()));
    assert!(text.contains("it is no bzImage"), "{text}");
    let text = fails(&|options| options.payload = linux("kernel", "none", String::new()));
    assert!(text.contains("can't read the initramfs"), "{text}");
    let text = fails(&|options| options.payload = linux("kernel", "shim", "x".repeat(2048)));
    assert!(
        text.contains("the command line has 2048 bytes, and the kernel takes 2047"),
        "{text}"
    );
    let text = fails(&|options| options.vcpus = 0);
    assert_eq!(text, "a guest can't have 0 vCPUs");
    let text = fails(&|options| options.memory = MIB);
    assert_eq!(text, "a guest can't have 1 MiB of memory");
    let svsm = |file: &str| Monitor::Svsm {
        elf: inputs.path(file),
        log_level: 0,
    };
    let text = fails(&|options| options.monitor = svsm("shim"));
    assert!(
        text.contains("it is not linked to 0xffffffff80000000"),
        "{text}"
    );
    std::fs::write(inputs.path("wx"), elf(REGION_VA, &[(REGION_VA, 7, 64)])).unwrap();
    let text = fails(&|options| options.monitor = svsm("wx"));
    assert!(text.contains("is writable and executable"), "{text}");
    let text = fails(&|options| {
        let path = inputs.path("svsm");
        options.payload = Payload::Elf {
            path,
            command_line: String::new(),
        };
    });
    assert!(text.contains("does not lie in guest memory"), "{text}");
}
