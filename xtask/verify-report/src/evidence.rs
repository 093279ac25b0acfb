// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text that `attest` prints in the guest.
//!
//! A line `name: value` has a short value. Where the value is missing, it follows on indented lines.
//! Everything else is for people.

use anyhow::{Context as _, Result, ensure};

use crate::hex;

/// What the guest hands over. None of it is to be believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The report as the firmware made it.
    pub(crate) report: Vec<u8>,
    /// The host's certificate table.
    pub(crate) certificates: Vec<u8>,
    /// The SVSM's services manifest, if the SVSM was asked.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The nonce that the guest says it used.
    pub(crate) nonce: Vec<u8>,
}

impl Evidence {
    /// Finds all parts in `text`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let needed = |name| {
            let digits = field(text, name)?.with_context(|| format!("there is no `{name}:`"))?;
            hex::bytes(&digits).with_context(|| format!("`{name}:`"))
        };
        let manifest = match field(text, "manifest")? {
            Some(digits) => Some(hex::bytes(&digits).context("`manifest:`")?),
            None => None,
        };
        Ok(Self {
            report: needed("report")?,
            certificates: needed("certificates")?,
            manifest,
            nonce: needed("nonce")?,
        })
    }
}

/// The value of `name`, without the spaces in it.
fn field(text: &str, name: &str) -> Result<Option<String>> {
    let mut found = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(':'))
        else {
            continue;
        };
        ensure!(found.is_none(), "`{name}:` is there twice");
        let mut value = rest.trim().to_owned();
        while let Some(more) = lines.next_if(|next| next.starts_with(' ')) {
            value.push_str(more.trim());
        }
        found = Some(value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "For people.\n\nvmpl: 0\nnonce: 0102\nreport:\n  aabb\n  cc\n\ncertificates:\n  00\n";

    #[test]
    fn finds_the_parts() {
        let evidence = Evidence::parse(TEXT).unwrap();
        assert_eq!(evidence.report, [0xAA, 0xBB, 0xCC]);
        assert_eq!(evidence.certificates, [0]);
        assert_eq!(evidence.nonce, [1, 2]);
        assert_eq!(evidence.manifest, None);
        let with_manifest = format!("{TEXT}manifest:\n  05\n");
        let evidence = Evidence::parse(&with_manifest).unwrap();
        assert_eq!(evidence.manifest, Some(vec![5]));
    }

    #[test]
    fn refuses_what_is_missing_broken_or_ambiguous() {
        assert!(Evidence::parse("").is_err());
        assert!(Evidence::parse(&TEXT.replace("nonce", "once")).is_err());
        assert!(Evidence::parse(&TEXT.replace("cc", "cx")).is_err());
        assert!(Evidence::parse(&format!("{TEXT}nonce: 03\n")).is_err());
        assert!(Evidence::parse(&format!("{TEXT}manifest: 0\n")).is_err());
    }
}
