// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hostile host: each attack is a script, and each has to end in a refusal or in a clean stop.
//!
//! The guest is the probe with its suite `victim`. What it tells is held against a run with an honest host: a report
//! that it got has to be the very one that it would have got there. The scripts are in `attacks`.

mod attacks;
mod lab;

use anyhow::{Result, bail};

use self::attacks::{Attack, Cpus, End};
use self::lab::{Lab, Outcome as Seen};
use super::{Context, MachineTest, Outcome, seconds};

pub(super) const TESTS: &[MachineTest] = &[
    MachineTest {
        name: "hostile::launch",
        limit: seconds(120),
        run: |context| all(context, attacks::LAUNCH),
    },
    MachineTest {
        name: "hostile::answers",
        limit: seconds(240),
        run: |context| all(context, attacks::ANSWERS),
    },
    MachineTest {
        name: "hostile::firmware",
        limit: seconds(180),
        run: |context| all(context, attacks::FIRMWARE),
    },
    MachineTest {
        name: "hostile::vcpus",
        limit: seconds(240),
        run: |context| all(context, attacks::VCPUS),
    },
    MachineTest {
        name: "hostile::pages_of_the_svsm",
        limit: seconds(240),
        run: |context| all(context, attacks::PAGES_OF_THE_SVSM),
    },
    MachineTest {
        name: "hostile::pages_of_the_guest",
        limit: seconds(180),
        run: |context| all(context, attacks::PAGES_OF_THE_GUEST),
    },
    MachineTest {
        name: "hostile::chance",
        limit: seconds(240),
        run: |context| all(context, attacks::CHANCE),
    },
];

/// Runs all attacks of a table, two at a time.
fn all(context: &mut Context, attacks: &[Attack]) -> Result<Outcome> {
    let lab = Lab::open(context)?;
    let failures = lab.each(attacks, |attack, seen| judge(&lab, attack, seen));
    if !failures.is_empty() {
        bail!(
            "{} of {} attacks did not end as they have to:\n{}",
            failures.len(),
            attacks.len(),
            failures.join("\n")
        );
    }
    Ok(Outcome::Passed)
}

/// Whether an attack ended as it has to: what went wrong, if anything.
fn judge(lab: &Lab, attack: &Attack, seen: &Seen) -> Result<(), String> {
    if seen.rules.is_empty() {
        return Err("the emulator does not say how its rules fared".to_owned());
    }
    for (line, acted) in &seen.rules {
        // By chance nothing may happen.
        if *acted == 0 && *line != 0 {
            return Err(format!("the rule in line {line} never acted"));
        }
    }
    if let Some(wrong) = seen.wrong.first() {
        return Err(format!("a wrong success: {wrong}"));
    }
    // Whatever else happened: a report that the guest got is the one that it should get.
    let honest = lab.honest(attack.cpus);
    for (name, value) in &seen.notes {
        let about_a_report = name.ends_with(" data") || name.ends_with(" hash");
        let same = honest.note(name) == Some(*value);
        if about_a_report && !same && !attack.changes_the_image {
            return Err(format!("a wrong success: {name} is {value:#x}"));
        }
    }
    if attack.changes_the_image {
        let measured = seen.note("measurement");
        if measured.is_none() || measured == honest.note("measurement") {
            return Err(format!("the measurement is {measured:x?}"));
        }
    }
    let end = attack.ends.iter().find(|end| end.fits(seen));
    let Some(end) = end else {
        return Err(format!("not {:?}, but {}", attack.ends, seen.summary()));
    };
    if !matches!(end, End::Lives) {
        return Ok(());
    }
    for (name, wanted) in attack.notes {
        let told = seen.note(name);
        if !told.is_some_and(|value| wanted.fits(value)) {
            return Err(format!("`{name}` is {told:x?}, not {wanted:x?}"));
        }
    }
    Ok(())
}

impl Cpus {
    /// Their number.
    fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn attacks_have_names_and_ends() {
        let mut names = HashSet::new();
        for attack in [
            attacks::LAUNCH,
            attacks::ANSWERS,
            attacks::FIRMWARE,
            attacks::VCPUS,
            attacks::PAGES_OF_THE_SVSM,
            attacks::PAGES_OF_THE_GUEST,
            attacks::CHANCE,
        ]
        .into_iter()
        .flatten()
        {
            assert!(names.insert(attack.name), "{} is there twice", attack.name);
            assert!(!attack.ends.is_empty(), "{}", attack.name);
            assert!(!attack.script.is_empty(), "{}", attack.name);
        }
    }
}
