//! Scalars of the rules: durations, sizes, shares. Each reads its text strictly and shows it again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Why a scalar was refused. The text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a whole number with a time unit.
    #[error("`{0}` is not a duration; write a whole number and a unit, such as 250ms, 10s or 1m")]
    Period(String),
    /// Not a whole number with a binary size unit.
    #[error("`{0}` is not a size; write a whole number and a unit, such as 0B, 64KiB or 1MiB")]
    Size(String),
    /// Not a share of up to 100 % in steps of 0.0001 %.
    #[error(
        "`{0}` is not a share; write a number from 0 to 100 with up to four decimals and %, such as 10% or 0.1%"
    )]
    Percent(String),
    /// Not an IP address with a port number.
    #[error("`{0}` is not an address with a port; write 10.0.0.1:80 or \"[fd00::1]:80\"")]
    SocketAddress(String),
    /// Neither an IP address nor a name with a port number.
    #[error(
        "`{0}` is not an address or a name with a port; write 10.0.0.1:80, \"[fd00::1]:80\" or cart.internal:80"
    )]
    EndpointAddress(String),
    /// Not an IP address with a prefix length.
    #[error("`{0}` is not an address with a prefix length; write 10.0.0.1/24 or \"fd00::1/64\"")]
    Cidr(String),
    /// Not an IP address.
    #[error("`{0}` is not an IP address; write 10.0.0.1 or \"fd00::1\"")]
    Address(String),
}

/// Gives a type that is text in YAML its serde and schema by way of `FromStr` and `Display`.
macro_rules! text_scalar {
    ($type:ident, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

pub(super) use text_scalar;

/// A length of time: `250ms`, `10s`, `1m`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

text_scalar!(Period, {
    "description": "A length of time: a whole number and ms, s, m or h.",
    "type": "string",
    "pattern": "^[0-9]+(ms|s|m|h)$",
    "examples": ["250ms", "10s", "1m"]
});

/// Milliseconds per unit, largest first so that `Display` finds the shortest text.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        scaled(text, &TIME_UNITS)
            .map(|millis| Period(Duration::from_millis(millis)))
            .ok_or_else(|| UnitError::Period(text.to_owned()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        show_scaled(f, millis, &TIME_UNITS)
    }
}

/// An amount of memory in bytes: `512B`, `64KiB`, `1MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

text_scalar!(Size, {
    "description": "An amount of memory: a whole number and B, KiB, MiB or GiB.",
    "type": "string",
    "pattern": "^[0-9]+(B|KiB|MiB|GiB)$",
    "examples": ["64KiB", "1MiB"]
});

/// Bytes per unit, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        scaled(text, &SIZE_UNITS)
            .map(Size)
            .ok_or_else(|| UnitError::Size(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_scaled(f, self.0, &SIZE_UNITS)
    }
}

/// A share: `100%`, `10%`, `0.1%`, in steps of 0.0001 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

text_scalar!(Percent, {
    "description": "A share: a number from 0 to 100 with up to four decimals, and %.",
    "type": "string",
    "pattern": "^[0-9]+([.][0-9]{1,4})?%$",
    "examples": ["100%", "10%", "0.1%"]
});

impl Percent {
    /// The whole.
    pub const ALL: Percent = Percent(1_000_000);

    /// Parts per million: 0 to 1,000,000.
    pub fn per_million(self) -> u32 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parsed = || {
            let number = text.strip_suffix('%')?;
            let (whole, decimals) = match number.split_once('.') {
                Some((_, "")) => return None,
                Some(parts) => parts,
                None => (number, ""),
            };
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 4 {
                return None;
            }
            let millionths: u32 = format!("{decimals:0<4}").parse().ok()?;
            let share = whole
                .parse::<u32>()
                .ok()?
                .checked_mul(10_000)?
                .checked_add(millionths)?;
            (share <= Self::ALL.0).then_some(Percent(share))
        };
        parsed().ok_or_else(|| UnitError::Percent(text.to_owned()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:04}", self.0 % 10_000);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{}{point}{decimals}%", self.0 / 10_000)
    }
}

/// `<digits><unit>` as a multiple of the unit's worth; nothing else, and no overflow.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let (_, worth) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*worth)
}

fn show_scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, worth): &&(&str, u64)| value.is_multiple_of(*worth) && value >= *worth;
    match units.iter().find(fits).or(units.last()) {
        Some((name, worth)) => write!(f, "{}{name}", value / worth),
        None => write!(f, "{value}"),
    }
}

/// Digits alone: `parse` would also take a sign.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_and_show_the_same_text() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("1m", 60_000),
            ("2h", 7_200_000),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.0, Duration::from_millis(millis));
            assert_eq!(period.to_string(), text);
        }
        assert_eq!("1500ms".parse::<Period>().unwrap().to_string(), "1500ms");
        assert_eq!("60s".parse::<Period>().unwrap().to_string(), "1m");
        assert_eq!("0s".parse::<Period>().unwrap().to_string(), "0ms");
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "1.5s",
            "-1s",
            "+1s",
            "5S",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "٣s",
        ] {
            assert_eq!(text.parse::<Period>(), Err(UnitError::Period(text.into())));
        }
    }

    #[test]
    fn shares_read_and_show_the_same_text() {
        for (text, millionths) in [
            ("100%", 1_000_000),
            ("10%", 100_000),
            ("0.1%", 1_000),
            ("0.0001%", 1),
            ("33.3333%", 333_333),
            ("0%", 0),
        ] {
            let share: Percent = text.parse().unwrap();
            assert_eq!(share.per_million(), millionths);
            assert_eq!(share.to_string(), text);
        }
        for text in [
            "",
            "%",
            "10",
            "0.1",
            "100.0001%",
            "101%",
            "-1%",
            "+1%",
            "1.%",
            ".5%",
            "0.00001%",
            "1.5.5%",
            "1 %",
            "99999999999%",
            "٣%",
        ] {
            assert_eq!(
                text.parse::<Percent>(),
                Err(UnitError::Percent(text.into()))
            );
        }
    }

    #[test]
    fn sizes_read_and_show_the_same_text() {
        for (text, bytes) in [
            ("512B", 512),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("3GiB", 3 << 30),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), text);
        }
        for text in ["", "64", "64KB", "64k", "KiB", "64 KiB", "99999999999GiB"] {
            assert_eq!(text.parse::<Size>(), Err(UnitError::Size(text.into())));
        }
    }
}
