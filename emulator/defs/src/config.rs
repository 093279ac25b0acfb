// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names under which the emulator's inputs arrive over QEMU's fw_cfg device, and the keys of its
//! options file: `key=value` lines, `#` starts a comment, unknown keys are refused.

/// fw_cfg file: the image to load, an IGVM file.
pub const FILE_IGVM: &str = "opt/org.parapet/igvm";
/// fw_cfg file: the emulator's options.
pub const FILE_CONFIG: &str = "opt/org.parapet/config";
/// fw_cfg file: what a hostile host does and when. Absent: an honest host.
pub const FILE_HOSTILE: &str = "opt/org.parapet/hostile";
/// fw_cfg file for the guest's init: the command to run.
pub const FILE_COMMAND: &str = "opt/org.parapet/command";

/// Bytes of guest memory (decimal).
pub const KEY_MEMORY: &str = "memory";
/// Number of vCPUs (decimal); QEMU's `-smp` has [`EXTRA_PROCESSORS`] more.
pub const KEY_CPUS: &str = "cpus";
/// Processors of QEMU that run no vCPU: its first one starts the machine and sleeps.
pub const EXTRA_PROCESSORS: u32 = 1;
/// The VMPL that gets interrupts of devices: 2 under the SVSM, 0 without it.
pub const KEY_GUEST_VMPL: &str = "guest-vmpl";
/// Largest page that the host assigns on its own: `4k` or `2m` (the default).
pub const KEY_PAGE_SIZE: &str = "page-size";
/// `1`: log every interval that VMPL0 executes, for the benchmark.
pub const KEY_BENCH: &str = "bench";
/// Lowest level that is logged: `error`, `warn`, `info` (the default) or `debug`.
pub const KEY_LOG: &str = "log";
/// Seed of everything that is random in the emulated machine (decimal).
pub const KEY_SEED: &str = "seed";

/// First character of a log line: an error.
pub const LINE_ERROR: char = 'E';
/// First character of a log line: a warning.
pub const LINE_WARN: char = 'W';
/// First character of a log line: information.
pub const LINE_INFO: char = 'I';
/// First character of a log line: detail.
pub const LINE_DEBUG: char = 'D';
/// First character of a log line: part of the report that explains why a run ended.
pub const LINE_REPORT: char = 'R';
/// First character of a log line: statistics of the run, one JSON object.
pub const LINE_STATISTICS: char = 'S';
