// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run's end means, in a sentence that a person can act upon.
#![forbid(unsafe_code)]

use std::os::unix::process::ExitStatusExt as _;

use emulator_defs::exit::RunEnd;

use super::Ended;
use crate::failure::{Failure, Status};

/// The status for the tool to end with: that of the guest's command, or zero for a shell that was
/// left by a power-off. Everything else is a failure.
pub(crate) fn of(ended: &Ended, had_command: bool) -> Result<i32, Failure> {
    if let Some(status) = ended.command {
        // It ran to its end, whatever the machine did then.
        return Ok(status);
    }
    if ended.stopped {
        return Ok(0);
    }
    if ended.out_of_time {
        return Err(out_of_time(ended));
    }
    match ended.end {
        Some(end) => of_emulator(ended, end, had_command),
        // QEMU's own machine was powered off.
        None if ended.qemu.code() == Some(0) => of_emulator(ended, RunEnd::PowerOff, had_command),
        None => Err(of_qemu(ended)),
    }
}

fn out_of_time(ended: &Ended) -> Failure {
    let seconds = ended.elapsed.as_secs();
    let what = if ended.ready.is_some() {
        "its command was still running"
    } else {
        "it had not reached its init"
    };
    Failure::new(
        Status::TimeLimit,
        format!("the guest was ended after {seconds} s: {what}"),
    )
    .hint(
        "--timeout SECONDS gives it more time, -v shows its console, --trace FILE records what it does",
    )
}

fn of_emulator(ended: &Ended, end: RunEnd, had_command: bool) -> Result<i32, Failure> {
    let died = |message: &str| Failure::new(Status::GuestDied, message.to_owned());
    let first = |fallback: &str| {
        // The emulator's report begins with the place; what happened comes next.
        let told = |line: &&String| !line.is_empty() && !line.starts_with("the run ended on");
        let line = ended.log.report.iter().find(told);
        line.cloned().unwrap_or_else(|| fallback.to_owned())
    };
    if let Some(panic) = panic_line(&ended.console) {
        return Err(died(&format!("the guest's kernel panicked: {panic}"))
            .hint("-v shows the guest's console, --append adds to its command line"));
    }
    match end {
        RunEnd::PowerOff if !had_command => Ok(0),
        RunEnd::PowerOff => Err(died("the guest powered off before its command had ended")
            .hint("-v shows the guest's console")),
        RunEnd::Reset if !had_command && ended.ready.is_some() => {
            super::terminal::say("the guest asked for a reset, which ends the run");
            Ok(0)
        }
        RunEnd::Reset => Err(
            died("the guest asked for a reset before its command had ended")
                .hint("-v shows the guest's console"),
        ),
        RunEnd::Terminated => Err(died(&first("the guest asked the host to end it"))
            .hint("--log debug shows what led to it, --trace FILE records every exit")),
        RunEnd::RuleViolation => Err(died(&first("the guest broke a rule of the machine"))
            .hint("--trace FILE records every exit and page-state change that led to it")),
        RunEnd::Shutdown => Err(died(&first("a vCPU shut down (triple fault)"))
            .hint("--log debug shows what led to it, --trace FILE records every exit")),
        RunEnd::Deadlock => Err(died(&first("every vCPU is halted and nothing can wake it"))
            .hint("-v shows the guest's console")),
        RunEnd::HostStopped => Err(died(&first("the hostile host stopped the machine"))
            .hint("its script is to blame, and nobody else: --hostile")),
        RunEnd::Breach => Err(died(&first("the hostile host got what it must never have"))
            .hint("this is a fault of the SVSM or of the guest: please report it with the script")),
        RunEnd::Unsupported => Err(Failure::new(
            Status::Emulator,
            first("the guest did something that is not emulated"),
        )
        .hint("docs/ has the table of what is emulated; please report what the guest is")),
        RunEnd::EmulatorFault => Err(Failure::new(
            Status::Emulator,
            first("the emulator itself failed"),
        )
        .hint("this is a fault of the emulator: please report it with the logs")),
        RunEnd::BadInput => Err(Failure::new(
            Status::Emulator,
            first("the emulator refused its image or its options"),
        )
        .hint("`cargo xtask build` makes the image afresh")),
    }
}

