//! The tables of a comparison.

use super::{Failure, Memory, Row, Test, Trial};
use crate::compare::systems::{System, Wire};
use crate::report::LimitedBy;
use crate::report::tables::{Table, figure, grouped, percent, short};

pub(super) fn test_table(test: Test, all: &[Row], failures: &[Failure]) -> Table {
    const COLUMNS: [&str; 6] = ["/s", "busy us", "p50", "p99", "p99.9", "limit"];
    let mut head = vec!["system".to_owned()];
    head.extend(COLUMNS.map(|column| format!("veth {column}")));
    head.extend(COLUMNS.map(|column| format!("memif {column}")));
    let rows = System::ALL.iter().filter_map(|system| {
        let of = |wire| {
            all.iter()
                .find(|row| (row.test, row.system, row.wire) == (test, *system, wire))
        };
        let (veth, memif) = (of(Wire::Veth), of(Wire::Memif));
        // Where others were measured and this one can't be, that is said too.
        let takes_part = all.iter().any(|row| row.system == *system);
        let any = all.iter().any(|row| row.test == test);
        let failed = failures
            .iter()
            .any(|failure| failure.system == *system && failure.what == test.word());
        let cannot = any && takes_part && !test.suits(*system);
        (veth.or(memif).is_some() || failed || cannot).then_some(())?;
        let mut cells = vec![system.word().to_owned()];
        cells.extend(cells_of(veth));
        cells.extend(cells_of(memif));
        Some(cells)
    });
    Table {
        title: test.title().to_owned(),
        note: "Medians over the rounds, with half the distance from least to greatest; times in microseconds. \
               Same wire for all: veth, with AF_XDP for DPDK. Best wire: memif, shared memory. Where the \
               generator or the wire was the limit, the system may be faster. * other processes disturbed \
               some of the rounds."
            .to_owned()
            + if test.is_ttheader() {
                " Others don't speak TTHeader."
            } else {
                ""
            },
        head,
        rows: rows.collect(),
        compares: false,
    }
}

fn cells_of(row: Option<&Row>) -> [String; 6] {
    let Some(row) = row else {
        return ["-"; 6].map(str::to_owned);
    };
    let mark = mark(&[row]);
    let errors = match row.errors {
        0 => String::new(),
        errors => format!(", {} errors", grouped(errors as f64)),
    };
    let half = (row.rps_spread.max - row.rps_spread.min) / 2.0;
    // One round has none.
    let spread = if row.rounds > 1 && row.rps > 0.0 {
        format!(" ±{:.0}%", 100.0 * half / row.rps)
    } else {
        String::new()
    };
    let best = match row.p99_spread {
        Some(spread) if row.rounds > 1 && row.test == Test::HalfLoad => {
            format!(", best {}", short(spread.min))
        }
        _ => String::new(),
    };
    [
        format!("{}{mark}{spread}{errors}", grouped(row.rps)),
        row.busy_us.map_or("-".to_owned(), short),
        figure(row.p50_us),
        figure(row.p99_us) + &best,
        figure(row.p999_us),
        row.limited_by.word().to_owned(),
    ]
}

/// Behind what follows from rows of which other processes disturbed one.
fn mark(rows: &[&Row]) -> &'static str {
    match rows.iter().any(|row| row.noisy_rounds > 0) {
        true => "*",
        false => "",
    }
}

