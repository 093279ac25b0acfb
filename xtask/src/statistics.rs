// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short table at the end of a run, from the statistics that the emulator logs.
#![forbid(unsafe_code)]

use serde_json::Value;

/// The table for the statistics `lines`, a JSON object each; empty if there are none.
pub(crate) fn table(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) {
            for (key, value) in object {
                text.push_str(&format!("{key:>24}  {value}\n"));
            }
        }
    }
    text
}
