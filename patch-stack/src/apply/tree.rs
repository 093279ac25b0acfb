// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree that is read along the paths that are asked for, changed, and written along the paths
//! that changed.

use std::cmp::Ordering;

use git2::{ObjectType, Oid};

use super::Error;
use super::store::Store;

/// The bits of a directory in a tree.
pub(crate) const DIRECTORY: u32 = 0o040_000;

/// A file in a tree: its mode and its blob. (Or a submodule and its commit: the mode tells.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileEntry {
    pub(crate) mode: u32,
    pub(crate) id: Oid,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Nothing,
    /// A file is where the path wants a directory.
    UnderFile,
    File(FileEntry),
    Directory,
}

/// A tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Directory,
}

#[derive(Debug, Default)]
struct Directory {
    entries: Vec<Entry>,
    /// Its name as an object, while that is known.
    id: Option<Oid>,
    /// Its name before it was changed, if it was there.
    was: Option<Oid>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    node: Node,
}

#[derive(Debug)]
enum Node {
    File(FileEntry),
    /// A directory that nobody has asked for yet.
    Unread(Oid),
    Read(Directory),
}

impl Tree {
    pub(crate) fn read(store: &Store, id: Oid) -> Result<Self, Error> {
        Ok(Self {
            root: Directory::read(store, id)?,
        })
    }

    pub(crate) fn at(&mut self, store: &Store, path: &[u8]) -> Result<At, Error> {
        let mut directory = &mut self.root;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let Ok(index) = directory.position(name) else {
                return Ok(At::Nothing);
            };
            match &directory.entries[index].node {
                Node::File(file) if last => return Ok(At::File(*file)),
                Node::File(_) => return Ok(At::UnderFile),
                _ if last => return Ok(At::Directory),
                _ => directory = directory.enter(store, index)?,
            }
        }
        Ok(At::Nothing)
    }

    pub(crate) fn file(&mut self, store: &Store, path: &[u8]) -> Result<Option<FileEntry>, Error> {
        Ok(match self.at(store, path)? {
            At::File(file) => Some(file),
            _ => None,
        })
    }

    /// Puts a file at a path, with the directories that it needs. The path must not lead through
    /// a file or to a directory.
    pub(crate) fn set(&mut self, store: &Store, path: &[u8], file: FileEntry) -> Result<(), Error> {
        let mut directory = &mut self.root;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            directory.id = None;
            let last = names.peek().is_none();
            let index = match directory.position(name) {
                Ok(index) => index,
                Err(index) => {
                    let node = if last {
                        Node::File(file)
                    } else {
                        Node::Read(Directory::default())
                    };
                    directory.insert(index, name, node);
                    directory.position(name).unwrap_or(index)
                }
            };
            if last {
                directory.entries[index].node = Node::File(file);
                return Ok(());
            }
            directory = directory.enter(store, index)?;
        }
        Ok(())
    }

    /// Takes a file away, and the directories that it leaves empty.
    pub(crate) fn remove(&mut self, store: &Store, path: &[u8]) -> Result<(), Error> {
        self.root.remove(store, path)
    }

    /// Makes the objects of what changed. Returns the tree's name.
    pub(crate) fn write(&mut self, store: &mut Store) -> Result<Oid, Error> {
        self.root.write(store)
    }

    /// The paths of the files in a directory, from there on.
    pub(crate) fn files_below(
        &mut self,
        store: &Store,
        path: &[u8],
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut directory = &mut self.root;
        for name in path.split(|byte| *byte == b'/') {
            let Ok(index) = directory.position(name) else {
                return Ok(Vec::new());
            };
            directory = directory.enter(store, index)?;
        }
        let mut paths = Vec::new();
        directory.each_file(store, &mut Vec::new(), &mut |path, _| {
            paths.push(path.to_vec())
        })?;
        Ok(paths)
    }

    /// Calls `visit` with every file, in order of names.
    pub(crate) fn each_file(
        &self,
        store: &Store,
        visit: &mut dyn FnMut(&[u8], FileEntry),
    ) -> Result<(), Error> {
        self.root.each_file(store, &mut Vec::new(), visit)
    }
}

