// SPDX-License-Identifier: MIT OR Apache-2.0
//! The QEMU that carries the emulator: is it new enough, and can it do nested SVM?

pub(crate) mod line;

use std::env;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::failure::Failure;

/// The program that is looked for.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// The oldest QEMU with what is needed: SVM in TCG with nested paging and 5-level tables.
const OLDEST: (u64, u64) = (7, 2);
/// CPU features that the emulator stands on.
const FEATURES: [&str; 3] = ["svm", "npt", "la57"];
const INSTALL: &str =
    "install it (Debian, Ubuntu: apt-get install qemu-system-x86), or name one with --qemu FILE";
const NEWER: &str =
    "Debian 12 and Ubuntu 24.04 have a newer one; --qemu FILE names one that you built";
/// Names the QEMU for all commands, those without `--qemu` among them.
const VARIABLE: &str = "PARAPET_QEMU";

/// The QEMU that the user names: `option`, or else the environment's.
pub(crate) fn named(option: Option<&Path>) -> Option<PathBuf> {
    option.map(Path::to_owned).or_else(|| {
        env::var_os(VARIABLE)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    })
}

/// A QEMU that was found fit.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its version.
    pub(crate) version: String,
}

impl Qemu {
    /// Finds QEMU, and asks it what it can do.
    pub(crate) fn find(option: Option<&Path>) -> Result<Self> {
        let named = named(option);
        let program = named.clone().unwrap_or_else(|| PathBuf::from(PROGRAM));
        let answers =
            ask(&program).map_err(|error| not_started(&program, named.is_some(), &error))?;
        let shown = program.display();
        let Some((version, features)) = read(&answers) else {
            return Err(
                Failure::usage(format!("{shown} is not a QEMU for x86-64 with TCG"))
                    .hint(INSTALL)
                    .into(),
            );
        };
        let text = format!("{}.{}.{}", version.0, version.1, version.2);
        if (version.0, version.1) < OLDEST {
            return Err(Failure::missing(format!(
                "{shown} is QEMU {text}, and {}.{} is the oldest that works",
                OLDEST.0, OLDEST.1
            ))
            .hint(NEWER)
            .into());
        }
        if let Some(missing) = FEATURES
            .iter()
            .find(|&&name| features[name] != Value::Bool(true))
        {
            return Err(Failure::missing(format!(
                "{shown} (QEMU {text}) cannot emulate AMD's virtualisation: its CPU has no `{missing}`"
            ))
            .hint("QEMU as its project releases it has that feature: use an unmodified build")
            .into());
        }
        Ok(Self {
            program,
            version: text,
        })
    }

    /// Fails if this QEMU was built without user networking.
    pub(crate) fn check_user_networking(&self) -> Result<()> {
        let output = Command::new(&self.program)
            .args(["-netdev", "help"])
            .stdin(Stdio::null())
            .output()
            .context("starting QEMU")?;
        let text = [output.stdout, output.stderr].concat();
        if String::from_utf8_lossy(&text)
            .lines()
            .any(|line| line.trim() == "user")
        {
            return Ok(());
        }
        Err(Failure::missing(
            "this QEMU was built without user networking (slirp), which --net needs",
        )
        .hint("run without --net and --forward, or name another with --qemu FILE")
        .into())
    }
}

fn not_started(program: &Path, named: bool, error: &std::io::Error) -> anyhow::Error {
    const WHAT_IT_TAKES: &str = "--qemu and PARAPET_QEMU take the path of a qemu-system-x86_64";
    let shown = program.display();
    match (error.kind(), named) {
        (ErrorKind::NotFound, false) => Failure::missing("QEMU is not installed")
            .hint(INSTALL)
            .into(),
        (ErrorKind::NotFound, true) => Failure::usage(format!("there is no QEMU at {shown}"))
            .hint(WHAT_IT_TAKES)
            .into(),
        _ => Failure::usage(format!("{shown} cannot be started: {error}"))
            .hint(WHAT_IT_TAKES)
            .into(),
    }
}

/// Asks over QMP for the version and for the features of the CPU `max`.
fn ask(program: &Path) -> std::io::Result<String> {
    let mut child = Command::new(program)
        .args([
            "-machine",
            "none",
            "-accel",
            "tcg",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that is no QEMU may be gone already; its answer tells.
        let _ = stdin.write_all(
            b"{\"execute\":\"qmp_capabilities\"}\n\
              {\"execute\":\"query-cpu-model-expansion\",\
               \"arguments\":{\"type\":\"full\",\"model\":{\"name\":\"max\"}}}\n\
              {\"execute\":\"quit\"}\n",
        );
    }
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version and the CPU's properties out of the answers.
fn read(answers: &str) -> Option<((u64, u64, u64), Value)> {
    let mut version = None;
    let mut features = None;
    for line in answers.lines() {
        let Ok(answer) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let found = &answer["QMP"]["version"]["qemu"];
        if let (Some(major), Some(minor), Some(micro)) = (
            found["major"].as_u64(),
            found["minor"].as_u64(),
            found["micro"].as_u64(),
        ) {
            version = Some((major, minor, micro));
        }
        let props = &answer["return"]["model"]["props"];
        if props.is_object() {
            features = Some(props.clone());
        }
    }
    // An old QEMU has no answer about its CPU; its version says enough.
    Some((version?, features.unwrap_or(Value::Null)))
}

/// Where `program` is, for people.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": ""}, "capabilities": []}}"#;

    #[test]
    fn reads_version_and_features() {
        let answers = format!(
            "{GREETING}\n{{\"return\": {{}}}}\n\
             {{\"return\": {{\"model\": {{\"name\": \"max\", \"props\": {{\"svm\": true, \"npt\": false}}}}}}}}\n"
        );
        let (version, features) = read(&answers).unwrap();
        assert_eq!(version, (9, 2, 1));
        assert_eq!(features["svm"], Value::Bool(true));
        assert_eq!(features["npt"], Value::Bool(false));
        assert!(read("usage: something else").is_none());
    }

    /// What is said of a program that answers QMP with `answers`.
    fn said_of(name: &str, answers: &str) -> String {
        let path = env::temp_dir().join(format!("parapet-{name}-{}", std::process::id()));
        std::fs::write(
            &path,
            format!("#!/bin/sh\ncat >/dev/null\ncat <<'END'\n{answers}\nEND\n"),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Qemu::find(Some(&path)).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        error.replace(&*path.to_string_lossy(), "QEMU")
    }

    #[test]
    fn unfit_programs_are_refused() {
        assert_eq!(
            said_of("cat", "hello"),
            "QEMU is not a QEMU for x86-64 with TCG"
        );
        assert_eq!(
            said_of("old", &GREETING.replace(": 9", ": 6")),
            "QEMU is QEMU 6.2.1, and 7.2 is the oldest that works"
        );
        assert_eq!(
            said_of("plain", GREETING),
            "QEMU (QEMU 9.2.1) cannot emulate AMD's virtualisation: its CPU has no `svm`"
        );
        let error = Qemu::find(Some(Path::new("/nonexistent/qemu"))).unwrap_err();
        assert_eq!(error.to_string(), "there is no QEMU at /nonexistent/qemu");
    }
}
