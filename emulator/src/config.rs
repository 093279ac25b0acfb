// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator's options: `key=value` lines ([`emulator_defs::config`] has the keys). What is
//! missing has a default where one makes sense; what is unknown or wrong is refused.

use core::fmt;

use emulator_defs::{config as keys, layout};
use log::LevelFilter;
use snp_defs::rmp::RmpSize;

/// Options of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes of guest memory.
    pub memory: u64,
    /// Number of vCPUs.
    pub cpus: u32,
    /// VMPL that gets interrupts of devices.
    pub guest_vmpl: u8,
    /// Largest page that the host assigns on its own.
    pub page_size: RmpSize,
    /// Whether to log every interval that VMPL0 executes.
    pub bench: bool,
    /// Lowest level that is logged.
    pub log: LevelFilter,
    /// Seed of everything that is random in the emulated machine.
    pub seed: u64,
}

/// What is wrong with the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<'a> {
    /// The text is not UTF-8.
    NotText,
    /// A line is no `key=value`.
    NoValue(&'a str),
    /// No such key.
    UnknownKey(&'a str),
    /// The value is out of range or has the wrong form.
    BadValue(&'a str, &'a str),
    /// A key without a default is missing.
    Missing(&'static str),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => write!(f, "the options are not text"),
            Self::NoValue(line) => write!(f, "`{line}` is no `key=value`"),
            Self::UnknownKey(key) => write!(f, "there is no option `{key}`"),
            Self::BadValue(key, value) => write!(f, "option `{key}` can't be `{value}`"),
            Self::Missing(key) => write!(f, "option `{key}` is missing"),
        }
    }
}

impl core::error::Error for Error<'_> {}

impl Config {
    /// Parses the options.
    ///
    /// ```
    /// # use emulator::config::Config;
    /// let config = Config::parse(b"memory=2147483648\ncpus=4\nguest-vmpl=2\n").unwrap();
    /// assert_eq!(config.cpus, 4);
    /// assert!(Config::parse(b"cpus=4\n").is_err());
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, Error<'_>> {
        let text = core::str::from_utf8(text).map_err(|_| Error::NotText)?;
        let mut memory = None;
        let mut cpus = None;
        let mut config = Self {
            memory: 0,
            cpus: 0,
            guest_vmpl: 0,
            page_size: RmpSize::Size2M,
            bench: false,
            log: LevelFilter::Info,
            seed: 0,
        };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(Error::NoValue(line))?;
            let (key, value) = (key.trim(), value.trim());
            let bad = Error::BadValue(key, value);
            match key {
                keys::KEY_MEMORY => {
                    let range = layout::MIN_GUEST_MEMORY..=layout::MAX_GUEST_MEMORY;
                    let bytes: u64 = value.parse().map_err(|_| bad)?;
                    if !range.contains(&bytes) || !bytes.is_multiple_of(2 * layout::MIB) {
                        return Err(bad);
                    }
                    memory = Some(bytes);
                }
                keys::KEY_CPUS => {
                    let number: u32 = value.parse().map_err(|_| bad)?;
                    if !(1..=layout::MAX_VCPUS).contains(&number) {
                        return Err(bad);
                    }
                    cpus = Some(number);
                }
                keys::KEY_GUEST_VMPL => {
                    config.guest_vmpl = value.parse().map_err(|_| bad)?;
                    if config.guest_vmpl > 3 {
                        return Err(bad);
                    }
                }
                keys::KEY_PAGE_SIZE => {
                    config.page_size = match value {
                        "4k" => RmpSize::Size4K,
                        "2m" => RmpSize::Size2M,
                        _ => return Err(bad),
                    };
                }
                keys::KEY_BENCH => {
                    config.bench = match value {
                        "0" => false,
                        "1" => true,
                        _ => return Err(bad),
                    };
                }
                keys::KEY_LOG => {
                    config.log = match value {
                        "error" => LevelFilter::Error,
                        "warn" => LevelFilter::Warn,
                        "info" => LevelFilter::Info,
                        "debug" => LevelFilter::Debug,
                        _ => return Err(bad),
                    };
                }
                keys::KEY_SEED => config.seed = value.parse().map_err(|_| bad)?,
                _ => return Err(Error::UnknownKey(key)),
            }
        }
        config.memory = memory.ok_or(Error::Missing(keys::KEY_MEMORY))?;
        config.cpus = cpus.ok_or(Error::Missing(keys::KEY_CPUS))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_comments() {
        let config = Config::parse(b"# options\nmemory = 1073741824 # 1 GiB\n\ncpus=2\n").unwrap();
        assert_eq!(config.memory, 1 << 30);
        assert_eq!(config.page_size, RmpSize::Size2M);
        assert_eq!(config.log, LevelFilter::Info);
    }

    #[test]
    fn wrong_options_are_refused() {
        for (text, error) in [
            ("cpus=1", Error::Missing("memory")),
            ("memory=1073741824", Error::Missing("cpus")),
            ("memory=1", Error::BadValue("memory", "1")),
            ("cpus=0", Error::BadValue("cpus", "0")),
            ("cpus=65", Error::BadValue("cpus", "65")),
            ("guest-vmpl=4", Error::BadValue("guest-vmpl", "4")),
            ("what=ever", Error::UnknownKey("what")),
            ("nothing", Error::NoValue("nothing")),
        ] {
            assert_eq!(Config::parse(text.as_bytes()), Err(error));
        }
        assert_eq!(Config::parse(&[0xFF]), Err(Error::NotText));
    }
}
