// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same tests on two kernels, side by side: what passed before has to pass still.

use std::path::Path;

use serde_json::{Value, json};

use super::verdict::{Done, Verdict};

/// A test on both kernels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    /// Its name.
    pub(crate) name: String,
    /// On the base.
    pub(crate) base: Verdict,
    /// On the branch.
    pub(crate) tip: Verdict,
    /// Why the first run on the branch was worse, where a second one decided.
    pub(crate) first: Option<String>,
}

impl Pair {
    /// It passed before, and does no more; a skip now is no pass either.
    pub(crate) fn worse(&self) -> bool {
        self.base == Verdict::Pass && self.tip != Verdict::Pass
    }

    /// Is the verdict another, for better or worse?
    pub(crate) fn differs(&self) -> bool {
        self.base.word() != self.tip.word()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "test": self.name,
            "base": { "verdict": self.base.word(), "reason": self.base.reason() },
            "tip": { "verdict": self.tip.word(), "reason": self.tip.reason() },
            "first_run": self.first,
            "worse": self.worse(),
        })
    }

    /// What there is to say of the branch's verdict, in a line.
    pub(crate) fn told(&self) -> String {
        let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        match &self.first {
            Some(first) => format!("{} (first run: {})", line(self.tip.reason()), line(first))
                .trim_start()
                .to_owned(),
            None => line(self.tip.reason()),
        }
    }
}

/// Which are worse than before?
pub(crate) fn worse(pairs: &[Pair]) -> Vec<String> {
    pairs
        .iter()
        .filter(|pair| pair.worse())
        .map(|pair| pair.name.clone())
        .collect()
}

/// Has a second run decide about those that were worse.
pub(crate) fn second_run(pairs: &mut [Pair], second: &[Done]) {
    for pair in pairs.iter_mut().filter(|pair| pair.worse()) {
        if let Some(done) = second.iter().find(|done| done.name == pair.name) {
            let first = std::mem::replace(&mut pair.tip, done.verdict.clone());
            pair.first = Some(first.reason().to_owned());
        }
    }
}

/// The tests `names` on both kernels. One that has no verdict has failed.
pub(crate) fn pairs(names: &[String], base: &[Done], tip: &[Done]) -> Vec<Pair> {
    let find = |list: &[Done], name: &str| {
        list.iter().find(|done| done.name == name).map_or_else(
            || Verdict::Fail("it was not reached".to_owned()),
            |done| done.verdict.clone(),
        )
    };
    names
        .iter()
        .map(|name| Pair {
            name: name.clone(),
            base: find(base, name),
            tip: find(tip, name),
            first: None,
        })
        .collect()
}

/// Verdicts that were written by [`write()`].
pub(crate) fn read(path: &Path) -> Option<Vec<Done>> {
    let value: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    value
        .as_array()?
        .iter()
        .map(|done| {
            Some(Done {
                name: done["test"].as_str()?.to_owned(),
                verdict: Verdict::read(done["verdict"].as_str()?, done["reason"].as_str()?)?,
                seconds: done["seconds"].as_f64()?,
                said: String::new(),
            })
        })
        .collect()
}

/// Verdicts as JSON.
pub(crate) fn write(done: &[Done]) -> Vec<u8> {
    let all: Vec<_> = done.iter().map(Done::to_json).collect();
    format!("{:#}", json!(all)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &str, verdict: Verdict) -> Done {
        Done {
            name: name.to_owned(),
            verdict,
            seconds: 1.5,
            said: String::new(),
        }
    }

    #[test]
    fn worse_is_what_passed_and_does_no_more() {
        let skip = || Verdict::Skip("no VMX".to_owned());
        let fail = || Verdict::Fail("status 254".to_owned());
        let names = ["same", "worse", "skipped", "better", "lost", "vmx"].map(str::to_owned);
        let base = [
            done("same", Verdict::Pass),
            done("worse", Verdict::Pass),
            done("skipped", Verdict::Pass),
            done("better", fail()),
            done("lost", Verdict::Pass),
            done("vmx", skip()),
        ];
        let tip = [
            done("same", Verdict::Pass),
            done("worse", fail()),
            done("skipped", skip()),
            done("better", Verdict::Pass),
            done("vmx", skip()),
        ];
        let mut pairs = pairs(&names, &base, &tip);
        assert_eq!(worse(&pairs), ["worse", "skipped", "lost"]);
        assert!(pairs[3].differs() && !pairs[5].differs());
        // The second run decides, and the first is told.
        second_run(
            &mut pairs,
            &[
                done("worse", fail()),
                done("skipped", Verdict::Pass),
                done("better", fail()),
            ],
        );
        assert_eq!(worse(&pairs), ["worse", "lost"]);
        assert_eq!(pairs[2].told(), "(first run: no VMX)");
        assert_eq!(pairs[1].told(), "status 254 (first run: status 254)");
        assert_eq!(pairs[3].tip, Verdict::Pass);
    }

    #[test]
    fn verdicts_are_read_back() {
        let all = vec![
            done("a", Verdict::Pass),
            done("b", Verdict::Skip("no".to_owned())),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdicts");
        assert_eq!(read(&path), None);
        std::fs::write(&path, write(&all)).unwrap();
        assert_eq!(read(&path), Some(all));
    }
}
