//! Writes the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from zero at the start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something took how long.
    Histogram,
}

/// Text under construction. A family's samples follow it directly.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
    name: &'static str,
}

impl Text {
    /// Begins the metrics of one name. `help` is one plain line.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        // Writing to a string cannot fail.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value of the family begun last.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// One value of a histogram: `_bucket`, `_sum` or `_count`.
    pub(super) fn part(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(part);
        let mut before = '{';
        for (label, value) in labels {
            self.out.push(before);
            self.out.push_str(label);
            self.out.push_str("=\"");
            value.chars().for_each(|c| self.escaped(c));
            self.out.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn escaped(&mut self, c: char) {
        match c {
            '\\' => self.out.push_str("\\\\"),
            '"' => self.out.push_str("\\\""),
            '\n' => self.out.push_str("\\n"),
            c => self.out.push(c),
        }
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_samples_follow_their_family() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "What a is.");
        text.sample(&[("x", "1"), ("y", "a\\b\"c\nd")], 3);
        text.sample(&[], 0.5);
        assert_eq!(
            text.finish(),
            "# HELP a_total What a is.\n# TYPE a_total counter\n\
             a_total{x=\"1\",y=\"a\\\\b\\\"c\\nd\"} 3\na_total 0.5\n"
        );
    }
}
