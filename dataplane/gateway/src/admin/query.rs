//! The part of a path behind its question mark, as `name=value&...`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What is wrong with a query, for the person who typed it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// A name that the path does not have.
    #[error("there is no parameter {name:?}; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A value that its parameter cannot have.
    #[error("{name}={value}: must be {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: String,
    },
}

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Takes a query apart; `known` are the names it may have. No value that is wanted anywhere has a
    /// character that would have to be escaped, so nothing is.
    pub(super) fn parse(text: &'a str, known: &[&str]) -> Result<Self, QueryError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = Query(pairs.collect());
        match query.0.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(QueryError::Unknown {
                name: (*name).to_owned(),
                known: known.join(", "),
            }),
            None => Ok(query),
        }
    }

    /// The last value given for a parameter, read by `read`; `None` where there is none.
    pub(super) fn get<T>(
        &self,
        name: &'static str,
        wanted: impl Display,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Some((_, value)) = self.0.iter().rfind(|(given, _)| *given == name) else {
            return Ok(None);
        };
        let wrong = || QueryError::Value {
            name,
            value: (*value).to_owned(),
            wanted: wanted.to_string(),
        };
        read(value).ok_or_else(wrong).map(Some)
    }

    /// A number within bounds, `default` where none is given.
    pub(super) fn number<N>(
        &self,
        name: &'static str,
        bounds: RangeInclusive<N>,
        default: N,
    ) -> Result<N, QueryError>
    where
        N: FromStr + PartialOrd + Display,
    {
        let wanted = format!("a number from {} to {}", bounds.start(), bounds.end());
        let read = |value: &str| value.parse().ok().filter(|number| bounds.contains(number));
        Ok(self.get(name, wanted, read)?.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_defaults_fill_in() {
        let query = Query::parse("a=1&b=x&a=2&", &["a", "b", "c"]).unwrap();
        assert_eq!(query.number("a", 0..=9, 5), Ok(2));
        assert_eq!(query.number("c", 0..=9, 5), Ok(5));
        let read = |value: &str| Some(value.to_owned());
        assert_eq!(query.get("b", "text", read), Ok(Some("x".into())));
        assert!(Query::parse("", &[]).is_ok());
    }

    #[test]
    fn mistakes_are_said_with_what_would_be_right() {
        let error = Query::parse("limt=3", &["limit", "from"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no parameter \"limt\"; there are: limit, from"
        );
        for text in ["limit=0", "limit=11", "limit=x", "limit"] {
            let query = Query::parse(text, &["limit"]).unwrap();
            let error = query.number("limit", 1..=10, 3).unwrap_err().to_string();
            assert!(error.ends_with("must be a number from 1 to 10"), "{error}");
        }
    }
}
