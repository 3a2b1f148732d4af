//! One value, as its key's kind accepts it, from TOML or from text.

use std::num::IntErrorKind;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeArray, DeValue};
use zeroize::Zeroizing;

use super::fault::{Place, Problem};
use super::keys::Preset;
use super::span;

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Secret,
    Path,
    OneOf(&'static [&'static str]),
    Switch,
    Count { min: u64, max: u64 },
    Span { min: Duration, max: Duration },
    List,
}

/// A value that its kind accepts. No `Debug`, because one variant is a secret.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Secret(Zeroizing<String>),
    Switch(bool),
    Count(u64),
    Span { duration: Duration, written: String },
    List(Vec<Item>),
}

/// An entry of a list; lists may have one entry a line, or be put together from two places.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) place: Place,
}

impl Value {
    /// Whether this is the empty text by which a key is left unset.
    pub(super) fn is_unset(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Secret(text) => text.is_empty(),
            _ => false,
        }
    }
}

impl Kind {
    pub(super) fn preset(self, preset: Preset) -> Result<Value, Problem> {
        match preset {
            Preset::Text(text) => self.text(text, &Place::Default),
            Preset::Count(count) => Ok(Value::Count(count)),
            Preset::Switch(on) => Ok(Value::Switch(on)),
            Preset::List(items) => Ok(list(items.iter().copied(), &Place::Default)),
        }
    }

    /// Reads a value from text, as an environment variable or a flag gives it. A list is separated by commas, or
    /// a TOML array where an entry holds a comma itself.
    pub(super) fn text(self, text: &str, place: &Place) -> Result<Value, Problem> {
        match self {
            Self::Text | Self::Path => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(Zeroizing::new(text.to_owned()))),
            Self::OneOf(choices) if choices.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::OneOf(_) => Err(Problem::new(format!("{text:?} is not a choice"), self.remedy())),
            Self::Switch => match text {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                _ => Err(Problem::new(format!("{text:?} is neither"), self.remedy())),
            },
            Self::Count { .. } => self.count(text, 10),
            Self::Span { .. } => self.span(text),
            Self::List if text.trim_start().starts_with('[') => match DeValue::parse(text) {
                Ok(value) => self.toml(value.get_ref(), &|_| place.clone()),
                Err(_) => Err(Problem::new("is not a TOML array", self.remedy())),
            },
            // Whether nothing or no entry is meant, it could be the protection of every user that depends on it.
            Self::List if text.trim().is_empty() => {
                Err(Problem::new("is empty", "write [] for no entry, or unset it"))
            }
            Self::List => Ok(list(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()),
                place,
            )),
        }
    }

    /// Reads a value from a TOML file; `place` turns a span of bytes into file and line.
    pub(super) fn toml(
        self,
        value: &DeValue<'_>,
        place: &dyn Fn(Range<usize>) -> Place,
    ) -> Result<Value, Problem> {
        match (self, value) {
            (Self::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
            (Self::Count { .. }, DeValue::Integer(count)) => self.count(count.as_str(), count.radix()),
            (Self::List, DeValue::Array(items)) => self.items(items, place),
            (Self::Switch | Self::Count { .. } | Self::List, _) => Err(self.mistyped(value)),
            (_, DeValue::String(text)) => self.text(text, &place(0..0)),
            _ => Err(self.mistyped(value)),
        }
    }

    /// What a number or a length of time may be, for the reference.
    pub(super) fn bounds(self) -> Option<String> {
        match self {
            Self::Count { min, max } => Some(format!("{min} to {max}.")),
            Self::Span { min, max } => Some(format!("{} to {}.", span::shown(min), span::shown(max))),
            _ => None,
        }
    }

    fn items(self, items: &DeArray<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Result<Value, Problem> {
        let read = |item: &toml::Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Ok(Item {
                text: text.to_string(),
                place: place(item.span()),
            }),
            other => Err(self.mistyped(other)),
        };
        items.iter().map(read).collect::<Result<_, _>>().map(Value::List)
    }

    fn count(self, digits: &str, radix: u32) -> Result<Value, Problem> {
        let Self::Count { min, max } = self else {
            return Err(Problem::new("is not a number", self.remedy()));
        };
        let refused = |what: &str| Err(Problem::new(format!("{digits:?} {what}"), self.remedy()));
        let is_negative = digits
            .strip_prefix('-')
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)));
        match u64::from_str_radix(digits, radix) {
            Ok(count) if (min..=max).contains(&count) => Ok(Value::Count(count)),
            Ok(count) if count > max => refused("is too large"),
            Ok(_) => refused("is too small"),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => refused("is too large"),
            Err(_) if is_negative => refused("is too small"),
            Err(_) => refused("is not a number"),
        }
    }

    fn span(self, text: &str) -> Result<Value, Problem> {
        let duration = span::parse(text)?;
        match self {
            Self::Span { min, .. } if duration < min => Err(Problem::new(
                format!("{text:?} is too short"),
                format!("write at least \"{}\"", span::shown(min)),
            )),
            Self::Span { max, .. } if duration > max => Err(Problem::new(
                format!("{text:?} is too long"),
                format!("write at most \"{}\"", span::shown(max)),
            )),
            _ => Ok(Value::Span {
                duration,
                written: text.to_owned(),
            }),
        }
    }

    /// Names the types only: the value may be a secret in the wrong place.
    fn mistyped(self, found: &DeValue<'_>) -> Problem {
        Problem::new(format!("is {}", type_name(found)), self.remedy())
    }

    fn remedy(self) -> String {
        match self {
            Self::Text | Self::Secret | Self::Path => "write a text in double quotes".to_owned(),
            Self::OneOf(choices) => format!("choose one of {}", choices.join(", ")),
            Self::Switch => "write true or false".to_owned(),
            Self::Count { min, max } => format!("write a whole number from {min} to {max}"),
            Self::Span { .. } => "write a length of time in double quotes, such as \"5s\"".to_owned(),
            Self::List => "write a list of texts, such as [\"one\", \"two\"]".to_owned(),
        }
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>, place: &Place) -> Value {
    let item = |text: &str| Item {
        text: text.to_owned(),
        place: place.clone(),
    };
    Value::List(items.map(item).collect())
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
