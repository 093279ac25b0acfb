// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that has started, with a guest whose vCPUs make calls.

use super::hardware::FakePlatform;
use super::memory::FakeMemory;
use super::std::boxed::Box;
use super::std::vec::Vec;
use crate::calls::Scratch;
use crate::cpu::Lock;
use crate::direct_boot;
use crate::guest::{Exit, Marks, Registers, Vcpus};
use crate::machine::Machine;
use crate::memory::{Frame, PAGE, Pool, Refused, State, Tracker};
use crate::run;
use crate::start::{layout, populate};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use svsm_abi::calling_area::{CALL_PENDING, MEM_AVAILABLE};
use svsm_abi::{CallId, core_protocol};
use svsm_launch::{LaunchInfo, MAGIC, Range, VERSION, per_cpu, tracker};
use zerocopy::FromZeros;

const MIB: u64 = 1 << 20;

fn range(base: u64, end: u64) -> Range {
    Range {
        base,
        size: end - base,
    }
}

/// A launch page that is right: two CPUs, memory with a hole below 1 MiB and some above 4 GiB.
pub fn sample_launch_page() -> LaunchInfo {
    let region = 0x80_0000_0000;
    let mut launch = LaunchInfo::new_zeroed();
    launch.magic = MAGIC;
    launch.version = VERSION;
    launch.vcpus = 2;
    launch.region = range(region, region + MIB);
    launch.image = range(region, region + 0x2_0000);
    launch.page_tables = range(region + 0x2_0000, region + 0x3_0000);
    launch.per_cpu = range(region + 0x3_0000, region + 0x3_0000 + 2 * per_cpu::SIZE);
    launch.shared = range(region + 0x6_0000, region + 0x6_4000);
    launch.tracker = range(region + 0x7_0000, region + 0x8_0000);
    launch.heap = range(region + 0x8_0000, region + 0x8_8000);
    launch.host_memory_map = range(region + 0x9_0000, region + 0x9_1000);
    launch.cpuid_page = region + 0x9_1000;
    launch.secrets_page = region + 0x9_2000;
    launch.guest_memory[0] = range(0, 0xA_0000);
    launch.guest_memory[1] = range(MIB, 16 * MIB);
    launch.guest_memory[2] = range(4096 * MIB, 4104 * MIB);
    launch.preloaded[0] = range(0x1_0000, 0x2_0000);
    launch.preloaded[1] = range(4 * MIB, 9 * MIB + 0x3000);
    launch.preloaded[2] = range(4096 * MIB, 4096 * MIB + 0x1000);
    launch.guest.vmpl = 2;
    launch.guest.secrets_page = 0x3_0000;
    launch.guest.cpuid_page = 0x3_1000;
    launch.guest.calling_areas = range(0x3_2000, 0x3_4000);
    launch
}

#[repr(C, align(4096))]
struct HeapPage([u8; PAGE]);

/// The machine.
#[derive(Debug)]
pub struct Rig<'a> {
    /// Its platform.
    pub platform: &'a FakePlatform,
    /// What its CPUs share.
    pub machine: &'a Machine<'a>,
    /// What it was started with.
    pub launch: &'a LaunchInfo,
}