/// QEMU ended without a word of the emulator's.
fn of_qemu(ended: &Ended) -> Failure {
    let said = ended
        .messages
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains("warning:"))
        .map(|line| line.strip_prefix("qemu-system-x86_64: ").unwrap_or(line))
        .next_back();
    if let Some(signal) = ended.qemu.signal() {
        let failure = Failure::new(Status::Failed, format!("QEMU was ended by signal {signal}"));
        return if signal == 9 {
            failure
                .hint("signal 9 is often the kernel's, for want of memory: try a smaller --memory")
        } else {
            failure.hint("this is a fault of QEMU; another version may do: --qemu FILE")
        };
    }
    let code = ended.qemu.code().unwrap_or_default();
    let Some(said) = said else {
        return Failure::new(
            Status::Failed,
            format!("QEMU ended with status {code} and without a reason"),
        )
        .hint("--print-qemu-command shows how it was started");
    };
    let failure = Failure::new(Status::Failed, format!("QEMU failed: {said}"));
    match said {
        _ if said.contains("lock") => failure.hint("another process uses that disk: end it first"),
        _ if said.contains("hostfwd") || said.contains("forwarding") => {
            failure.hint("that port is in use: choose another with --forward")
        }
        _ if said.contains("allocate memory") => failure.hint("try a smaller --memory"),
        _ => failure.hint("--print-qemu-command shows how it was started"),
    }
}

/// What the kernel said when it panicked.
pub(crate) fn panic_line(console: &str) -> Option<String> {
    console.lines().find_map(|line| {
        let (_, reason) = line.split_once("Kernel panic - not syncing: ")?;
        Some(reason.trim().to_owned())
    })
}

/// The last lines of a run's logs, for a person who has to find out why it ended.
pub(crate) fn last_words(ended: &Ended) -> String {
    let mut text = String::new();
    let mut part = |title: &str, lines: Vec<&str>| {
        let lines: Vec<_> = lines
            .into_iter()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(12)..];
        if !last.is_empty() {
            text.push_str(&format!("-- last of {title}:\n"));
            for line in last {
                text.push_str(&format!("   {}\n", line.trim_end()));
            }
        }
    };
    part("the guest's console", ended.console.lines().collect());
    part("the SVSM's log", ended.svsm.lines().collect());
    part(
        "the emulator's log",
        ended.log.tail.iter().map(String::as_str).collect(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::streams::EmulatorLog;
    use std::process::ExitStatus;
    use std::time::Duration;

    fn ended(end: Option<RunEnd>) -> Ended {
        Ended {
            end,
            qemu: ExitStatus::from_raw(1 << 8),
            command: None,
            ready: None,
            elapsed: Duration::from_secs(3),
            out_of_time: false,
            stopped: false,
            log: EmulatorLog::default(),
            console: String::new(),
            svsm: String::new(),
            messages: String::new(),
            logs: "logs".into(),
        }
    }

    #[test]
    fn the_status_of_the_command_counts() {
        let mut run = ended(Some(RunEnd::PowerOff));
        assert!(of(&run, true).is_err());
        run.command = Some(7);
        assert_eq!(of(&run, true).unwrap(), 7);
    }

    #[test]
    fn a_plain_machine_may_power_off() {
        let mut run = ended(None);
        run.qemu = ExitStatus::from_raw(0);
        assert_eq!(of(&run, false).unwrap(), 0);
        assert!(of(&run, true).is_err());
    }

    #[test]
    fn a_power_off_ends_a_shell_well() {
        assert_eq!(of(&ended(Some(RunEnd::PowerOff)), false).unwrap(), 0);
    }

    #[test]
    fn the_report_gives_the_sentence() {
        let mut run = ended(Some(RunEnd::Terminated));
        run.log.report = vec![
            String::new(),
            "VMPL2 ended itself: GHCB reason 0/1".to_owned(),
        ];
        let failure = of(&run, false).unwrap_err();
        assert_eq!(failure.to_string(), "VMPL2 ended itself: GHCB reason 0/1");
        assert_eq!(failure.status(), Status::GuestDied);
    }

    #[test]
    fn every_end_has_a_sentence() {
        for end in RunEnd::ALL {
            let failure = of(&ended(Some(end)), true).unwrap_err();
            assert!(failure.to_string().len() > 20, "{end:?}");
        }
    }

    #[test]
    fn a_panic_is_found_on_the_console() {
        let mut run = ended(Some(RunEnd::Reset));
        run.console = "[ 1.0] Kernel panic - not syncing: no init\n".to_owned();
        assert_eq!(
            of(&run, true).unwrap_err().to_string(),
            "the guest's kernel panicked: no init"
        );
    }

    #[test]
    fn failures_of_qemu_are_told() {
        let mut run = ended(None);
        run.messages = "qemu-system-x86_64: Failed to get \"write\" lock\n".to_owned();
        assert_eq!(
            of(&run, true).unwrap_err().to_string(),
            "QEMU failed: Failed to get \"write\" lock"
        );
        run.qemu = ExitStatus::from_raw(9);
        assert_eq!(
            of(&run, true).unwrap_err().to_string(),
            "QEMU was ended by signal 9"
        );
    }

    #[test]
    fn out_of_time_says_how_far_it_came() {
        let mut run = ended(None);
        run.out_of_time = true;
        let failure = of(&run, true).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "the guest was ended after 3 s: it had not reached its init"
        );
        assert_eq!(failure.status(), Status::TimeLimit);
    }
}