/// How much of the latencies at half load is the machine's.
pub(super) fn gap_table(all: &[Row]) -> Table {
    let rows = all.iter().filter(|row| row.test == Test::HalfLoad);
    let rows = rows.map(|row| {
        vec![
            row.system.word().to_owned(),
            row.wire.word().to_owned(),
            figure(row.p99_us),
            figure(row.p99_spread.map(|spread| spread.min)),
            percent(row.generator_gaps),
            row.system_gaps.map_or("-".to_owned(), percent),
            short(row.longest_gap_us),
            percent(row.delayed),
            match row.p99_limited_by {
                LimitedBy::Noise => "noise",
                _ => "system",
            }
            .to_owned(),
        ]
    });
    Table {
        title: "What the machine took at half load".to_owned(),
        note: "Gaps: turns of a loop that took longer than any takes by itself, as something else had its core. \
               Requests due in a gap wait, and about as many behind them. Where these are 1 % or more, p99 is \
               noise: its length is that of gaps. Kernel proxies tell none of theirs."
            .to_owned(),
        head: [
            "system",
            "wire",
            "p99 us",
            "best round",
            "generator away",
            "sluice away",
            "longest us",
            "delayed",
            "p99 limited by",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows.collect(),
        compares: false,
    }
}

/// Latency beyond that of the wire alone.
pub(super) fn added_table(all: &[Row]) -> Table {
    let head = ["system", "wire", "test", "p50 us", "p99 us", "p99.9 us"];
    let tests = [Test::OneConnection, Test::HalfLoad];
    let rows = all
        .iter()
        .filter(|row| row.system != System::Direct && tests.contains(&row.test));
    let rows = rows.filter_map(|row| {
        // What one connection takes without a proxy, also for half load: direct has no capacity of
        // the proxy's to take the half of.
        let direct = all.iter().find(|other| {
            (other.system, other.test, other.wire)
                == (System::Direct, Test::OneConnection, row.wire)
        })?;
        let added = |of: fn(&Row) -> Option<f64>| match of(row).zip(of(direct)) {
            Some((with, without)) => short(with - without) + mark(&[row, direct]),
            None => "-".to_owned(),
        };
        Some(vec![
            row.system.word().to_owned(),
            row.wire.word().to_owned(),
            row.test.word().to_owned(),
            added(|row| row.p50_us),
            added(|row| row.p99_us),
            added(|row| row.p999_us),
        ])
    });
    Table {
        title: "Latency added over direct".to_owned(),
        note: "Difference to the same percentile of direct at one connection on the same wire. * other processes \
               disturbed some of the rounds."
            .to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        compares: false,
    }
}

/// Sluice beside each of the others.
pub(super) fn ratio_table(all: &[Row]) -> Table {
    let find = |system, test, wire| {
        all.iter()
            .find(move |row| (row.system, row.test, row.wire) == (system, test, wire))
    };
    let others = System::ALL
        .iter()
        .filter(|system| !matches!(system, System::Direct | System::Sluice));
    let mut rows = Vec::new();
    for other in others {
        for wire in [Wire::Veth, Wire::Memif] {
            let pair = |test| {
                (
                    find(System::Sluice, test, wire),
                    find(*other, test, Wire::Veth),
                )
            };
            let of = |test, value: fn(&Row) -> Option<f64>| {
                let (Some(ours), Some(theirs)) = pair(test) else {
                    return "-".to_owned();
                };
                match value(ours).zip(value(theirs)) {
                    Some((our, their)) if their > 0.0 => {
                        format!("{:.2}{}", our / their, mark(&[ours, theirs]))
                    }
                    _ => "-".to_owned(),
                }
            };
            if let (Some(_), Some(_)) = pair(Test::KeepAlive) {
                rows.push(vec![
                    format!("sluice {} to {} veth-af_xdp", wire.word(), other.word()),
                    of(Test::KeepAlive, |row| Some(row.rps)),
                    of(Test::KeepAlive, |row| row.busy_us),
                    of(Test::OneConnection, |row| row.p50_us),
                    of(Test::HalfLoad, |row| row.p99_us),
                    of(Test::Close, |row| Some(row.rps)),
                ]);
            }
        }
    }
    Table {
        title: "Ratios".to_owned(),
        note: "Of medians. Requests and connections per second: more than 1 is faster. Times: less than 1 is \
               less. * other processes disturbed some of the rounds of either."
            .to_owned(),
        head: [
            "",
            "requests/s",
            "busy us",
            "one connection p50",
            "half load p99",
            "connections/s",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
        compares: false,
    }
}

pub(super) fn memory_table(memory: &[Memory]) -> Table {
    let rows = memory.iter().map(|of| {
        vec![
            of.system.word().to_owned(),
            of.wire.word().to_owned(),
            grouped(of.connections.into()),
            short(of.idle_mib),
            short(of.kib_per_connection),
            grouped(of.errors as f64),
        ]
    });
    Table {
        title: "Memory".to_owned(),
        note: "Resident memory of the process. The kernel keeps buffers of its own for connections of proxies \
               on its TCP, which are not in this table."
            .to_owned(),
        head: [
            "system",
            "wire",
            "connections",
            "MiB before",
            "KiB per connection",
            "errors",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows.collect(),
        compares: false,
    }
}

pub(super) fn receive_table(trials: &[Trial]) -> Table {
    let speed = |rps: Option<f64>| rps.map_or("-".to_owned(), grouped);
    // Where nothing was tried there is nothing to show.
    let tried = |of: &Trial| of.sender_rps.or(of.threaded_rps).is_some();
    let shown = if trials.iter().any(tried) {
        trials
    } else {
        &[]
    };
    let rows = shown.iter().map(|of| {
        vec![
            of.system.word().to_owned(),
            of.used.word().to_owned(),
            speed(of.sender_rps),
            speed(of.threaded_rps),
        ]
    });
    Table {
        title: "Where the kernel receives for proxies on its TCP".to_owned(),
        note: "On the core of whoever sends, or in threads on the proxy's core: each system was measured with what \
               made it faster in a trial before."
            .to_owned(),
        head: ["system", "used", "sender /s", "threaded /s"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        compares: false,
    }
}

/// What has dashes for another reason than that a system can't do it.
pub(super) fn failure_table(failures: &[Failure]) -> Table {
    let rows = failures.iter().map(|of| {
        vec![
            of.system.word().to_owned(),
            of.wire.word().to_owned(),
            of.what.clone(),
            match of.round {
                0 => "-".to_owned(),
                round => round.to_string(),
            },
            of.reason.clone(),
        ]
    });
    Table {
        title: "What failed".to_owned(),
        note: "Measurements that failed, and again when they were repeated: they are in no median."
            .to_owned(),
        head: ["system", "wire", "test", "round", "reason"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        compares: false,
    }
}