impl Directory {
    fn read(store: &Store, id: Oid) -> Result<Self, Error> {
        let content = store.object(id, ObjectType::Tree)?;
        let damaged = || Error::Damaged { id };
        let mut entries = Vec::new();
        let mut rest = &content[..];
        while !rest.is_empty() {
            let (mode, name, entry, after) = split_entry(rest).ok_or_else(damaged)?;
            let node = if mode == DIRECTORY {
                Node::Unread(entry)
            } else {
                Node::File(FileEntry { mode, id: entry })
            };
            entries.push(Entry {
                name: name.into(),
                node,
            });
            rest = after;
        }
        Ok(Self {
            entries,
            id: Some(id),
            was: Some(id),
        })
    }

    /// Where the entry `name` is, or where it would be put as a file.
    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        let find = |directory| {
            self.entries
                .binary_search_by(|entry| entry.order(name, directory))
        };
        find(true).or_else(|_| find(false))
    }

    /// Inserts an entry that is not there, near `hint`.
    fn insert(&mut self, hint: usize, name: &[u8], node: Node) {
        let directory = !matches!(node, Node::File(_));
        let index = if directory {
            self.entries
                .binary_search_by(|entry| entry.order(name, true))
                .unwrap_or_else(|index| index)
        } else {
            hint
        };
        self.entries.insert(
            index,
            Entry {
                name: name.into(),
                node,
            },
        );
    }

    /// The directory at `index`, read if it was not. An empty one where a file is.
    fn enter(&mut self, store: &Store, index: usize) -> Result<&mut Self, Error> {
        let node = &mut self.entries[index].node;
        match node {
            Node::Read(_) => {}
            Node::Unread(id) => *node = Node::Read(Self::read(store, *id)?),
            Node::File(_) => *node = Node::Read(Self::default()),
        }
        match node {
            Node::Read(directory) => Ok(directory),
            _ => unreachable!("the entry was just made a directory"),
        }
    }

    fn remove(&mut self, store: &Store, path: &[u8]) -> Result<(), Error> {
        let (name, rest) = match path.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
            None => (path, None),
        };
        let Ok(index) = self.position(name) else {
            return Ok(());
        };
        self.id = None;
        if let Some(rest) = rest {
            let directory = self.enter(store, index)?;
            directory.remove(store, rest)?;
            if !directory.entries.is_empty() {
                return Ok(());
            }
        }
        self.entries.remove(index);
        Ok(())
    }

    fn write(&mut self, store: &mut Store) -> Result<Oid, Error> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let mut content = Vec::with_capacity(self.entries.len() * 40);
        for entry in &mut self.entries {
            let (mode, id) = match &mut entry.node {
                Node::File(file) => (file.mode, file.id),
                Node::Unread(id) => (DIRECTORY, *id),
                Node::Read(directory) => (DIRECTORY, directory.write(store)?),
            };
            content.extend_from_slice(format!("{mode:o} ").as_bytes());
            content.extend_from_slice(&entry.name);
            content.push(0);
            content.extend_from_slice(id.as_bytes());
        }
        let id = match self.was {
            Some(was) => store.put_near(ObjectType::Tree, was, &content)?,
            None => store.put(ObjectType::Tree, content)?,
        };
        (self.id, self.was) = (Some(id), Some(id));
        Ok(id)
    }

    fn each_file(
        &self,
        store: &Store,
        path: &mut Vec<u8>,
        visit: &mut dyn FnMut(&[u8], FileEntry),
    ) -> Result<(), Error> {
        let length = path.len();
        for entry in &self.entries {
            path.extend_from_slice(&entry.name);
            match &entry.node {
                Node::File(file) => visit(path, *file),
                Node::Unread(id) => {
                    path.push(b'/');
                    Self::read(store, *id)?.each_file(store, path, visit)?;
                }
                Node::Read(directory) => {
                    path.push(b'/');
                    directory.each_file(store, path, visit)?;
                }
            }
            path.truncate(length);
        }
        Ok(())
    }
}

