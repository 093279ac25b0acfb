// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bases into a mirror, from small tarballs and repositories: once, again, cut short, twice at
//! the same time.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::declare::{Base, Source, SourceKind};
use crate::lock::BaseLock;
use crate::watch::{Silent, Watch};

/// A tarball of a small release in `folder`.
fn release(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let top = folder.join(name);
    for (path, content) in files {
        let path = top.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let status = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-czf")
        .arg(folder.join(format!("{name}.tar.gz")))
        .arg(name)
        .status()
        .unwrap();
    assert!(status.success());
}

fn base(kind: SourceKind, fixups: &[&str]) -> Base {
    Base {
        name: "v1".to_owned(),
        tag: "v1".to_owned(),
        commit: None,
        sources: vec![Source {
            kind,
            fixups: fixups.iter().map(|&name| name.to_owned()).collect(),
        }],
    }
}

fn tar(location: &str) -> SourceKind {
    SourceKind::Tar {
        location: location.to_owned(),
        sha256: None,
    }
}

fn archive(folder: &Path) -> Archive {
    Archive {
        address: "http://archive.invalid/debian".to_owned(),
        keyring: None,
        suites: Vec::new(),
        folder: folder.join("apt"),
    }
}

fn get(
    folder: &Path,
    mirror: &Mirror,
    base: &Base,
    pinned: Option<&BaseLock>,
    again: bool,
) -> Result<(BaseState, bool)> {
    let archive = archive(folder);
    let how = Fetch {
        folder,
        archive: &archive,
        pinned,
        again,
    };
    let _guard = mirror.lock(&Silent)?;
    fetch(mirror, base, &how, &Silent)
}

fn pin(state: &BaseState) -> BaseLock {
    BaseLock {
        kind: state.origin.kind.clone(),
        source: state.origin.source.clone(),
        sha256: state.origin.sha256.clone(),
        commit: state.imported.to_string(),
        tree: state.tree.to_string(),
        fixups: state.origin.fixups.clone(),
        start: state.start.to_string(),
    }
}

#[test]
fn a_tarball_and_git_add_give_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    release(
        folder,
        "r-1",
        &[
            ("a/b.c", "int b;\n"),
            ("README", "read\n"),
            (".gitignore", "README\n"),
        ],
    );
    let mirror = Mirror::open(&folder.join("cache"), "p").unwrap();
    let (state, new) = get(folder, &mirror, &base(tar("r-1.tar.gz"), &[]), None, false).unwrap();
    assert!(new);
    assert_eq!(state.start, state.imported);
    assert_eq!(state.origin.kind, "tar");

    let git = Git::worktree(&folder.join("r-1"));
    git.output(&["init", "--quiet"]).unwrap();
    git.output(&["add", "-A", "-f"]).unwrap();
    assert_eq!(git.text(&["write-tree"]).unwrap(), state.tree.to_string());

    // The same again touches nothing, and another mirror comes to the same commit.
    let kept = folder.join("kept.tar.gz");
    std::fs::rename(folder.join("r-1.tar.gz"), &kept).unwrap();
    let (again, new) = get(folder, &mirror, &base(tar("r-1.tar.gz"), &[]), None, false).unwrap();
    std::fs::rename(kept, folder.join("r-1.tar.gz")).unwrap();
    assert!(!new);
    assert_eq!(again, state);
    let other = Mirror::open(&folder.join("other"), "p").unwrap();
    let pinned = pin(&state);
    let (twin, _) = get(
        folder,
        &other,
        &base(tar("r-1.tar.gz"), &[]),
        Some(&pinned),
        false,
    )
    .unwrap();
    assert_eq!(twin, state);
    assert_eq!(other.find_ref("refs/import/v1").unwrap(), None);
}