/// Starts a machine with the sample's launch page and lets `test` use it.
pub fn with_rig<T>(test: impl FnOnce(&Rig<'_>) -> T) -> T {
    with_rig_of(sample_launch_page(), test)
}

/// Starts the machine of a launch page that is right, with two CPUs, and lets `test` use it.
pub fn with_rig_of<T>(launch: LaunchInfo, test: impl FnOnce(&Rig<'_>) -> T) -> T {
    layout::check(&launch).expect("a launch page that is right");
    let platform = FakePlatform::new(&launch.guest_memory, &launch.preloaded);
    let words = tracker::bytes(&launch.guest_memory) / 8;
    let storage: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let tracker = Tracker::new(&launch.guest_memory, &storage).expect("the sample is right");
    populate::populate(&platform, &launch, &tracker).expect("the host is willing");

    let (pool, vcpus, marks) = (Pool::new(), Box::new(Vcpus::new()), Box::new(Marks::new()));
    let telling = Lock::new(());
    let pages = launch.heap.size / PAGE as u64;
    let mut heap: Vec<HeapPage> = (0..pages).map(|_| HeapPage([0; PAGE])).collect();
    for (index, page) in heap.iter_mut().enumerate() {
        let frame = Frame::new(launch.heap.base + (index * PAGE) as u64).expect("in the region");
        // SAFETY: the page lives longer than the pool's last use, and is used through it only.
        unsafe { pool.add_own(frame, NonNull::from(page).cast()) };
    }
    let machine = Machine {
        tracker,
        pool: &pool,
        vcpus: &vcpus,
        marks: &marks,
        telling: &telling,
        cpus: 2,
    };
    direct_boot::prepare(&platform, &machine, &launch).expect("the guest can start");
    platform.started();
    let rig = Rig {
        platform: &platform,
        machine: &machine,
        launch: &launch,
    };
    let result = test(&rig);
    rig.check();
    result
}

impl Rig<'_> {
    /// A page of the guest's that nothing else is in: number `index` of 256 from 2 MiB on.
    pub fn page(&self, index: u64) -> u64 {
        assert!(index < 256);
        2 * MIB + index * 4096
    }

    /// The guest's memory.
    pub fn memory(&self) -> &FakeMemory {
        self.platform.fake_memory()
    }

    /// The vCPU that CPU `cpu` has now.
    pub fn vcpu(&self, cpu: usize) -> Option<Frame> {
        self.machine
            .vcpus
            .claim(cpu)
            .map(|vcpu| vcpu.state().frame())
    }

    /// Where the vCPU of CPU `cpu` has its calling area.
    pub fn calling_area(&self, cpu: usize) -> u64 {
        self.machine
            .vcpus
            .claim(cpu)
            .expect("a vCPU")
            .calling_area()
    }

    /// A vCPU makes a call. The core is left as on hardware: nothing stale, nothing pending.
    pub fn call(&self, cpu: usize, protocol: u32, call: u32, arguments: [u64; 4]) -> Registers {
        let [rcx, rdx, r8, r9] = arguments;
        let rax = CallId { protocol, call }.to_rax();
        self.call_with(
            cpu,
            Registers {
                rax,
                rcx,
                rdx,
                r8,
                r9,
            },
        )
    }

    /// The same, with any registers.
    pub fn call_with(&self, cpu: usize, registers: Registers) -> Registers {
        let vcpu = self.vcpu(cpu).expect("a vCPU");
        let area = self.calling_area(cpu);
        self.platform.guest_registers(vcpu, registers);
        self.platform.set_exit(vcpu, Exit::Call);
        self.memory().poke(area + CALL_PENDING, &[1]);
        let mut scratch: Scratch = [0xEEEE_EEEE_EEEE_EEEE; _];
        let entered = run::step(self.platform, self.machine, cpu, &mut scratch);
        assert_eq!(entered.map(|state| state.frame()), Some(vcpu));
        self.platform.set_exit(vcpu, Exit::Other);
        self.platform.registers_of(vcpu)
    }

    /// A core call by a vCPU while others make theirs: the CPU may lose its vCPU at any time, and then there is no
    /// call and no result.
    pub fn call_racing(&self, cpu: usize, call: u32, arguments: [u64; 4]) {
        let [rcx, rdx, r8, r9] = arguments;
        let rax = CallId {
            protocol: core_protocol::PROTOCOL,
            call,
        }
        .to_rax();
        let registers = Registers {
            rax,
            rcx,
            rdx,
            r8,
            r9,
        };
        // The guest writes registers and area of a vCPU that can't go meanwhile.
        if let Some(vcpu) = self.machine.vcpus.claim(cpu) {
            self.platform
                .guest_registers(vcpu.state().frame(), registers);
            self.platform.set_exit(vcpu.state().frame(), Exit::Call);
            self.memory().poke(vcpu.calling_area() + CALL_PENDING, &[1]);
        }
        let mut scratch: Scratch = [0; _];
        run::step(self.platform, self.machine, cpu, &mut scratch);
    }

    /// A core call with one argument; its result code.
    pub fn core_call(&self, call: u32, rcx: u64) -> u64 {
        let rax = self
            .call(0, core_protocol::PROTOCOL, call, [rcx, 0, 0, 0])
            .rax;
        assert!(
            !self.platform.is_stale(),
            "rule: a right that was taken away lives on"
        );
        rax
    }

    /// Writes a list: a header and entries.
    pub fn write_list(&self, gpa: u64, next: u16, entries: &[u64]) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&next.to_le_bytes());
        // Not zero: Linux leaves there what was there.
        bytes.extend_from_slice(&[0xAA; 4]);
        for entry in entries {
            bytes.extend_from_slice(&entry.to_le_bytes());
        }
        self.memory().poke(gpa, &bytes);
    }

    /// The next entry of the list at `gpa`.
    pub fn next(&self, gpa: u64) -> u16 {
        let mut bytes = [0; 2];
        self.memory().peek(gpa + 2, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// `mem_available` of a vCPU.
    pub fn mem_available(&self, cpu: usize) -> u8 {
        let mut byte = [0];
        self.memory()
            .peek(self.calling_area(cpu) + MEM_AVAILABLE, &mut byte);
        byte[0]
    }

    /// State of a page.
    pub fn state(&self, gpa: u64) -> Result<State, Refused> {
        self.machine.tracker.state(Frame::new(gpa).expect("a page"))
    }

    /// Holds all that the tracker says against the hardware. No call may be under way, and none of the pool's
    /// pages in use.
    pub fn check(&self) {
        // Pages of the SVSM's that a vCPU is not in: those that are as they were, and those that the host took or
        // replaced. What of these was lent and what was lost on its way, nobody knows.
        let (mut sound, mut lost) = (0, 0);
        for gpa in self.memory_pages() {
            let (accepted, access) = (
                self.platform.is_accepted(gpa),
                self.platform.has_access(gpa),
            );
            let tampered = self.platform.is_tampered(gpa);
            match self.state(gpa) {
                Ok(State::Invalid) => {
                    assert!(!accepted && !access, "{gpa:#x} is not in the machine")
                }
                Ok(State::Valid) => {
                    assert!(accepted, "{gpa:#x} is the guest's");
                    assert!(access || tampered, "{gpa:#x} is of use to the guest");
                }
                Ok(State::Own) => {
                    assert!(!access, "{gpa:#x} is the SVSM's");
                    match (self.platform.is_vcpu(gpa), tampered) {
                        (true, _) => {}
                        (false, false) => sound += 1,
                        (false, true) => lost += 1,
                    }
                }
                Err(refused) => panic!("{gpa:#x} is left {refused:?}"),
            }
        }
        let withdrawable = self.machine.pool.withdrawable();
        assert!(
            (sound..=sound + lost).contains(&withdrawable),
            "the SVSM keeps {sound} pages, and perhaps {lost} more, but has {withdrawable} to give back"
        );
        assert!(
            !self.platform.is_stale(),
            "rule: a right that was taken away lives on"
        );
    }

    /// All pages of the guest's memory.
    pub fn memory_pages(&self) -> impl Iterator<Item = u64> {
        self.launch
            .guest_memory
            .into_iter()
            .flat_map(|range| (range.base..range.base + range.size).step_by(PAGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Access, Page, PageSize};
    use crate::platform::Platform;

    /// The machine with a page lent to the SVSM.
    fn with_a_page_lent(test: impl FnOnce(&Rig<'_>)) {
        with_rig(|rig| {
            rig.write_list(MIB, 0, &[rig.page(0)]);
            assert_eq!(rig.core_call(core_protocol::DEPOSIT_MEM, MIB), 0);
            rig.check();
            test(rig);
        });
    }

    #[test]
    #[should_panic(expected = "has 0 to give back")]
    fn a_page_that_is_lost_is_noticed() {
        with_a_page_lent(|rig| {
            rig.machine.pool.take_deposited().unwrap().leak();
        });
    }

    #[test]
    fn a_page_that_the_host_took_may_be_anywhere() {
        with_a_page_lent(|rig| rig.memory().steal(rig.page(0)));
    }

    #[test]
    #[should_panic(expected = "is of use to the guest")]
    fn a_page_that_the_guest_has_in_name_only_is_noticed() {
        with_rig(|rig| {
            let page = Page::new(rig.page(0), PageSize::Size4K).unwrap();
            // SAFETY: nothing of Rust's lies in the page.
            unsafe { rig.platform.protect(page, Access::None) }.unwrap();
            rig.platform.flush();
        });
    }
}
