// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects: those of a repository, and those made since, which stay in memory.
//!
//! A patched file, or a directory, is kept as what it copies from the one before and what it
//! inserts. A hundred patches then take about as much memory as their text, not a hundred times
//! their files.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository};
use sha1::{Digest as _, Sha1};

use super::Error;
use super::similar::Known;

/// Bytes of recently used contents that are held: a series tends to change the same files.
const CACHE_SIZE: usize = 4 << 20;

/// Bytes of contents that are read before libgit2 has to let go of what it holds of the packs:
/// their pages, and bases of deltas. It has no other way to bound them that is safe to use.
const READ_MAX: usize = 8 << 20;

/// The objects.
pub(crate) struct Store {
    stored: RefCell<Stored>,
    made: HashMap<Oid, Made>,
    cache: RefCell<Cache>,
    /// For the search for renames.
    pub(super) known: Known,
}

/// The repository's own objects.
struct Stored {
    repository: Repository,
    /// Bytes read since it was opened.
    read: usize,
}

struct Made {
    kind: ObjectType,
    body: Body,
}

enum Body {
    Whole(Rc<Vec<u8>>),
    /// From another object of the kind.
    Pieces(Oid, Box<[Piece]>),
}

/// A part of a content that is made from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the other content.
    Copy { start: usize, length: usize },
    /// Bytes of its own.
    Insert(Vec<u8>),
}

impl Store {
    pub(crate) fn open(repository: &Repository) -> Result<Self, Error> {
        let repository = Repository::open(repository.path())?;
        Ok(Self {
            stored: RefCell::new(Stored {
                repository,
                read: 0,
            }),
            made: HashMap::new(),
            cache: RefCell::default(),
            known: Known::default(),
        })
    }

    /// The content of a blob.
    pub(crate) fn blob(&self, id: Oid) -> Result<Rc<Vec<u8>>, Error> {
        self.object(id, ObjectType::Blob)
    }

    /// The content of an object.
    pub(crate) fn object(&self, id: Oid, kind: ObjectType) -> Result<Rc<Vec<u8>>, Error> {
        // A file that many patches change is a chain of pieces: from the first that is whole.
        let mut chain = Vec::new();
        let mut at = id;
        let mut content = loop {
            if let Some((held, content)) = self.cache.borrow().get(at) {
                if held != kind {
                    return Err(Error::Kind { id, expected: kind });
                }
                break content;
            }
            match self.made.get(&at) {
                Some(made) if made.kind != kind => return Err(Error::Kind { id, expected: kind }),
                Some(Made {
                    body: Body::Whole(content),
                    ..
                }) => break Rc::clone(content),
                Some(Made {
                    body: Body::Pieces(from, pieces),
                    ..
                }) => {
                    chain.push(pieces);
                    at = *from;
                }
                None => break Rc::new(self.stored(at, kind)?),
            }
        };
        for pieces in chain.into_iter().rev() {
            content = Rc::new(assemble(&content, pieces));
        }
        self.cache.borrow_mut().put(id, kind, &content);
        Ok(content)
    }

