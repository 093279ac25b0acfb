// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TOML table, read key by key. Each key that is asked for is remembered, so that at the end an
//! unknown one can be refused with its line and the nearest key that would have been known.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Error;

/// A table and what has been asked of it.
pub(crate) struct Fields<'a> {
    text: &'a str,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The top of the document `text`.
    pub(crate) fn top(text: &'a str, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            text,
            path: String::new(),
            span: table.span(),
            table: table.get_ref(),
            known: RefCell::default(),
        }
    }

    /// What this table is called, for messages: `project.linux`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// An error at this table.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::at(self.text, self.span.start, message)
    }

    fn find(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    fn named(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn mistyped(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Error {
        Error::at(
            self.text,
            value.span().start,
            format!(
                "`{}` is {} and has to be {wanted}",
                self.named(key),
                article(value.get_ref().type_str())
            ),
        )
    }

    /// A text, if the key is there.
    pub(crate) fn optional_text(&self, key: &'static str) -> Result<Option<String>, Error> {
        Ok(self.spanned_text(key)?.map(|(text, _)| text))
    }

    /// A text and where in the file it stands, quotes included.
    pub(crate) fn spanned_text(
        &self,
        key: &'static str,
    ) -> Result<Option<(String, Range<usize>)>, Error> {
        match self.find(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::String(text) => Ok(Some((text.to_string(), value.span()))),
                _ => Err(self.mistyped(key, value, "a text")),
            },
        }
    }

    /// A text that has to be there.
    pub(crate) fn text(&self, key: &'static str) -> Result<String, Error> {
        self.optional_text(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error that `key` is not there.
    pub(crate) fn missing(&self, key: &str) -> Error {
        let known = self.known.borrow();
        let others = self.table.iter().filter(|(name, _)| {
            let name: &str = name.get_ref();
            !known.contains(&name)
        });
        // A key that was misspelt is missing and unknown; the second says more.
        for (name, _) in others {
            if nearest(name.get_ref(), std::iter::once(key)).is_some() {
                return self.unknown(name, &format!("did you mean `{key}`?"));
            }
        }
        self.wrong(format!(
            "{} has no `{key}`",
            if self.path.is_empty() {
                "the file".to_owned()
            } else {
                format!("`{}`", self.path)
            }
        ))
    }

    /// True or false; false if the key is not there.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, Error> {
        match self.find(key) {
            None => Ok(false),
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => Ok(*flag),
                _ => Err(self.mistyped(key, value, "true or false")),
            },
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn optional_number(&self, key: &'static str) -> Result<Option<u64>, Error> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number
            .map(Some)
            .ok_or_else(|| self.mistyped(key, value, "a whole number"))
    }

    /// A list of texts; empty if the key is not there.
    pub(crate) fn texts(&self, key: &'static str) -> Result<Vec<String>, Error> {
        let Some(value) = self.find(key) else {
            return Ok(Vec::new());
        };
        self.texts_of(key, value)
    }

    /// A list of texts and where in the file it stands, brackets included.
    pub(crate) fn spanned_texts(
        &self,
        key: &'static str,
    ) -> Result<(Vec<String>, Range<usize>), Error> {
        let value = self.find(key).ok_or_else(|| self.missing(key))?;
        Ok((self.texts_of(key, value)?, value.span()))
    }

    fn texts_of(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Error> {
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.mistyped(key, value, "a list of texts"));
        };
        items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(self.mistyped(key, item, "a text")),
            })
            .collect()
    }

    /// A list of lists of texts; empty if the key is not there.
    pub(crate) fn text_lists(&self, key: &'static str) -> Result<Vec<Vec<String>>, Error> {
        let Some(value) = self.find(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.mistyped(key, value, "a list of lists of texts"));
        };
        items.iter().map(|item| self.texts_of(key, item)).collect()
    }

    fn table_of(&self, name: String, value: &'a Spanned<DeValue<'a>>) -> Result<Fields<'a>, Error> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(Fields {
                text: self.text,
                path: name,
                span: value.span(),
                table,
                known: RefCell::default(),
            }),
            other => Err(Error::at(
                self.text,
                value.span().start,
                format!(
                    "`{name}` is {} and has to be a table",
                    article(other.type_str())
                ),
            )),
        }
    }

    /// The table `key`, if it is there.
    pub(crate) fn optional_table(&self, key: &'static str) -> Result<Option<Fields<'a>>, Error> {
        self.find(key)
            .map(|value| self.table_of(self.named(key), value))
            .transpose()
    }

    /// A list of tables; empty if the key is not there.
    pub(crate) fn list(&self, key: &'static str) -> Result<Vec<Fields<'a>>, Error> {
        let Some(value) = self.find(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.mistyped(key, value, "a list of tables"));
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.table_of(format!("{}[{index}]", self.named(key)), item))
            .collect()
    }

    /// The tables below `key`, by name: `[project.linux]` and its like.
    pub(crate) fn children(&self, key: &'static str) -> Result<Vec<(String, Fields<'a>)>, Error> {
        match self.optional_table(key)? {
            None => Ok(Vec::new()),
            Some(table) => table.all(|_| true),
        }
    }

    /// The tables of this one whose names `wanted` knows.
    pub(crate) fn all(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Fields<'a>)>, Error> {
        let mut children: Vec<_> = self
            .table
            .iter()
            .filter(|(name, _)| wanted(name.get_ref()))
            .collect();
        children.sort_by_key(|(name, _)| name.span().start);
        children
            .into_iter()
            .map(|(name, value)| {
                let name = name.get_ref().to_string();
                let fields = self.table_of(self.named(&name), value)?;
                Ok((name, fields))
            })
            .collect()
    }

    fn unknown(&self, key: &Spanned<std::borrow::Cow<'_, str>>, advice: &str) -> Error {
        let place = if self.path.is_empty() {
            String::new()
        } else {
            format!(" in `{}`", self.path)
        };
        Error::at(
            self.text,
            key.span().start,
            format!("unknown key `{}`{place}; {advice}", key.get_ref()),
        )
    }

    /// Refuses keys that nobody asked for and that are not among `also`.
    pub(crate) fn end(&self, also: &[String]) -> Result<(), Error> {
        let known = self.known.borrow();
        let names = || known.iter().copied().chain(also.iter().map(String::as_str));
        for (key, _) in self.table {
            let found: &str = key.get_ref();
            if names().any(|name| name == found) {
                continue;
            }
            let advice = match nearest(found, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "known are {}",
                    names()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            return Err(self.unknown(key, &advice));
        }
        Ok(())
    }
}

/// The name most like `found`, if one is like it at all.
pub(crate) fn nearest<'n>(found: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, name)| distance <= name.chars().count().max(3) / 2)
        .map(|(_, name)| name)
}

fn article(kind: &str) -> String {
    match kind {
        "array" => "a list".to_owned(),
        "integer" => "a number".to_owned(),
        "string" => "a text".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => format!("a {other}"),
    }
}
