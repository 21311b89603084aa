//! The tables of runs, for the page and the terminal.

use std::fmt;

use super::{Pace, RunReport, Settings};

/// A table: its first column names the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Cells, as many in each row as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Whether columns are alike unless something is worth looking at.
    pub compares: bool,
}

/// For a terminal: columns aligned, the first to the left.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            all()
                .filter_map(|row| Some(row.get(column)?.chars().count()))
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        writeln!(f, "{}", self.title)?;
        for row in all() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A row for each run.
pub fn figures(runs: &[RunReport]) -> Table {
    let head = [
        "run",
        "answers/s",
        "connections/s",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "p99.99 us",
        "max us",
        "answers",
        "errors",
        "generator busy",
        "limited by",
    ];
    Table {
        title: "Figures".to_owned(),
        note:
            "Latency from the intended time of sending to the last byte of the answer. Where the \
               generator or the wire was the limit, the target may be faster than its row."
                .to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: runs.iter().map(figures_row).collect(),
        compares: false,
    }
}

fn figures_row(run: &RunReport) -> Vec<String> {
    let latency = &run.latency;
    let errors: Vec<String> = run
        .totals
        .errors
        .iter()
        .map(|(kind, count)| format!("{count} {}", kind.words()))
        .collect();
    vec![
        run.name.clone(),
        grouped(run.rps),
        grouped(run.connections_per_second),
        figure(latency.p50_us),
        figure(latency.p90_us),
        figure(latency.p99_us),
        figure(latency.p999_us),
        figure(latency.p9999_us),
        figure(latency.max_us),
        grouped(run.totals.answers as f64),
        if errors.is_empty() {
            "0".to_owned()
        } else {
            errors.join(", ")
        },
        percent(run.generator_busy),
        run.limited_by.word().to_owned(),
    ]
}

/// A column for each run, with what was asked for and where it was measured.
pub fn circumstances(runs: &[RunReport]) -> Table {
    let mut table = Table {
        title: "Settings and environment".to_owned(),
        note: "What differs from the first run is marked.".to_owned(),
        head: std::iter::once(String::new())
            .chain(runs.iter().map(|run| run.name.clone()))
            .collect(),
        rows: Vec::new(),
        compares: true,
    };
    let mut row = |name: &str, value: &dyn Fn(&RunReport) -> String| {
        let cells: Vec<String> = runs.iter().map(value).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let name = std::iter::once(name.to_owned());
            table.rows.push(name.chain(cells).collect());
        }
    };
    row("started", &|run| run.started.clone());
    row("protocol", &|run| run.settings.protocol.clone());
    row("target", &|run| run.settings.target.clone());
    row("wire", &|run| run.settings.wire.clone());
    row("load", &|run| load(&run.settings));
    row("requests", &|run| requests(&run.settings));
    row("measured", &|run| {
        format!(
            "{:.1} s after {:.1} s of warm-up",
            run.duration_s, run.settings.warm_up_s
        )
    });
    row("client", &|run| run.settings.client.clone());
    row("backend", &|run| {
        run.settings.backend.clone().unwrap_or_default()
    });
    row("send delay", &|run| {
        run.send_delay.map_or(String::new(), |delay| {
            format!(
                "p50 {}, p99 {}, max {} us",
                short(delay.p50_us),
                short(delay.p99_us),
                short(delay.max_us)
            )
        })
    });
    row("generator without its core", &|run| {
        percent(run.generator_lost)
    });
    row("processor", &|run| {
        let of = &run.fingerprint;
        let vm = of.virtual_machine.as_ref();
        let vm = vm.map_or(String::new(), |vm| match vm.as_str() {
            "yes" => ", virtual".to_owned(),
            name => format!(", virtual ({name})"),
        });
        format!("{}, {} cores{vm}", of.cpu, of.cores)
    });
    row("governor", &|run| {
        run.fingerprint.governor.clone().unwrap_or_default()
    });
    row("pinning", &|run| {
        joined(&run.fingerprint.pinning, "on core")
    });
    row("kernel", &|run| run.fingerprint.kernel.clone());
    row("boot parameters", &|run| run.fingerprint.boot.join(" "));
    row("hugepages", &|run| {
        format!("{} of 2 MiB", run.fingerprint.hugepages)
    });
    row("DPDK", &|run| run.fingerprint.dpdk.clone());
    row("devices", &|run| run.fingerprint.devices.join(", "));
    row("sluice", &|run| {
        format!(
            "{}, build {}",
            run.fingerprint.sluice, run.fingerprint.build
        )
    });
    row("other systems", &|run| joined(&run.fingerprint.peers, ""));
    row("configurations", &|run| {
        joined(&run.fingerprint.configurations, "")
    });
    row("noise", &|run| {
        run.fingerprint
            .noise
            .as_ref()
            .map_or(String::new(), |noise| {
                format!(
                    "foreign {}, steal {}",
                    percent(noise.foreign),
                    percent(noise.steal)
                )
            })
    });
    table
}

