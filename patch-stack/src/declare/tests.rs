// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a declaration may say, and how a wrong one is refused.

use super::*;

const GOOD: &str = r#"schema = 1

[debian]
suites = ["trixie", "sid"]

[project.linux]
patches = "patches/linux"
licence = "GPL-2.0-only"
sparse = ["arch/x86"]
checkpatch = { script = "scripts/checkpatch.pl", arguments = ["--strict"] }

[project.linux.base."v7.1.8"]
source = [
    { debian = "linux", version = "7.1.8-2" },
    { git = "https://example.org/linux.git", ref = "v7.1.8" },
]

[project.linux.base."v6.18.15"]
source = [{ tar = "linux-6.18.15.tar.xz", fixups = ["a.patch"] }]

[project.linux.series.vendored]
description = "theirs"
message-id = "1@example.org"

[project.linux.series.planes]
description = "ours"
[project.linux.series.planes.variant."6.18"]
bases = ["v6.18.15"]

[branch.planes]
description = "planes"
[branch.planes.linux]
base = "v7.1.8"
series = ["vendored", "planes"]
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Declaration::parse(&GOOD.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_good_one_is_read() {
    let declared = Declaration::parse(GOOD).unwrap();
    let linux = &declared.projects["linux"];
    assert_eq!(linux.bases["v7.1.8"].sources.len(), 2);
    assert_eq!(linux.bases["v7.1.8"].tag, "v7.1.8");
    assert_eq!(linux.bases["v6.18.15"].sources[0].fixups, ["a.patch"]);
    let series = &linux.series["planes"];
    assert_eq!(series.variant("v6.18.15").unwrap().folder(), "variant-6.18");
    assert!(series.variant("v7.1.8").is_none());
    let (project, part) = declared.branch("planes").unwrap().part(None).unwrap();
    assert_eq!(project, "linux");
    assert_eq!(part.series, ["vendored", "planes"]);
    assert_eq!(&GOOD[part.base_span.clone()], "\"v7.1.8\"");
}

#[test]
fn a_misspelt_table_is_told_and_not_what_it_lacks() {
    assert_eq!(
        refused("[branch.planes]", "[brnch.planes]"),
        "line 30: unknown key `brnch`; did you mean `branch`?"
    );
    let error = refused(
        "[project.linux.series.planes]",
        "[projct.linux.series.planes]",
    );
    assert!(error.contains("did you mean `project`?"), "{error}");
}

#[test]
fn patches_lie_below_the_declaration() {
    for path in ["../../etc", "/etc", "patches/../..", ""] {
        let error = refused("\"patches/linux\"", &format!("\"{path}\""));
        assert!(error.contains("has to be a folder below"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
    assert_eq!(
        refused("licence =", "license ="),
        "line 8: unknown key `license` in `project.linux`; did you mean `licence`?"
    );
    assert_eq!(
        refused("sparse =", "sparce ="),
        "line 9: unknown key `sparce` in `project.linux`; did you mean `sparse`?"
    );
    assert_eq!(
        refused("suites =", "zzzzzz ="),
        "line 4: unknown key `zzzzzz` in `debian`; known are `suites`"
    );
    assert_eq!(
        refused("[branch.planes.linux]", "[branch.planes.linus]"),
        "line 32: unknown key `linus` in `branch.planes`; did you mean `linux`?"
    );
    assert_eq!(
        refused("version = \"7.1.8-2\"", "versoin = \"7.1.8-2\""),
        "line 14: unknown key `versoin` in `project.linux.base.v7.1.8.source[0]`; \
         did you mean `version`?"
    );
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    assert_eq!(
        refused("sparse = [\"arch/x86\"]", "sparse = \"arch/x86\""),
        "line 9: `project.linux.sparse` is a text and has to be a list of texts"
    );
    assert_eq!(
        refused("schema = 1", "schema = 2"),
        "line 1: schema 2 is not known; this tool reads schema 1"
    );
    assert!(refused("base = \"v7.1.8\"", "base = \"v7.1.9\"").contains("did you mean `v7.1.8`?"));
    assert!(
        refused("[\"vendored\", \"planes\"]", "[\"plaens\"]").contains("did you mean `planes`?")
    );
    assert!(
        refused("[\"vendored\", \"planes\"]", "[\"planes\", \"vendored\"]")
            .contains("has to come before our own")
    );
    assert!(refused("[branch.planes]", "[branch.\"../planes\"]").contains("no good name"));
    assert!(refused("schema = 1", "schema = ").starts_with("line 1: "));
}

#[test]
fn a_series_stands_once_in_a_branch() {
    let error = refused(r#""planes"]"#, r#""planes", "planes"]"#);
    assert!(error.contains("`planes` is named a second time"), "{error}");
}

#[test]
fn a_branch_that_is_not_there_is_told_with_the_nearest() {
    let declared = Declaration::parse(GOOD).unwrap();
    assert_eq!(
        declared.branch("plane").unwrap_err(),
        "there is no branch called `plane`; did you mean `planes`?"
    );
    assert!(
        declared
            .branch("planes")
            .unwrap()
            .part(Some("qemu"))
            .unwrap_err()
            .contains("there is `linux`")
    );
}

#[test]
fn a_stack_says_where_each_part_is_from() {
    const STACK: &str = r#"
[stack.snp]
description = "host and guest"
part = [
    { name = "kernel", branch = "planes" },
    { name = "image", command = ["make"], product = "out/image", sources = ["src"] },
    { name = "firmware", none = "the kernel is loaded directly" },
]
"#;
    let text = format!("{GOOD}{STACK}");
    let stack = &Declaration::parse(&text).unwrap().stacks["snp"];
    assert_eq!(stack.parts.len(), 3);
    assert_eq!(
        stack.parts[0].from,
        PartFrom::Branch {
            branch: "planes".to_owned()
        }
    );
    let wrong = |from: &str, to: &str| {
        Declaration::parse(&text.replacen(from, to, 1))
            .unwrap_err()
            .to_string()
    };
    let error = wrong("branch = \"planes\"", "branch = \"plane\"");
    assert!(error.contains("planes"), "{error}");
    let error = wrong(", product = \"out/image\"", "");
    assert!(error.contains("`product`"), "{error}");
    let error = wrong("none =", "nono =");
    assert!(error.contains("did you mean `none`?"), "{error}");
}