impl Entry {
    /// How it stands to another name: directories sort as if a slash followed their names.
    fn order(&self, name: &[u8], directory: bool) -> Ordering {
        let end = |directory: bool| if directory { b'/' } else { 0 };
        let common = self.name.len().min(name.len());
        self.name[..common].cmp(&name[..common]).then_with(|| {
            let mine = self
                .name
                .get(common)
                .copied()
                .unwrap_or(end(!matches!(self.node, Node::File(_))));
            let other = name.get(common).copied().unwrap_or(end(directory));
            mine.cmp(&other)
        })
    }
}

/// Mode, name and object of a tree's first entry, and the entries after it.
fn split_entry(text: &[u8]) -> Option<(u32, &[u8], Oid, &[u8])> {
    let blank = text.iter().take(8).position(|byte| *byte == b' ')?;
    let mode = u32::from_str_radix(std::str::from_utf8(&text[..blank]).ok()?, 8).ok()?;
    let text = &text[blank + 1..];
    let end = memchr::memchr(0, text)?;
    let (id, rest) = text[end + 1..].split_at_checked(20)?;
    Some((mode, &text[..end], Oid::from_bytes(id).ok()?, rest))
}

/// The objects that a tree names, each with whether it is a tree itself.
pub(crate) fn entries(store: &Store, id: Oid) -> Result<Vec<(bool, Oid)>, Error> {
    let directory = Directory::read(store, id)?;
    let entries = directory.entries.into_iter().map(|entry| match entry.node {
        Node::File(file) => (false, file.id),
        Node::Unread(id) => (true, id),
        Node::Read(_) => (true, Oid::ZERO_SHA1),
    });
    Ok(entries.collect())
}

/// A file that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<FileEntry>,
    pub(crate) new: Option<FileEntry>,
}

/// The files that differ between two trees, in order of names. Directories that are equal are
/// not read.
pub(crate) fn changes(store: &Store, old: Oid, new: Oid) -> Result<Vec<Change>, Error> {
    let mut found = Vec::new();
    if old != new {
        let (old, new) = (Directory::read(store, old)?, Directory::read(store, new)?);
        compare(store, &old, &new, &mut Vec::new(), &mut found)?;
    }
    Ok(found)
}

fn compare(
    store: &Store,
    old: &Directory,
    new: &Directory,
    path: &mut Vec<u8>,
    found: &mut Vec<Change>,
) -> Result<(), Error> {
    let mut old_entries = old.entries.iter().peekable();
    let mut new_entries = new.entries.iter().peekable();
    let length = path.len();
    loop {
        let (before, after) = match (old_entries.peek(), new_entries.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => (old_entries.next(), None),
            (None, Some(_)) => (None, new_entries.next()),
            (Some(old), Some(new)) => {
                match old.order(&new.name, !matches!(new.node, Node::File(_))) {
                    Ordering::Less => (old_entries.next(), None),
                    Ordering::Greater => (None, new_entries.next()),
                    Ordering::Equal => (old_entries.next(), new_entries.next()),
                }
            }
        };
        let name = before.or(after).map_or(&b""[..], |entry| &entry.name);
        path.extend_from_slice(name);
        let file = |entry: Option<&Entry>| match entry.map(|entry| &entry.node) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        };
        let directory = |entry: Option<&Entry>| match entry.map(|entry| &entry.node) {
            Some(Node::Unread(id)) => Some(*id),
            _ => None,
        };
        let (old_file, new_file) = (file(before), file(after));
        if old_file != new_file {
            found.push(Change {
                path: path.clone(),
                old: old_file,
                new: new_file,
            });
        }
        let (old_id, new_id) = (directory(before), directory(after));
        if old_id != new_id {
            let read = |id: Option<Oid>| {
                id.map_or(Ok(Directory::default()), |id| Directory::read(store, id))
            };
            let (old, new) = (read(old_id)?, read(new_id)?);
            path.push(b'/');
            compare(store, &old, &new, path, found)?;
        }
        path.truncate(length);
    }
}
