// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parser of mailboxes and patches, and applying what it takes: anyone can send a patch.
//!
//! `cargo +nightly fuzz run mailbox`
#![no_main]

use git2::{ObjectType, Oid, Repository};
use libfuzzer_sys::fuzz_target;
use patch_stack::apply::{Applier, Policy};
use patch_stack::mail::{self, Options, Patch, Person};
use patch_stack::patch_id;

fuzz_target!(|data: &[u8]| {
    let Some((options, mailbox)) = data.split_first() else {
        return;
    };
    let options = Options {
        keep_cr: options & 1 != 0,
    };
    let patches: Vec<Patch> = mail::split(mailbox)
        .into_iter()
        .filter_map(|mail| Patch::parse(mail, &options).ok())
        .collect();
    for patch in &patches {
        assert!(!patch.diff.files.is_empty());
        let _ = patch_id::of(patch);
    }
    if !patches.is_empty() {
        FILES.with(|files| files.apply(&patches));
    }
});

thread_local! {
    static FILES: Files = Files::new();
}

/// A repository with a few files that patches can change.
struct Files {
    repository: Repository,
    base: Oid,
    _folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::TempDir::new().expect("there is room for a repository");
        let repository = Repository::init_bare(folder.path()).expect("a repository can be made");
        let base = Self::commit(&repository).expect("objects can be written");
        Self {
            repository,
            base,
            _folder: folder,
        }
    }

    fn commit(repository: &Repository) -> Result<Oid, git2::Error> {
        let mut tree = repository.treebuilder(None)?;
        for (name, content) in [
            ("f", "a\nb\nc\nd\ne\nf\ng\n"),
            ("g", "a\n\n{\n}\n\n{\n}\n"),
            ("empty", ""),
        ] {
            tree.insert(name, repository.blob(content.as_bytes())?, 0o100_644)?;
        }
        let tree = tree.write()?;
        let commit =
            format!("tree {tree}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\nbase\n");
        repository
            .odb()?
            .write(ObjectType::Commit, commit.as_bytes())
    }

    fn apply(&self, patches: &[Patch]) {
        let committer = Person::new(b"A", b"a@b").expect("that is a person");
        let policy = Policy {
            offsets: true,
            three_way: true,
            committer,
        };
        let mut applier = Applier::new(&self.repository, policy).expect("the repository opens");
        let outcome = applier
            .series(self.base, patches)
            .expect("the repository is whole");
        assert!(outcome.steps.len() <= patches.len());
    }
}
