// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction to the suite that the command line names.

use core::fmt::Write as _;

use crate::console;
use crate::machine::boot_params::BootParams;
use crate::machine::{ghcb, tables, traps};
use crate::report::Report;
use crate::suites;
use crate::svsm;

/// Called by the entry code on the probe's own stack.
pub(crate) extern "sysv64" fn main(boot_params: u64) -> ! {
    tables::install();
    traps::install();
    let params = BootParams::at(boot_params);
    svsm::find(&params);
    // Without a GHCB nothing can be said; the reason code is Linux's "no GHCB".
    if ghcb::install().is_err() {
        ghcb::terminate(snp_defs::msr::terminate::SET_LINUX, 0);
    }
    let mut line = [0; 256];
    let command_line = params.command_line(&mut line);
    let name = command_line
        .split(' ')
        .find_map(|word| word.strip_prefix("suite="))
        .unwrap_or("svsm");
    let mut report = Report::new();
    match suites::find(name) {
        Some(suite) => suite(&params, &mut report),
        None => {
            let _ = writeln!(console::Console, "Bail out! no suite is called {name}");
        }
    }
    report.end();
    console::power_off()
}