fn load(settings: &Settings) -> String {
    let connections = settings.connections;
    let pace = match settings.pace {
        Pace::Closed => "closed loop".to_owned(),
        Pace::Constant { rate } => format!("open loop, {}/s evenly", grouped(rate)),
        Pace::Poisson { rate } => format!("open loop, {}/s at random", grouped(rate)),
        Pace::Ramp { from, to } | Pace::Sweep { from, to } => {
            format!("open loop, {}/s to {}/s", grouped(from), grouped(to))
        }
    };
    let kept = if settings.keep_alive {
        "kept"
    } else {
        "of one request each"
    };
    let think = match settings.think_time_us {
        pause if pause > 0.0 => format!(", pauses of {} us", short(pause)),
        _ => String::new(),
    };
    format!("{pace}, {connections} connections {kept}{think}")
}

fn requests(settings: &Settings) -> String {
    let file = settings.requests_file.as_ref();
    let file = file.map_or(String::new(), |file| format!(" from {file}"));
    let answer = settings.response_body_bytes;
    let answer = answer.map_or(String::new(), |bytes| {
        format!(", answers with bodies of {bytes} bytes")
    });
    format!("{} bytes{file}{answer}", settings.request_bytes)
}

fn joined<V: fmt::Display>(map: &std::collections::BTreeMap<String, V>, word: &str) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| {
            let word = if word.is_empty() {
                String::new()
            } else {
                format!("{word} ")
            };
            format!("{name} {word}{value}")
        })
        .collect();
    pairs.join(", ")
}

/// A whole number with its thousands apart.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.as_str()),
    };
    let mut out = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three significant digits, whole from 100 on.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => grouped(value),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// As [`short`]; a dash where there is nothing to tell.
pub fn figure(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), short)
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::latency::{Latency, histogram};
    use super::super::tests::run;
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let grouped_ones = [0.0, 999.4, 1_000.0, 1_234_567.0, -4_321.0].map(grouped);
        assert_eq!(grouped_ones, ["0", "999", "1,000", "1,234,567", "-4,321"]);
        let shorts = [0.0, 1.234, 12.34, 123.4, 12_345.6].map(short);
        assert_eq!(shorts, ["0", "1.23", "12.3", "123", "12,346"]);
    }

    #[test]
    fn a_table_is_aligned_for_a_terminal() {
        let table = Table {
            title: "T".to_owned(),
            note: String::new(),
            head: vec!["run".to_owned(), "rps".to_owned()],
            rows: vec![
                vec!["sluice".to_owned(), "12".to_owned()],
                vec!["b".to_owned(), "1,234".to_owned()],
            ],
            compares: false,
        };
        let wanted = "T\nrun       rps\nsluice     12\nb       1,234\n";
        assert_eq!(table.to_string(), wanted);
    }

    #[test]
    fn figures_name_the_errors_and_all_answers() {
        // As of a sweep, whose latencies are those of a step.
        let mut run = run("a");
        run.totals.answers = 7_000;
        let table = figures(&[run]);
        assert_eq!(table.head.len(), table.rows[0].len());
        assert_eq!(table.rows[0][0..2], ["a", "1,000"]);
        assert_eq!(table.rows[0][9..11], ["7,000", "2 closed early, 1 timeout"]);
    }

    #[test]
    fn what_no_answer_has_is_a_dash() {
        let mut run = run("a");
        run.latency = Latency::of(&histogram());
        run.totals.answers = 0;
        let table = figures(&[run]);
        assert_eq!(table.rows[0][3..10], ["-", "-", "-", "-", "-", "-", "0"]);
    }

    #[test]
    fn circumstances_have_a_column_for_each_run_and_no_empty_rows() {
        let table = circumstances(&[run("a"), run("b")]);
        for row in &table.rows {
            assert_eq!(row.len(), 3, "{row:?}");
            assert!(!row[1].is_empty(), "{row:?}");
        }
        let load = table.rows.iter().find(|row| row[0] == "load").unwrap();
        assert_eq!(
            load[1],
            "open loop, 1,000/s evenly, 0 connections of one request each"
        );
    }
}