#[test]
fn a_base_is_there_only_from_where_it_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    release(folder, "r-1", &[("a", "1\n")]);
    release(folder, "r-2", &[("a", "2\n")]);
    let mirror = Mirror::open(folder, "p").unwrap();
    let (first, _) = get(folder, &mirror, &base(tar("r-1.tar.gz"), &[]), None, false).unwrap();
    assert_eq!(first.differs(&base(tar("r-1.tar.gz"), &[]), folder), None);

    // Another place, another hash, other fixups.
    let elsewhere = base(tar("r-2.tar.gz"), &[]);
    let why = first.differs(&elsewhere, folder).unwrap();
    assert!(why.contains("no longer declares"), "{why}");
    let other = SourceKind::Tar {
        location: "r-1.tar.gz".to_owned(),
        sha256: Some("0".repeat(64)),
    };
    let why = first.differs(&base(other.clone(), &[]), folder).unwrap();
    assert!(why.contains("another SHA-256"), "{why}");
    let error = get(folder, &mirror, &base(other, &[]), None, false).unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    let why = first.differs(&base(tar("r-1.tar.gz"), &["f"]), folder);
    assert!(why.unwrap().contains("other fixups"));
    let gone = base(tar("gone.tar.gz"), &[]);
    let error = get(folder, &mirror, &gone, None, false).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.hint.unwrap().contains("not used"));
    let (second, new) = get(folder, &mirror, &elsewhere, None, false).unwrap();
    assert!(new);
    assert_ne!(second.tree, first.tree);

    // A clone beside it has another file of the same name.
    let clone = folder.join("clone");
    release(&clone, "r-2", &[("a", "3\n")]);
    assert!(second.differs(&elsewhere, &clone).is_some());
    let (third, new) = get(&clone, &mirror, &elsewhere, None, false).unwrap();
    assert!(new);
    assert_ne!(third.tree, second.tree);
}

#[test]
fn a_source_of_debians_is_there_whatever_else_is_declared() {
    let origin = Origin {
        kind: "debian".to_owned(),
        source: "Debian's source linux 7.1.8-2".to_owned(),
        sha256: Some("1".repeat(64)),
        ..Origin::default()
    };
    let mut declared = base(
        SourceKind::Git {
            url: "https://example.org/linux.git".to_owned(),
            reference: "v7.1.8".to_owned(),
        },
        &[],
    );
    // The upstream's commit is not that of a tree without history.
    declared.commit = Some("2".repeat(40));
    let folder = Path::new("/nowhere");
    assert!(origin.differs(&declared, folder, "3").is_some());
    declared.sources.push(Source {
        kind: SourceKind::Debian {
            package: "linux".to_owned(),
            version: "7.1.8-2".to_owned(),
        },
        fixups: Vec::new(),
    });
    assert_eq!(origin.differs(&declared, folder, "3"), None);
}

/// Serves the files of `folder` over HTTP until the test ends. Returns the address.
fn served(folder: &Path) -> String {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines
                .map_while(std::result::Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = head[0].split(' ').nth(1).unwrap();
            let body = std::fs::read(folder.join(path.trim_start_matches('/'))).unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    address
}

#[test]
fn addresses_that_end_in_the_same_name_are_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (place, content) in [("a", "1\n"), ("b", "2\n")] {
        release(&folder.join(place), "r", &[("f", content)]);
    }
    let address = served(folder);
    let from = |name: &str, place: &str| Base {
        name: name.to_owned(),
        ..base(tar(&format!("{address}/{place}/r.tar.gz")), &[])
    };
    let mirror = Mirror::open(folder, "p").unwrap();
    let content = |state: &BaseState| {
        let file = format!("{}:f", state.imported);
        mirror.git().text(&["show", &file]).unwrap()
    };
    let (first, _) = get(folder, &mirror, &from("v1", "a"), None, false).unwrap();
    let (second, _) = get(folder, &mirror, &from("v2", "b"), None, false).unwrap();
    assert_eq!(
        (content(&first), content(&second)),
        ("1".into(), "2".into())
    );

    // Another file at the same address, of which no hash is declared.
    release(&folder.join("a"), "r", &[("f", "3\n")]);
    let (first, _) = get(folder, &mirror, &from("v1", "a"), None, true).unwrap();
    assert_eq!(content(&first), "3");
}