    /// Asks the repository for something.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Odb<'_>) -> Result<T, git2::Error>,
    ) -> Result<T, Error> {
        Ok(question(&self.stored.borrow().repository.odb()?)?)
    }

    fn stored(&self, id: Oid, kind: ObjectType) -> Result<Vec<u8>, Error> {
        let (stored_kind, content) = self.ask(|odb| {
            let object = odb.read(id)?;
            Ok((object.kind(), object.data().to_vec()))
        })?;
        if stored_kind != kind {
            return Err(Error::Kind { id, expected: kind });
        }
        let mut stored = self.stored.borrow_mut();
        stored.read += content.len();
        if stored.read > READ_MAX {
            let repository = Repository::open(stored.repository.path())?;
            *stored = Stored {
                repository,
                read: 0,
            };
        }
        Ok(content)
    }

    /// The size of a blob in bytes, without its content where that is cheaper.
    pub(crate) fn blob_size(&self, id: Oid) -> Result<usize, Error> {
        if self.made.contains_key(&id) {
            Ok(self.blob(id)?.len())
        } else {
            self.ask(|odb| odb.read_header(id)).map(|(size, _)| size)
        }
    }

    /// The one blob whose name begins so, if there is one.
    pub(crate) fn find_blob(&self, prefix: &str) -> Option<Oid> {
        let mut made = self.made.iter().filter(|(id, made)| {
            made.kind == ObjectType::Blob && id.to_string().starts_with(prefix)
        });
        let stored = self.ask(|odb| {
            let id = odb.exists_prefix(Oid::from_str(prefix)?, prefix.len())?;
            Ok((id, odb.read_header(id)?.1))
        });
        let stored = stored
            .ok()
            .filter(|(_, kind)| *kind == ObjectType::Blob)
            .map(|(id, _)| id);
        match (made.next().map(|(id, _)| *id), made.next(), stored) {
            (Some(id), None, None) | (None, None, Some(id)) => Some(id),
            (Some(id), None, Some(stored)) if id == stored => Some(id),
            _ => None,
        }
    }

    pub(crate) fn put(&mut self, kind: ObjectType, content: Vec<u8>) -> Result<Oid, Error> {
        let id = name(kind, &content)?;
        let content = Rc::new(content);
        self.cache.borrow_mut().put(id, kind, &content);
        self.made.entry(id).or_insert(Made {
            kind,
            body: Body::Whole(content),
        });
        Ok(id)
    }

    /// Takes in an object that is made of pieces of `from`, an object of the kind.
    pub(crate) fn put_pieces(
        &mut self,
        kind: ObjectType,
        from: Oid,
        pieces: Vec<Piece>,
    ) -> Result<Oid, Error> {
        let content = Rc::new(assemble(&self.object(from, kind)?, &pieces));
        let id = name(kind, &content)?;
        self.cache.borrow_mut().put(id, kind, &content);
        // Never over one that there is: a change that undoes an earlier one would become its own
        // origin.
        if !self.made.contains_key(&id)
            && !self.ask(|odb| Ok(odb.exists_ext(id, OdbLookupFlags::NO_REFRESH)))?
        {
            let body = Body::Pieces(from, pieces.into_boxed_slice());
            self.made.insert(id, Made { kind, body });
        }
        Ok(id)
    }

    /// Takes in an object that has much in common with `near`, an object of the kind.
    pub(crate) fn put_near(
        &mut self,
        kind: ObjectType,
        near: Oid,
        content: &[u8],
    ) -> Result<Oid, Error> {
        let from = self.object(near, kind)?;
        let head = from.iter().zip(content).take_while(|(a, b)| a == b).count();
        let (old, new) = (&from[head..], &content[head..]);
        let tail = old
            .iter()
            .rev()
            .zip(new.iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let pieces = vec![
            Piece::Copy {
                start: 0,
                length: head,
            },
            Piece::Insert(new[..new.len() - tail].to_vec()),
            Piece::Copy {
                start: from.len() - tail,
                length: tail,
            },
        ];
        self.put_pieces(kind, near, pieces)
    }

    /// Whether the object was made here and not written yet.
    pub(crate) fn is_made(&self, id: Oid) -> bool {
        self.made.contains_key(&id)
    }

    /// Writes an object that was made here into the repository, and lets go of it.
    pub(crate) fn write(&mut self, id: Oid) -> Result<(), Error> {
        let Some(kind) = self.made.get(&id).map(|made| made.kind) else {
            return Ok(());
        };
        let content = self.object(id, kind)?;
        self.ask(|odb| odb.write(kind, &content))?;
        self.made.remove(&id);
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("made", &self.made.len())
            .finish_non_exhaustive()
    }
}

/// The name of an object: the hash of its kind, its size and its content.
fn name(kind: ObjectType, content: &[u8]) -> Result<Oid, Error> {
    let mut hash = Sha1::new();
    hash.update(format!("{} {}\0", kind.str(), content.len()));
    hash.update(content);
    Ok(Oid::from_bytes(&hash.finalize())?)
}

fn assemble(from: &[u8], pieces: &[Piece]) -> Vec<u8> {
    let size = pieces.iter().map(|piece| match piece {
        Piece::Copy { length, .. } => *length,
        Piece::Insert(bytes) => bytes.len(),
    });
    let mut out = Vec::with_capacity(size.sum());
    for piece in pieces {
        match piece {
            Piece::Copy { start, length } => out.extend_from_slice(&from[*start..start + length]),
            Piece::Insert(bytes) => out.extend_from_slice(bytes),
        }
    }
    out
}

/// Contents, the oldest of which go first.
#[derive(Default)]
struct Cache {
    contents: HashMap<Oid, (ObjectType, Rc<Vec<u8>>)>,
    order: VecDeque<Oid>,
    size: usize,
}

impl Cache {
    fn get(&self, id: Oid) -> Option<(ObjectType, Rc<Vec<u8>>)> {
        self.contents.get(&id).cloned()
    }

    fn put(&mut self, id: Oid, kind: ObjectType, content: &Rc<Vec<u8>>) {
        if self
            .contents
            .insert(id, (kind, Rc::clone(content)))
            .is_some()
        {
            return;
        }
        self.order.push_back(id);
        self.size += content.len();
        while self.size > CACHE_SIZE
            && let Some(oldest) = self.order.pop_front()
        {
            self.size -= self
                .contents
                .remove(&oldest)
                .map_or(0, |(_, content)| content.len());
        }
    }
}
