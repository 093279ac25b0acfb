// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects: those of a repository, and those made since, which stay in memory.
//!
//! A patched file is kept as what it copies from the file before and what it inserts. A hundred
//! patches then take about as much memory as their text, not a hundred times their files.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository};
use sha1::{Digest as _, Sha1};

use super::Error;

/// Bytes of recently used contents that are held: a series tends to change the same files.
const CACHE_SIZE: usize = 8 << 20;

/// The objects.
pub(crate) struct Store {
    repository: Repository,
    made: HashMap<Oid, Made>,
    cache: Cache,
}

struct Made {
    kind: ObjectType,
    body: Body,
}

enum Body {
    Whole(Rc<Vec<u8>>),
    /// A blob, from another one.
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
            repository,
            made: HashMap::new(),
            cache: Cache::default(),
        })
    }

    /// The content of a blob.
    pub(crate) fn blob(&mut self, id: Oid) -> Result<Rc<Vec<u8>>, Error> {
        if let Some(content) = self.cache.get(id) {
            return Ok(content);
        }
        // A file that many patches change is a chain of pieces: from the first that is whole.
        let mut chain = Vec::new();
        let mut at = id;
        let mut content = loop {
            if let Some(content) = self.cache.get(at) {
                break content;
            }
            match self.made.get(&at) {
                Some(Made {
                    body: Body::Pieces(from, _),
                    ..
                }) => {
                    chain.push(at);
                    at = *from;
                }
                Some(Made {
                    body: Body::Whole(content),
                    ..
                }) => break Rc::clone(content),
                None => break Rc::new(self.stored(at, ObjectType::Blob)?),
            }
        };
        for id in chain.into_iter().rev() {
            if let Some(Made {
                body: Body::Pieces(_, pieces),
                ..
            }) = self.made.get(&id)
            {
                content = Rc::new(assemble(&content, pieces));
            }
        }
        self.cache.put(id, &content);
        Ok(content)
    }

    /// The content of a tree or a commit.
    pub(crate) fn object(&self, id: Oid, kind: ObjectType) -> Result<Rc<Vec<u8>>, Error> {
        match self.made.get(&id) {
            Some(Made {
                body: Body::Whole(content),
                kind: made,
            }) if *made == kind => Ok(Rc::clone(content)),
            Some(_) => Err(Error::Kind { id, expected: kind }),
            None => Ok(Rc::new(self.stored(id, kind)?)),
        }
    }

    fn odb(&self) -> Result<Odb<'_>, Error> {
        Ok(self.repository.odb()?)
    }

    fn stored(&self, id: Oid, kind: ObjectType) -> Result<Vec<u8>, Error> {
        let odb = self.odb()?;
        let object = odb.read(id)?;
        if object.kind() != kind {
            return Err(Error::Kind { id, expected: kind });
        }
        Ok(object.data().to_vec())
    }

    /// The size of a blob in bytes, without its content where that is cheaper.
    pub(crate) fn blob_size(&mut self, id: Oid) -> Result<usize, Error> {
        if self.made.contains_key(&id) {
            Ok(self.blob(id)?.len())
        } else {
            Ok(self.odb()?.read_header(id)?.0)
        }
    }

    /// The one blob whose name begins so, if there is one.
    pub(crate) fn find_blob(&self, prefix: &str) -> Option<Oid> {
        let odb = self.odb().ok()?;
        let mut made = self.made.iter().filter(|(id, made)| {
            made.kind == ObjectType::Blob && id.to_string().starts_with(prefix)
        });
        let stored = Oid::from_str(prefix)
            .and_then(|short| odb.exists_prefix(short, prefix.len()))
            .ok();
        let stored = stored.filter(|id| {
            odb.read_header(*id)
                .is_ok_and(|(_, kind)| kind == ObjectType::Blob)
        });
        match (made.next().map(|(id, _)| *id), made.next(), stored) {
            (Some(id), None, None) | (None, None, Some(id)) => Some(id),
            (Some(id), None, Some(stored)) if id == stored => Some(id),
            _ => None,
        }
    }

    pub(crate) fn put(&mut self, kind: ObjectType, content: Vec<u8>) -> Result<Oid, Error> {
        let id = name(kind, &content)?;
        let content = Rc::new(content);
        if kind == ObjectType::Blob {
            self.cache.put(id, &content);
        }
        self.made.entry(id).or_insert(Made {
            kind,
            body: Body::Whole(content),
        });
        Ok(id)
    }

    /// Takes in a blob that is made of pieces of the blob `from`.
    pub(crate) fn put_pieces(&mut self, from: Oid, pieces: Vec<Piece>) -> Result<Oid, Error> {
        let content = Rc::new(assemble(&self.blob(from)?, &pieces));
        let id = name(ObjectType::Blob, &content)?;
        self.cache.put(id, &content);
        // Never over one that there is: a change that undoes an earlier one would become its own
        // origin.
        if !self.made.contains_key(&id) && !self.odb()?.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            let body = Body::Pieces(from, pieces.into_boxed_slice());
            self.made.insert(
                id,
                Made {
                    kind: ObjectType::Blob,
                    body,
                },
            );
        }
        Ok(id)
    }

    /// Takes in a blob that has much in common with the blob `near`.
    pub(crate) fn put_near(&mut self, near: Oid, content: &[u8]) -> Result<Oid, Error> {
        let from = self.blob(near)?;
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
        self.put_pieces(near, pieces)
    }

    /// Whether the object was made here and not written yet.
    pub(crate) fn is_made(&self, id: Oid) -> bool {
        self.made.contains_key(&id)
    }

    /// Writes an object that was made here into the repository.
    pub(crate) fn write(&mut self, id: Oid) -> Result<(), Error> {
        let Some(made) = self.made.get(&id) else {
            return Ok(());
        };
        let kind = made.kind;
        let content = if kind == ObjectType::Blob {
            self.blob(id)?
        } else {
            self.object(id, kind)?
        };
        self.odb()?.write(kind, &content)?;
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
    contents: HashMap<Oid, Rc<Vec<u8>>>,
    order: VecDeque<Oid>,
    size: usize,
}

impl Cache {
    fn get(&self, id: Oid) -> Option<Rc<Vec<u8>>> {
        self.contents.get(&id).map(Rc::clone)
    }

    fn put(&mut self, id: Oid, content: &Rc<Vec<u8>>) {
        if self.contents.insert(id, Rc::clone(content)).is_some() {
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
                .map_or(0, |content| content.len());
        }
    }
}