#[test]
fn what_is_not_what_was_pinned_moves_no_ref() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    release(folder, "r-1", &[("a", "1\n")]);
    let mirror = Mirror::open(folder, "p").unwrap();
    let declared = base(tar("r-1.tar.gz"), &[]);
    let (state, _) = get(folder, &mirror, &declared, None, false).unwrap();
    let pinned = pin(&state);
    release(folder, "r-1", &[("a", "2\n")]);
    let error = get(folder, &mirror, &declared, Some(&pinned), true).unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("is pinned to the tree"), "{error}");
    assert_eq!(mirror.base("v1").unwrap(), state);
    assert_eq!(mirror.find_ref("refs/import/v1").unwrap(), None);
}

#[test]
fn fixups_are_a_layer_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    release(folder, "r-1", &[("a", "1\n2\n3\n")]);
    let fixup = "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n";
    std::fs::write(folder.join("fix.patch"), fixup).unwrap();
    let mirror = Mirror::open(folder, "p").unwrap();
    let declared = base(tar("r-1.tar.gz"), &["fix.patch"]);
    let (state, _) = get(folder, &mirror, &declared, None, false).unwrap();
    assert_ne!(state.start, state.imported);
    let spec = format!("{}:a", state.start);
    assert_eq!(mirror.git().text(&["show", &spec]).unwrap(), "1\ntwo\n3");
    let parent = mirror
        .git()
        .text(&["rev-parse", &format!("{}^", state.start)])
        .unwrap();
    assert_eq!(parent, state.imported.to_string());

    assert_eq!(state.differs(&declared, folder), None);
    std::fs::write(folder.join("fix.patch"), fixup.replace("-2\n", "-9\n")).unwrap();
    let why = state.differs(&declared, folder).unwrap();
    assert!(why.contains("other fixups"), "{why}");
    let error = get(folder, &mirror, &declared, None, true).unwrap_err();
    assert!(error.message.contains("the fixup fix.patch"), "{error}");
    assert_eq!(mirror.base("v1").unwrap(), state);
}

#[test]
fn a_repository_is_a_base_with_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let upstream = folder.join("upstream");
    std::fs::create_dir(&upstream).unwrap();
    let git = Git::worktree(&upstream);
    git.output(&["init", "--quiet"]).unwrap();
    for number in ["1", "2"] {
        std::fs::write(upstream.join("a"), number).unwrap();
        git.output(&["add", "a"]).unwrap();
        git.output(&["commit", "--quiet", "-m", number]).unwrap();
    }
    git.output(&["tag", "-a", "v1", "-m", "one"]).unwrap();
    let mirror = Mirror::open(folder, "p").unwrap();
    let mut declared = base(
        SourceKind::Git {
            url: "upstream".to_owned(),
            reference: "v1".to_owned(),
        },
        &[],
    );
    let (state, _) = get(folder, &mirror, &declared, None, false).unwrap();
    let head = git.text(&["rev-parse", "HEAD"]).unwrap();
    assert_eq!(state.imported.to_string(), head);
    let count = mirror
        .git()
        .text(&["rev-list", "--count", "refs/bases/v1"])
        .unwrap();
    assert_eq!(count, "2");

    declared.commit = Some("1".repeat(40));
    let why = state.differs(&declared, folder).unwrap();
    assert!(why.contains("another commit"), "{why}");
    let error = get(folder, &mirror, &declared, None, true).unwrap_err();
    assert!(error.message.contains("branches.toml says"), "{error}");
}

#[test]
fn sources_are_tried_in_order_and_each_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    release(folder, "r-1", &[("a", "1\n")]);
    let mirror = Mirror::open(folder, "p").unwrap();
    let mut declared = base(tar("gone.tar.gz"), &[]);
    declared.sources.push(Source {
        kind: SourceKind::Git {
            url: "./no-such-place".to_owned(),
            reference: "v1".to_owned(),
        },
        fixups: Vec::new(),
    });
    let error = get(folder, &mirror, &declared, None, false).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(
        error.message.contains("gone.tar.gz: there is no file"),
        "{error}"
    );
    assert!(error.message.contains("no-such-place: fatal:"), "{error}");
    declared.sources.push(Source {
        kind: tar("r-1.tar.gz"),
        fixups: Vec::new(),
    });
    assert!(get(folder, &mirror, &declared, None, false).is_ok());
    // With every source gone the mirror still has it.
    std::fs::remove_file(folder.join("r-1.tar.gz")).unwrap();
    let error = get(folder, &mirror, &declared, None, true).unwrap_err();
    assert!(error.hint.unwrap().contains("the mirror has it"));
    assert!(get(folder, &mirror, &declared, None, false).is_ok());
}

