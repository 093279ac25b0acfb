// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to the text of a declaration, in place: remarks and order stay as a person wrote them.

use super::{Declaration, Error, Part};

/// The text with the branch's part on another base.
///
/// # Errors
/// The text, or what it became, is no good declaration.
pub fn with_base(text: &str, branch: &str, project: &str, base: &str) -> Result<String, Error> {
    let span = part(&Declaration::parse(text)?, text, branch, project)?
        .base_span
        .clone();
    let mut changed = text.to_owned();
    changed.replace_range(span, &quoted(base));
    Declaration::parse(&changed)?;
    Ok(changed)
}

/// The text with a new series, which comes before the branch's own ones if it has a message-id.
///
/// # Errors
/// The text, or what it became, is no good declaration.
pub fn with_series(
    text: &str,
    branch: &str,
    project: &str,
    name: &str,
    description: &str,
    message_id: Option<&str>,
) -> Result<String, Error> {
    let declared = Declaration::parse(text)?;
    let part = part(&declared, text, branch, project)?;
    let mut names = part.series.clone();
    let at = if message_id.is_some() {
        let series = &declared.projects[project].series;
        names
            .iter()
            .position(|name| series[name].message_id.is_none())
            .unwrap_or(names.len())
    } else {
        names.len()
    };
    names.insert(at, name.to_owned());
    let list: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    let mut changed = text.to_owned();
    changed.replace_range(part.series_span.clone(), &format!("[{}]", list.join(", ")));
    changed.push_str(&series_table(project, name, description, message_id));
    Declaration::parse(&changed)?;
    Ok(changed)
}

/// The text with a new branch of one new series.
///
/// # Errors
/// The text, or what it became, is no good declaration.
pub fn with_branch(
    text: &str,
    branch: &str,
    project: &str,
    base: &str,
    series: &str,
    description: &str,
) -> Result<String, Error> {
    let declared = Declaration::parse(text)?;
    let mut changed = text.trim_end().to_owned() + "\n";
    if declared
        .projects
        .get(project)
        .is_some_and(|project| !project.series.contains_key(series))
    {
        changed.push_str(&series_table(project, series, description, None));
    }
    changed.push_str(&format!(
        "\n[branch.{}]\ndescription = {}\n[branch.{}.{}]\nbase = {}\nseries = [{}]\n",
        key(branch),
        quoted(description),
        key(branch),
        key(project),
        quoted(base),
        quoted(series),
    ));
    Declaration::parse(&changed)?;
    Ok(changed)
}

fn part<'d>(
    declared: &'d Declaration,
    text: &str,
    branch: &str,
    project: &str,
) -> Result<&'d Part, Error> {
    declared
        .branch(branch)
        .and_then(|branch| branch.part(Some(project)))
        .map(|(_, part)| part)
        .map_err(|why| Error::at(text, 0, why))
}

fn series_table(project: &str, name: &str, description: &str, message_id: Option<&str>) -> String {
    let mut text = format!(
        "\n[project.{}.series.{}]\ndescription = {}\n",
        key(project),
        key(name),
        quoted(description)
    );
    if let Some(id) = message_id {
        text.push_str(&format!("message-id = {}\n", quoted(id)));
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A name as a key: bare if TOML allows it.
fn key(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TOML;

    #[test]
    fn remarks_stay() {
        let text = with_base(TOML, "b", "p", "v2").unwrap();
        assert_eq!(text, TOML.replace("base = \"v1\" #", "base = \"v2\" #"));
        assert!(with_base(TOML, "b", "p", "v9").is_err());

        let text = with_series(TOML, "b", "p", "theirs", "a \"thing\"", Some("1@x")).unwrap();
        let declared = Declaration::parse(&text).unwrap();
        assert_eq!(declared.branches["b"].parts["p"].series, ["theirs", "ours"]);
        assert_eq!(
            declared.projects["p"].series["theirs"].description,
            "a \"thing\""
        );
        assert!(text.starts_with("# A remark that stays."));

        let text = with_branch(TOML, "new", "p", "v1", "fresh", "fresh").unwrap();
        let declared = Declaration::parse(&text).unwrap();
        assert_eq!(declared.branches["new"].parts["p"].series, ["fresh"]);
        assert!(with_branch(TOML, "b", "p", "v1", "fresh", "fresh").is_err());
        assert!(with_branch(TOML, "new", "q", "v1", "fresh", "fresh").is_err());
    }
}
