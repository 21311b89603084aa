//! Rules and requests as the reference understands them: it goes by the words of docs/rules.md, one rule after the
//! other.

use crate::{LISTENERS, PORTS};

/// A rule as the reference understands it.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) order: i32,
    pub(crate) listener: Option<&'static str>,
    pub(crate) host: String,
    pub(crate) path: Path,
    pub(crate) methods: Vec<&'static str>,
    pub(crate) header: Option<Value>,
    pub(crate) query: Option<Value>,
    pub(crate) cookie: Option<Value>,
    pub(crate) source: Option<(&'static str, &'static str)>,
    pub(crate) port: Option<&'static str>,
    pub(crate) lane: Option<&'static str>,
    /// Percent, and whether the value of a header decides.
    pub(crate) sample: Option<(u32, bool)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Path {
    Prefix(String),
    Exact(String),
    /// Segments; `None` is a name.
    Pattern(Vec<Option<&'static str>>),
    /// Anything below a literal, and then digits.
    Digits(String),
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Exact(&'static str),
    Prefix(&'static str),
    Suffix(&'static str),
    Ends(char),
    Range(i64, i64),
    Present(bool),
    NotExact(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) listener: usize,
    pub(crate) source: &'static str,
    pub(crate) method: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) header: Vec<&'static str>,
    pub(crate) query: Option<&'static str>,
    pub(crate) cookie: Option<&'static str>,
    pub(crate) port: usize,
    pub(crate) lane: Option<&'static str>,
    pub(crate) draw: u64,
}

impl Rule {
    /// Whether it takes a request, if it does not leave that to its share.
    pub(crate) fn takes(&self, asked: &Asked) -> bool {
        let host = asked.host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let for_host = match self.host.strip_prefix('*') {
            Some("") => true,
            Some(parent) => host.ends_with(parent) && host.len() > parent.len(),
            None => host == self.host,
        };
        let source = match self.source {
            None => true,
            Some((_, start)) => asked.source.starts_with(start),
        };
        let value = |wanted: &Option<Value>, has: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| wanted.fits(has))
        };
        for_host
            && self.path.takes(&asked.path)
            && self
                .listener
                .is_none_or(|own| own == LISTENERS[asked.listener])
            && (self.methods.is_empty() || self.methods.contains(&asked.method))
            && value(&self.header, &asked.header)
            && value(&self.query, asked.query.as_slice())
            && value(&self.cookie, asked.cookie.as_slice())
            && source
            && self.port.is_none_or(|own| own == PORTS[asked.port])
            && (self.lane.is_none() || self.lane == asked.lane)
    }

    pub(crate) fn yaml(&self, name: usize) -> String {
        let mut rule = format!(
            "  - {{ service: s, name: r{name}, order: {}, host: \"{}\", path: {}",
            self.order,
            self.host,
            self.path.yaml()
        );
        if let Some(listener) = self.listener {
            rule.push_str(&format!(", listener: {listener}"));
        }
        if !self.methods.is_empty() {
            rule.push_str(&format!(", method: [{}]", self.methods.join(", ")));
        }
        let values = [
            ("headers", "x-v", &self.header),
            ("query", "v", &self.query),
            ("cookies", "v", &self.cookie),
        ];
        for (kind, key, value) in values {
            if let Some(value) = value {
                rule.push_str(&format!(", {kind}: {{ {key}: {} }}", value.yaml()));
            }
        }
        if let Some((network, _)) = self.source {
            rule.push_str(&format!(", source: {network}"));
        }
        if let Some(port) = self.port {
            rule.push_str(&format!(", port: {port}"));
        }
        if let Some(lane) = self.lane {
            rule.push_str(&format!(", lane: {lane}"));
        }
        match self.sample {
            Some((share, true)) => {
                rule.push_str(&format!(
                    ", sample: {{ share: {share}%, by: {{ header: x-v }} }}"
                ));
            }
            Some((share, false)) => rule.push_str(&format!(", sample: {share}%")),
            None => {}
        }
        rule + " }\n"
    }
}

impl Path {
    pub(crate) fn takes(&self, path: &str) -> bool {
        match self {
            Path::Prefix(prefix) => {
                let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
                prefix == "/" || path.strip_prefix(prefix.as_str()).is_some_and(below)
            }
            Path::Exact(own) => path == own,
            Path::Pattern(segments) => {
                let own: Vec<&str> = path.split('/').collect();
                own.len() == segments.len() + 1
                    && own[0].is_empty()
                    && own[1..]
                        .iter()
                        .zip(segments)
                        .all(|(own, wanted)| match wanted {
                            Some(wanted) => own == wanted,
                            None => !own.is_empty(),
                        })
            }
            Path::Digits(start) => path
                .strip_prefix(start.as_str())
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())),
        }
    }

    pub(crate) fn yaml(&self) -> String {
        match self {
            Path::Prefix(prefix) => prefix.clone(),
            Path::Exact(own) => format!("{{ exact: {own} }}"),
            Path::Pattern(segments) => {
                let names = segments
                    .iter()
                    .enumerate()
                    .map(|(index, segment)| match segment {
                        Some(text) => format!("/{text}"),
                        None => format!("/{{n{index}}}"),
                    });
                format!("{{ pattern: \"{}\" }}", names.collect::<String>())
            }
            Path::Digits(start) => format!("{{ regex: \"{start}[0-9]+\" }}"),
        }
    }
}

impl Value {
    pub(crate) fn fits(&self, has: &[&str]) -> bool {
        let any = |test: &dyn Fn(&str) -> bool| has.iter().any(|value| test(value));
        match self {
            Value::Exact(own) => any(&|value| value == *own),
            Value::Prefix(own) => any(&|value| value.starts_with(own)),
            Value::Suffix(own) => any(&|value| value.ends_with(own)),
            Value::Ends(own) => any(&|value| value.ends_with(*own)),
            Value::Range(from, to) => {
                any(&|value| value.parse::<i64>().is_ok_and(|n| n >= *from && n < *to))
            }
            Value::Present(present) => has.is_empty() != *present,
            Value::NotExact(own) => !any(&|value| value == *own),
        }
    }

    pub(crate) fn yaml(&self) -> String {
        match self {
            Value::Exact(own) => format!("\"{own}\""),
            Value::Prefix(own) => format!("{{ prefix: \"{own}\" }}"),
            Value::Suffix(own) => format!("{{ suffix: \"{own}\" }}"),
            Value::Ends(own) => format!("{{ regex: \".*{own}\" }}"),
            Value::Range(from, to) => format!("{{ range: {{ from: {from}, to: {to} }} }}"),
            Value::Present(present) => format!("{{ present: {present} }}"),
            Value::NotExact(own) => format!("{{ not: \"{own}\" }}"),
        }
    }
}

impl Asked {
    pub(crate) fn head(&self) -> String {
        let query = self
            .query
            .map(|value| format!("?x=1&v={value}"))
            .unwrap_or_default();
        let mut head = format!(
            "{} {}{query} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.path, self.host
        );
        for value in &self.header {
            head.push_str(&format!("X-V: {value}\r\n"));
        }
        if let Some(value) = self.cookie {
            head.push_str(&format!("Cookie: x=1; v={value}\r\n"));
        }
        head + "\r\n"
    }
}