#[test]
fn an_import_that_was_cut_short_starts_over() {
    struct StopAtOnce;
    impl Watch for StopAtOnce {
        fn check(&self) -> Result<()> {
            Err(Failure::new(Kind::Interrupted, "stopped"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let many: Vec<_> = (0..1100).map(|number| format!("f{number}")).collect();
    let files: Vec<_> = many.iter().map(|name| (name.as_str(), "x\n")).collect();
    release(folder, "r-1", &files);
    let mirror = Mirror::open(folder, "p").unwrap();
    let declared = base(tar("r-1.tar.gz"), &[]);
    let archive = archive(folder);
    let how = Fetch {
        folder,
        archive: &archive,
        pinned: None,
        again: false,
    };
    let error = fetch(&mirror, &declared, &how, &StopAtOnce).unwrap_err();
    assert_eq!(error.kind, Kind::Interrupted);
    assert_eq!(mirror.find_base("v1").unwrap(), None);
    // As if killed: a crash report and half a pack.
    let pack = mirror.folder().join("objects/pack/tmp_pack_abc");
    std::fs::write(&pack, "half").unwrap();
    std::fs::write(mirror.folder().join("fast_import_crash_1"), "").unwrap();
    fetch(&mirror, &declared, &how, &Silent).unwrap();
    assert!(!pack.exists());
    assert!(!mirror.folder().join("fast_import_crash_1").exists());
    assert!(mirror.find_base("v1").unwrap().is_some());
}

#[test]
fn two_at_once_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_owned();
    release(&folder, "r-1", &[("a", "1\n")]);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let folder = folder.clone();
            std::thread::spawn(move || {
                let mirror = Mirror::open(&folder, "p").unwrap();
                get(&folder, &mirror, &base(tar("r-1.tar.gz"), &[]), None, false).unwrap()
            })
        })
        .collect();
    let results: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(results.iter().filter(|(_, new)| *new).count(), 1);
    assert!(results.windows(2).all(|pair| pair[0].0 == pair[1].0));
}

#[test]
fn a_damaged_base_that_is_fetched_again_is_not_taken_for_mended() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // It hardly compresses, so the middle of the pack is the middle of this.
    let content: String = (0..2000_u32)
        .map(|number| format!("{:08x}\n", number.wrapping_mul(2_654_435_761)))
        .collect();
    release(folder, "r-1", &[("a", &content)]);
    let mirror = Mirror::open(folder, "p").unwrap();
    let declared = base(tar("r-1.tar.gz"), &[]);
    let (state, _) = get(folder, &mirror, &declared, None, false).unwrap();
    assert_eq!(mirror.faults().unwrap(), Vec::<String>::new());
    get(folder, &mirror, &declared, None, true).unwrap();

    let packs = std::fs::read_dir(mirror.folder().join("objects/pack")).unwrap();
    let pack = packs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "pack"))
        .unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].copy_from_slice(b"nonsense");
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();

    let blob = format!("{}:a", state.imported);
    let blob = mirror.git().text(&["rev-parse", &blob]).unwrap();
    let faults = mirror.faults().unwrap();
    assert!(faults[0].contains(&blob), "{faults:?}");
    let error = get(folder, &mirror, &declared, None, true).unwrap_err();
    assert!(error.message.contains("can't read it"), "{error}");
    assert!(error.message.contains(&blob), "{error}");
    assert!(error.hint.unwrap().contains("remove "));
    assert_eq!(mirror.find_ref("refs/import/v1").unwrap(), None);
    assert_eq!(mirror.base("v1").unwrap(), state);
}
