use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sluice_engine::access::Record;

use super::*;

/// A path of this test's own; what is there is removed with it.
struct Own(PathBuf);

impl Deref for Own {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file(name: &str) -> Own {
    let name = format!("sluice-access-log-{}-{name}", std::process::id());
    Own(std::env::temp_dir().join(name))
}

fn rules(generation: u64, log: &str) -> Arc<Snapshot> {
    let quickstart = include_str!("../../../../configs/quickstart.yaml");
    let text = format!("{quickstart}\n{log}\n");
    let rules = sluice_policy::parse(&text, "test.yaml").unwrap();
    let mut snapshot = sluice_policy::compile(&rules).unwrap();
    snapshot.generation = generation;
    Arc::new(snapshot)
}

fn to_file(path: &Path) -> String {
    format!("access_log: {{ file: {}, buffer: 64 }}", path.display())
}

fn writer(rules: Arc<Snapshot>) -> Writer {
    let wall = Wall::new(0, 1_000_000_000);
    Writer::new(vec![Arc::new(Handoff::new(rules))], wall, Arc::default())
}

fn queue(writer: &Writer) -> &AccessLog {
    writer.handoffs[0].access_log()
}

fn push(log: &AccessLog, path: &str) -> bool {
    let mut record = Record::default();
    record.target.extend(path.bytes());
    log.push(Box::new(record)).is_ok()
}

fn paths(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        value["path"].as_str().unwrap().to_owned()
    });
    lines.collect()
}

fn counted(totals: &Totals) -> (u64, u64) {
    (totals.written(), totals.write_failed())
}

#[test]
fn lines_wait_for_others_but_not_for_long() {
    let path = file("linger");
    let mut writer = writer(rules(1, &to_file(&path)));
    let now = Instant::now();
    assert!(push(queue(&writer), "/a"));
    assert_eq!(writer.turn(now), 1);
    assert!(paths(&path).is_empty());
    assert_eq!(writer.turn(now + Duration::from_millis(100)), 0);
    assert_eq!(paths(&path), ["/a"]);
    assert_eq!(counted(&writer.totals), (1, 0));
}

#[test]
fn a_renamed_file_keeps_its_lines_and_a_new_one_is_made() {
    let (path, old) = (file("rotate"), file("rotate.1"));
    let mut writer = writer(rules(1, &to_file(&path)));
    push(queue(&writer), "/a");
    writer.turn(Instant::now());
    fs::rename(&*path, &*old).unwrap();
    writer.reopen();
    push(queue(&writer), "/b");
    writer.turn(Instant::now());
    writer.finish();
    assert_eq!(
        (paths(&old), paths(&path)),
        (vec!["/a".to_owned()], vec!["/b".to_owned()])
    );
}

#[test]
fn sigusr1_opens_the_file_anew() {
    let (path, old) = (file("signal"), file("signal.1"));
    let handoff = Arc::new(Handoff::new(rules(1, &to_file(&path))));
    let wall = Wall::new(0, 1_000_000_000);
    let thread = AccessLogThread::start(vec![handoff.clone()], wall, Arc::default()).unwrap();
    fs::rename(&*path, &*old).unwrap();
    signal_hook::low_level::raise(SIGUSR1).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < until, "no new file");
        thread::sleep(Duration::from_millis(1));
    }
    push(handoff.access_log(), "/b");
    thread.stop();
    assert_eq!(
        (paths(&old).len(), paths(&path)),
        (0, vec!["/b".to_owned()])
    );
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let path = file("full");
    let mut writer = writer(rules(1, &to_file(&path)));
    let taken = (0..100)
        .filter(|n| push(queue(&writer), &format!("/{n}")))
        .count();
    assert_eq!((taken, queue(&writer).dropped()), (64, 36));
    assert_eq!(writer.turn(Instant::now()), 64);
    assert!(push(queue(&writer), "/later"));
    writer.turn(Instant::now());
    writer.finish();
    assert_eq!(paths(&path).len(), 65);
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let mut writer = writer(rules(1, "access_log: { file: /dev/full, buffer: 64 }"));
    let now = Instant::now();
    for round in 1..=3 {
        push(queue(&writer), "/a");
        push(queue(&writer), "/b");
        writer.turn(now);
        writer.turn(now + Duration::from_secs(round));
        assert_eq!(counted(&writer.totals), (0, 2 * round));
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_tried_again() {
    let directory = file("directory");
    let path = directory.join("access.json");
    let mut writer = writer(rules(1, &to_file(&path)));
    let start = Instant::now();
    push(queue(&writer), "/a");
    writer.turn(start);
    writer.turn(start + Duration::from_millis(500));
    assert_eq!(counted(&writer.totals), (0, 1));
    fs::create_dir(&*directory).unwrap();
    push(queue(&writer), "/b");
    let later = Instant::now() + Duration::from_secs(2);
    writer.turn(later);
    writer.turn(later + Duration::from_millis(500));
    assert_eq!(counted(&writer.totals), (1, 1));
    assert_eq!(paths(&path), ["/b"]);
}

#[test]
fn new_rules_move_the_log_and_turn_it_off() {
    let (first, second) = (file("first"), file("second"));
    let mut writer = writer(rules(1, &to_file(&first)));
    let now = Instant::now();
    push(queue(&writer), "/a");
    writer.turn(now);
    writer.handoffs[0].offer(rules(2, &to_file(&second)));
    writer.turn(now);
    assert_eq!(paths(&first), ["/a"]);
    push(queue(&writer), "/b");
    writer.turn(now);
    // A request that began while there was a log still gets its line.
    writer.handoffs[0].offer(rules(3, ""));
    push(queue(&writer), "/c");
    writer.turn(now);
    assert!(!writer.is_on);
    writer.finish();
    assert_eq!(paths(&second), ["/b", "/c"]);
}

#[test]
fn a_line_cut_by_an_error_is_completed_and_the_others_are_counted() {
    let (totals, now) = (Totals::default(), Instant::now());
    let mut sink = Sink::new(sluice_policy::LogTarget::File("/dev/full".into()));
    for line in ["one\n", "two\n", "three\n"] {
        sink.line(now, &totals, |out| out.extend_from_slice(line.as_bytes()));
    }
    // One whole line and a byte of the second went out.
    sink.lose(5, &totals);
    assert_eq!(counted(&totals), (1, 1));
    assert_eq!(sink.pending(), b"wo\n");
    // Nothing goes out: it stays.
    sink.lose(0, &totals);
    assert_eq!((counted(&totals), sink.pending()), ((1, 1), &b"wo\n"[..]));
    // Its beginning is in another file: it is lost.
    sink.reopen(now, &totals);
    assert_eq!((counted(&totals), sink.pending()), ((1, 2), &b""[..]));
}
