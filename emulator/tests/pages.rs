// SPDX-License-Identifier: MIT OR Apache-2.0
//! The book's pages about the emulator name tests. Each test that a page names exists, and each test of a rule is
//! on the page of its rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A page of rules, and the sources whose tests it has to name.
struct Page {
    path: &'static str,
    sources: &'static [&'static str],
    /// Tests of helpers, not of rules.
    helpers: &'static [&'static str],
    /// Fewer than these tests on the page: it is not read as it should be.
    least: usize,
}

const SNP_RULES: Page = Page {
    path: "../docs/src/emulator/snp-rules.md",
    sources: &[
        "src/snp/ghcb",
        "src/snp/rmp",
        "src/snp/vmsa",
        "src/snp/hv_doorbell.rs",
    ],
    helpers: &[
        "a_good_vmsa_runs",
        "a_new_page_is_vmpl0s_alone",
        "permissions_of_a_vmpl_do_not_spill",
        "what_the_guest_owns_is_not_stored",
    ],
    least: 81,
};

const FIRMWARE: Page = Page {
    path: "../docs/src/emulator/firmware.md",
    sources: &[
        "src/igvm",
        "src/snp/cpuid",
        "src/snp/firmware",
        "src/trace.rs",
    ],
    helpers: &[],
    least: 36,
};

/// The pages whose every row says what shows it.
const FIDELITY: &str = "../docs/src/emulator/fidelity.md";
const MACHINE_TESTS: &str = "../xtask/src/machine_tests";
/// Fuzz targets, which stand beside tests.
const FUZZ_TARGETS: &str = "../fuzz/fuzz_targets";
/// What a row says that no test shows, with the reason.
const NO_TEST: &str = "no test: ";

/// Names in backquotes in the last column of the tables of `page`, up to the line `end`.
fn named(page: &str, end: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(page).expect("the page");
    page.lines()
        .take_while(|line| *line != end)
        .filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| "))
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// The rows of `page` whose last column is headed `test` or `shown by` and names nothing, nor says why no test shows it; and
/// lines of tables that have no such column, up to the line `end`.
fn shown_by_nothing(page: &str, end: &str) -> Vec<String> {
    let page = fs::read_to_string(page).expect("the page");
    let mut wrong = Vec::new();
    let mut before = "";
    for line in page.lines().take_while(|line| *line != end) {
        let cell = |line: &str| {
            let row = line.strip_suffix(" |").or(line.strip_suffix("|"))?;
            Some(row.rsplit_once('|')?.1.trim().to_owned())
        };
        match (line.starts_with('|'), before.starts_with('|')) {
            // A heading. One that has no column for it is as wrong as a row that leaves it empty.
            (true, false) => {
                if !matches!(cell(line).as_deref(), Some("test" | "shown by")) {
                    wrong.push(line.to_owned());
                }
            }
            (true, true) if line.starts_with("|---") => {}
            (true, true) => {
                let cell = cell(line).unwrap_or_default();
                let has_reason = cell.strip_prefix(NO_TEST).is_some_and(|why| why.len() > 10);
                if !has_reason && cell.matches('`').count() < 2 {
                    wrong.push(line.to_owned());
                }
            }
            (false, _) => {}
        }
        before = line;
    }
    wrong
}

/// Calls `each` with every source below `path`.
fn sources(path: &Path, each: &mut dyn FnMut(&str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of sources") {
            sources(&entry.expect("an entry").path(), each);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        each(&fs::read_to_string(path).expect("a source file"));
    }
}

/// Functions below `path` with `#[test]` before them.
fn tests(path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    sources(Path::new(path), &mut |source| {
        let mut lines = source.lines().map(str::trim);
        while lines.any(|line| line == "#[test]") {
            if let Some(name) = lines
                .next()
                .and_then(|line| line.strip_prefix("fn "))
                .and_then(|line| line.split('(').next())
            {
                found.insert(name.to_owned());
            }
        }
    });
    found
}

impl Page {
    /// Holds the page against the tests, both ways.
    fn check(&self) {
        let found: BTreeSet<_> = self.sources.iter().flat_map(|path| tests(path)).collect();
        let mut named = named(self.path, "## Where it deviates");
        named.retain(|name| !Path::new(FUZZ_TARGETS).join(format!("{name}.rs")).exists());
        assert!(named.len() >= self.least, "{} tests only", named.len());
        let missing: Vec<_> = named.difference(&found).collect();
        assert!(missing.is_empty(), "named but not there: {missing:?}");
        let unnamed: Vec<_> = found
            .difference(&named)
            .filter(|name| !self.helpers.contains(&name.as_str()))
            .collect();
        assert!(unnamed.is_empty(), "not on the page: {unnamed:?}");
    }
}

#[test]
fn the_page_of_snp_rules_and_the_tests_agree() {
    SNP_RULES.check();
}

#[test]
fn the_page_about_the_firmware_and_the_tests_agree() {
    FIRMWARE.check();
}

/// The names of the machine tests: string constants like `"boot::alone_with_1_vcpu"`.
fn machine_tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    sources(Path::new(MACHINE_TESTS), &mut |source| {
        let names = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\","));
        found.extend(names.map(str::to_owned));
    });
    found
}

/// What can show a thing.
struct Shown {
    machine_tests: BTreeSet<String>,
    unit_tests: BTreeSet<String>,
}

impl Shown {
    /// Whether `name` is a test of the emulator's, a module with tests, a machine test or the beginning of some.
    fn by(&self, name: &str) -> bool {
        let stem = name.trim_end_matches('*');
        let machine_test = if stem == name && !name.ends_with("::") {
            self.machine_tests.contains(name)
        } else {
            self.machine_tests.iter().any(|test| test.starts_with(stem))
        };
        let module = format!("src/{}", name.replace("::", "/"));
        let module_has_tests = [format!("{module}.rs"), module]
            .iter()
            .any(|path| Path::new(path).exists() && !tests(path).is_empty());
        machine_test || module_has_tests || self.unit_tests.contains(name)
    }
}

/// No line of a page.
const THE_WHOLE_PAGE: &str = "\0";
const END_OF_FIDELITY: &str = "## Faults of QEMU that it steps around";

#[test]
fn what_the_pages_name_exists() {
    let mut names = named(FIDELITY, END_OF_FIDELITY);
    assert!(names.len() > 25, "the page has {} names", names.len());
    names.extend(named(SNP_RULES.path, THE_WHOLE_PAGE));
    let shown = Shown {
        machine_tests: machine_tests(),
        unit_tests: tests("src"),
    };
    let missing: Vec<_> = names.iter().filter(|name| !shown.by(name)).collect();
    assert!(missing.is_empty(), "named but not there: {missing:?}");
}

#[test]
fn every_row_says_what_shows_it() {
    let wrong = [
        shown_by_nothing(FIDELITY, END_OF_FIDELITY),
        shown_by_nothing(SNP_RULES.path, THE_WHOLE_PAGE),
    ]
    .concat();
    assert!(wrong.is_empty(), "shown by nothing: {wrong:#?}");
}
