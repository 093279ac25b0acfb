// SPDX-License-Identifier: MIT OR Apache-2.0
//! The book and the README, held against the tree and against the command line: links lead
//! somewhere, every page is in the summary, every folder of the tree that is named is there, and
//! every `cargo xtask` line that is shown is one that the tool takes.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::{Cli, workspace};

/// A page, and what matters of it here.
struct Page {
    path: PathBuf,
    /// Where its links and pictures lead.
    links: Vec<String>,
    /// The names that links to its headings have.
    anchors: BTreeSet<String>,
    /// Lines of its blocks of code, and its code within lines.
    code: Vec<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut page = Self {
            path: path.to_owned(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            code: Vec::new(),
        };
        let mut heading: Option<String> = None;
        let mut block = false;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors
                        .insert(anchor(&heading.take().unwrap_or_default()));
                }
                Event::Start(Tag::CodeBlock(_)) => block = true,
                Event::End(TagEnd::CodeBlock) => block = false,
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    page.code.push(code.into_string());
                }
                Event::Text(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                    if block {
                        page.code.extend(text.lines().map(str::to_owned));
                    }
                }
                _ => {}
            }
        }
        page
    }
}

/// What mdBook calls a heading in links.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}

/// All pages of the book.
fn pages() -> Vec<Page> {
    fn walk(folder: &Path, pages: &mut Vec<Page>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, pages);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(Page::read(&path));
            }
        }
    }
    let mut pages = Vec::new();
    walk(&workspace::root().join("docs/src"), &mut pages);
    assert!(pages.len() > 10, "the book has lost its pages");
    pages
}

fn readme() -> Page {
    Page::read(&workspace::root().join("README.md"))
}

/// The arguments of the `cargo xtask` calls in a line of code, as a shell would pass them.
fn calls(line: &str) -> Vec<Vec<String>> {
    line.match_indices("cargo xtask")
        .filter_map(|(start, _)| {
            // As a shell reads it: up to a comment, a pipe, a redirection or the end of $(...).
            let words = shlex::split(&line[start..]).unwrap_or_else(|| {
                let end = line[start..].find(')').unwrap_or(line.len() - start);
                shlex::split(&line[start..start + end]).unwrap_or_default()
            });
            let mut call = vec!["cargo xtask".to_owned()];
            for word in words.into_iter().skip(2) {
                match word.as_str() {
                    ">" | "|" | "&&" | ";" => break,
                    _ => {}
                }
                match word.strip_suffix(')') {
                    Some(last) => {
                        call.push(last.to_owned());
                        break;
                    }
                    None => call.push(word),
                }
            }
            (call.len() > 1).then_some(call)
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let pages: Vec<_> = pages().into_iter().chain([readme()]).collect();
    let mut wrong = Vec::new();
    for page in &pages {
        for link in &page.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.path.clone(),
                _ => page.path.parent().unwrap().join(file),
            };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link}: no such file", page.path.display()));
                continue;
            };
            let known = pages.iter().find(|page| page.path == target);
            if !heading.is_empty() && known.is_none_or(|page| !page.anchors.contains(heading)) {
                wrong.push(format!("{}: {link}: no such heading", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_summary_has_every_page() {
    let folder = workspace::root().join("docs/src");
    let summary = Page::read(&folder.join("SUMMARY.md"));
    let listed: BTreeSet<_> = summary.links.iter().map(|link| folder.join(link)).collect();
    let there: BTreeSet<_> = pages()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| !path.ends_with("SUMMARY.md"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn commands_that_are_shown_are_taken() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages().into_iter().chain([readme()]) {
        for call in page.code.iter().flat_map(|line| calls(line)) {
            seen += 1;
            match Cli::try_parse_from(&call) {
                Ok(_) => {}
                Err(error) if !error.use_stderr() => {}
                Err(error) => wrong.push(format!(
                    "{}: {}: {error}",
                    page.path.display(),
                    call.join(" ")
                )),
            }
        }
    }
    assert!(seen > 30, "only {seen} commands found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_that_are_named_are_there() {
    let root = workspace::root();
    let folders: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        // What building writes.
        .filter(|name| name != "target" && name != "out")
        .collect();
    let mut wrong = Vec::new();
    for page in pages().into_iter().chain([readme()]) {
        for code in &page.code {
            // One word that begins with a folder of the tree.
            let Some((folder, _)) = code.split_once('/') else {
                continue;
            };
            if code.contains([' ', '*', '<', '…', '{'])
                || code.contains("NAME")
                || !folders.iter().any(|name| name == folder)
            {
                continue;
            }
            if !root.join(code).exists() {
                wrong.push(format!("{}: {code}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn calls_are_found_in_lines() {
    let words = |line| -> Vec<String> { calls(line).iter().map(|call| call.join(" ")).collect() };
    assert_eq!(
        words("verify a --digest $(cargo xtask measure --cpus 4) --nonce $n"),
        ["cargo xtask measure --cpus 4"]
    );
    assert_eq!(
        words("$ cargo xtask run -- sh -c 'dmesg | grep a' > b   # see"),
        ["cargo xtask run -- sh -c dmesg | grep a"]
    );
    assert!(words("`cargo xtask`").is_empty());
}

#[test]
fn headings_become_anchors() {
    assert_eq!(anchor("What is it, `unsafe`?"), "what-is-it-unsafe");
}
