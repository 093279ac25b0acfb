// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stack: what a host and its guest are made of, each part from a branch, from a command, or
//! from nowhere yet.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::{Branch, Error, nearest_name};

/// What a platform takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The platform's name.
    pub name: String,
    /// One line on what it is.
    pub description: String,
    /// Its parts, in order.
    pub parts: Vec<StackPart>,
}

/// A part of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPart {
    /// What it is: `kernel`, `qemu`.
    pub name: String,
    /// Where it comes from.
    pub from: From,
}

/// Where a part of a stack comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A branch of one project; its build has a product.
    Branch {
        /// The branch.
        branch: String,
    },
    /// A command that is run in the folder of the declaration.
    Command {
        /// The command.
        command: Vec<String>,
        /// What it writes, relative to the folder.
        product: String,
        /// Folders and files that it depends on, relative to the folder.
        sources: Vec<String>,
    },
    /// None is used, for this reason.
    None {
        /// The reason, for people.
        reason: String,
    },
}

impl Stack {
    pub(super) fn read(
        name: &str,
        fields: &Fields<'_>,
        branches: &BTreeMap<String, Branch>,
    ) -> Result<Self, Error> {
        let stack = Self {
            name: name.to_owned(),
            description: fields.text("description")?,
            parts: fields
                .list("part")?
                .iter()
                .map(|part| StackPart::read(part, branches))
                .collect::<Result<_, _>>()?,
        };
        fields.end(&[])?;
        if stack.parts.is_empty() {
            return Err(fields.missing("part"));
        }
        Ok(stack)
    }
}

impl StackPart {
    fn read(fields: &Fields<'_>, branches: &BTreeMap<String, Branch>) -> Result<Self, Error> {
        let name = fields.text("name")?;
        let branch = fields.optional_text("branch")?;
        let command = fields.texts("command")?;
        let product = fields.optional_text("product")?;
        let sources = fields.texts("sources")?;
        let none = fields.optional_text("none")?;
        fields.end(&[])?;
        let from = match (branch, command.is_empty(), product, none) {
            (Some(branch), true, None, None) => {
                let Some(declared) = branches.get(&branch) else {
                    return Err(fields.wrong(nearest_name(
                        "branch",
                        &branch,
                        branches.keys().map(String::as_str),
                    )));
                };
                declared.part(None).map_err(|why| fields.wrong(why))?;
                From::Branch { branch }
            }
            (None, false, Some(product), None) => From::Command {
                command,
                product,
                sources,
            },
            (None, true, None, Some(reason)) => From::None { reason },
            _ => {
                return Err(fields.wrong(
                    "a part is from a `branch`, or from a `command` with its `product`, or has a reason why `none` is used",
                ));
            }
        };
        Ok(Self { name, from })
    }
}
