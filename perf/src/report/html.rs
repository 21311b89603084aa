//! One HTML page of any number of runs: plots, figures and circumstances. It needs no network and
//! holds all it shows; without scripts the tables are there still.

use std::fmt::Write as _;

use serde::Serialize;

use super::latency::{NoHistogram, decoded, micros};
use super::tables::{Table, circumstances, figures};
use super::{Interval, RunReport, Step};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/plots.js");

/// The page of `runs` under a title, with tables of its own before those of the runs.
///
/// # Errors
///
/// A histogram of a run can't be read.
pub fn page(title: &str, tables: &[Table], runs: &[RunReport]) -> Result<String, NoHistogram> {
    let plotted = runs
        .iter()
        .map(Plotted::of)
        .collect::<Result<Vec<_>, _>>()?;
    let data = serde_json::to_string(&Data { runs: plotted })
        .expect("numbers and text are always JSON")
        // No text in a run may end the element that holds it.
        .replace('<', "\\u003c");
    let title = escaped(title);
    let mut own = String::new();
    for table in tables {
        write_table(&mut own, table);
    }
    let mut standing = String::new();
    write_table(&mut standing, &figures(runs));
    write_table(&mut standing, &circumstances(runs));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1><button type=\"button\" id=\"theme\">Dark or light</button></header>\n\
         <main>\n{own}<section aria-label=\"Plots\">\n<h2>Plots</h2>\n\
         <noscript><p>The plots need scripts; the tables hold the figures.</p></noscript>\n\
         <div id=\"legend\" role=\"group\" aria-label=\"Runs to show\"></div>\n\
         <div id=\"plots\"></div>\n</section>\n{standing}</main>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    ))
}

fn write_table(out: &mut String, table: &Table) {
    let _ = write!(
        out,
        "<section>\n<h2>{}</h2>\n<div class=\"wide\"><table>\n<caption><small>{}</small></caption>\n<thead><tr>",
        escaped(&table.title),
        escaped(&table.note)
    );
    for cell in &table.head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(cell));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        let mut cells = row.iter();
        if let Some(first) = cells.next() {
            let _ = write!(out, "<th scope=\"row\">{}</th>", escaped(first));
        }
        let odd_one = |cell: &String| table.compares && row.get(1) != Some(cell);
        for cell in cells {
            let class = match (odd_one(cell), table.compares) {
                (true, _) => " class=\"text differs\"",
                (false, true) => " class=\"text\"",
                (false, false) => "",
            };
            let _ = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// What the script draws.
#[derive(Debug, Serialize)]
struct Data<'a> {
    runs: Vec<Plotted<'a>>,
}

/// Without a value there is a gap in the line.
type Point = (f64, Option<f64>);

/// The points of a run's series. Latencies are microseconds.
#[derive(Debug, Serialize)]
struct Plotted<'a> {
    name: &'a str,
    /// By number of nines: 2 is the 99th percentile.
    percentiles: Vec<Point>,
    p50: Vec<Point>,
    p99: Vec<Point>,
    rps: Vec<Point>,
    sweep_p50: Vec<Point>,
    sweep_p99: Vec<Point>,
    knee: Option<Point>,
}

impl Plotted<'_> {
    fn of(run: &RunReport) -> Result<Plotted<'_>, NoHistogram> {
        let over_time = |value: fn(&Interval) -> Option<f64>| {
            let points = run.intervals.iter();
            points
                .map(|interval| point(interval.start_s, value(interval)))
                .collect()
        };
        let over_rate = |value: fn(&Step) -> Option<f64>| {
            let points = run.steps.iter();
            points
                .map(|step| point(step.achieved_rps, value(step)))
                .collect()
        };
        let knee = run.steps.iter().find(|step| step.knee);
        Ok(Plotted {
            name: &run.name,
            percentiles: percentiles(run)?,
            p50: over_time(|interval| interval.p50_us),
            p99: over_time(|interval| interval.p99_us),
            rps: over_time(|interval| Some(interval.rps)),
            sweep_p50: over_rate(|step| step.p50_us),
            sweep_p99: over_rate(|step| step.p99_us),
            knee: knee.map(|step| point(step.achieved_rps, step.p99_us)),
        })
    }
}

/// Percentiles in equal distances of nines, up to the last that a single answer can make out.
fn percentiles(run: &RunReport) -> Result<Vec<Point>, NoHistogram> {
    /// Per nine.
    const POINTS: u32 = 20;
    let nanos = decoded(&run.latency.histogram)?;
    if nanos.is_empty() {
        return Ok(Vec::new());
    }
    let nines = (nanos.len() as f64).log10();
    let whole = (nines * f64::from(POINTS)).floor() as u32;
    let places = (0..=whole).map(|step| f64::from(step) / f64::from(POINTS));
    let mut points: Vec<Point> = places
        .map(|nine| {
            let quantile = 1.0 - 10_f64.powf(-nine);
            point(nine, Some(micros(nanos.value_at_quantile(quantile))))
        })
        .collect();
    points.push(point(nines, Some(micros(nanos.max()))));
    Ok(points)
}

/// Rounded to what a plot can show.
fn point(x: f64, y: Option<f64>) -> Point {
    ((x * 1e4).round() / 1e4, y.map(|y| (y * 1e3).round() / 1e3))
}

#[cfg(test)]
mod tests {
    use super::super::latency::histogram;
    use super::super::tests::run;
    use super::*;

    #[test]
    fn the_page_asks_nothing_of_any_network() {
        let page = page("Runs", &[], &[run("a")]).unwrap();
        let own = page.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!own.contains(word), "{word}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let name = "</script><script>alert(1)</script>&\"";
        let page = page(name, &[], &[run(name)]).unwrap();
        assert!(!page.contains("<script>alert"));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;/script&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn series_have_a_point_for_each_interval_and_step() {
        let run = run("a");
        let plotted = Plotted::of(&run).unwrap();
        assert_eq!(plotted.rps, [(0.0, Some(2_000.0)), (1.0, Some(1.0))]);
        assert_eq!(plotted.p50.len(), 2);
        assert_eq!(plotted.sweep_p99.len(), 1);
        assert_eq!(plotted.knee, None);
        // 2,000 answers make out 3.3 nines.
        assert_eq!(plotted.percentiles.len(), 67 + 1);
        assert_eq!(plotted.percentiles[20].0, 1.0);
        assert!((plotted.percentiles[20].1.unwrap() - 1_800.0).abs() < 2.0);
    }

    #[test]
    fn an_interval_without_answers_has_no_latency_and_its_rate() {
        let mut run = run("a");
        run.intervals[0] = Interval::of(0.0, 1.0, &histogram(), 7);
        let plotted = Plotted::of(&run).unwrap();
        assert_eq!((plotted.p50[0], plotted.p99[0]), ((0.0, None), (0.0, None)));
        assert_eq!(plotted.rps[0], (0.0, Some(0.0)));
        assert!(
            page("Runs", &[], &[run])
                .unwrap()
                .contains("\"p99\":[[0.0,null],[1.0,5.0")
        );
    }

    #[test]
    fn a_report_with_a_broken_histogram_is_refused() {
        let mut run = run("a");
        run.latency.histogram = "AAAA".to_owned();
        assert!(page("Runs", &[], &[run]).is_err());
    }
}
