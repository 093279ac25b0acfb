// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a declaration, and where.

use std::fmt;
use std::path::PathBuf;

/// A declaration or lock that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, if the text came from one.
    pub file: Option<PathBuf>,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Error {
    /// An error at the byte `offset` of `text`.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        Self {
            file: None,
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            message: message.into(),
        }
    }

    /// An error that TOML's own reader found.
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        Self::at(text, offset, error.message().trim().replace('\n', ", "))
    }

    /// The same, with the name of the file.
    pub(crate) fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}: {}", file.display(), self.line, self.message),
            None => write!(f, "line {}: {}", self.line, self.message),
        }
    }
}

impl std::error::Error for Error {}
