//! A real file, changed in the ways in which files are changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_control_client::Update;
use sluice_control_client::file::FileSource;
use sluice_policy::Snapshot;

/// A folder of one test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("file-source-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("gateway.yaml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const GOOD: &str = "\
ports:
  front: { interface: eth1, addresses: [10.0.1.1/24] }
listeners:
  web: { address: 10.0.1.1:80 }
services:
  hello: { endpoints: [10.0.1.2:80] }
routes:
  - { service: hello }
";

/// `GOOD` with services of these many endpoints: each number gives a file of another size.
fn with_endpoints(count: u8) -> String {
    let endpoints: Vec<String> = (2..2 + count)
        .map(|host| format!("10.0.1.{host}:80"))
        .collect();
    GOOD.replace("10.0.1.2:80", &endpoints.join(", "))
}

/// Polls as often as it takes to take up a change, and once more.
fn settle(source: &mut FileSource) -> Vec<Update> {
    (0..3).filter_map(|_| source.poll()).collect()
}

fn accepted(updates: Vec<Update>) -> Arc<Snapshot> {
    match <[Update; 1]>::try_from(updates) {
        Ok([Update::Accepted(snapshot)]) => snapshot,
        other => panic!("not one accepted update: {other:?}"),
    }
}

fn rejected(updates: Vec<Update>) -> Vec<String> {
    match <[Update; 1]>::try_from(updates) {
        Ok([Update::Rejected(problems)]) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("not one rejected update: {other:?}"),
    }
}

fn endpoints(snapshot: &Snapshot) -> usize {
    snapshot.services[0].endpoints.len()
}

#[test]
fn a_file_that_stays_gives_nothing() {
    let folder = Folder::new("stays");
    folder.write(GOOD);
    let (mut source, first) = FileSource::open(folder.file()).unwrap();
    assert_eq!(first.generation, 1);
    assert!(settle(&mut source).is_empty());
    assert!(source.reload().is_none());
}

#[test]
fn a_change_is_taken_up_once_it_settled() {
    let folder = Folder::new("change");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    folder.write(&with_endpoints(2));
    assert!(source.poll().is_none(), "it may still be being written");
    let Some(Update::Accepted(second)) = source.poll() else {
        panic!("not taken up")
    };
    assert_eq!((second.generation, endpoints(&second)), (2, 2));
    assert!(source.poll().is_none());

    folder.write(&with_endpoints(3));
    let third = accepted(settle(&mut source));
    assert_eq!((third.generation, endpoints(&third)), (3, 3));
}

#[test]
fn a_file_being_written_is_not_read_half() {
    let folder = Folder::new("half");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    // Valid as far as it goes, but not yet what its writer means.
    folder.write(with_endpoints(2).split("routes:").next().unwrap());
    assert!(source.poll().is_none());
    folder.write(&with_endpoints(2));
    assert!(source.poll().is_none());
    let Some(Update::Accepted(whole)) = source.poll() else {
        panic!("not taken up")
    };
    assert_eq!((whole.routes.len(), whole.generation), (1, 2));
}

#[test]
fn reload_takes_a_change_at_once() {
    let folder = Folder::new("reload");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    folder.write(&with_endpoints(2));
    let second = accepted(source.reload().into_iter().collect());
    assert_eq!((second.generation, endpoints(&second)), (2, 2));
    assert!(settle(&mut source).is_empty(), "it was taken up already");
}

#[test]
fn a_rejected_file_keeps_what_was_good() {
    let folder = Folder::new("rejected");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    folder.write(&GOOD.replace("service: hello", "service: helo"));
    let file = folder.file().display().to_string();
    assert_eq!(
        rejected(settle(&mut source)),
        [format!(
            "{file}:8:16: routes[0].service: no service is called \"helo\"; did you mean \"hello\"?"
        )]
    );
    folder.write(&with_endpoints(2));
    assert_eq!(
        accepted(settle(&mut source)).generation,
        2,
        "what was rejected is not counted"
    );
}

#[test]
fn what_is_wrong_with_the_file_is_known_until_it_is_mended() {
    let folder = Folder::new("refused");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    assert!(source.reload().is_none() && source.refused().is_none());
    folder.write(&GOOD.replace("service: hello", "service: helo"));
    let problems = rejected(settle(&mut source));
    assert!(source.reload().is_none(), "it is what it was");
    let refused = |source: &FileSource| -> Vec<String> {
        let problems = source.refused().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(refused(&source), problems);
    fs::remove_file(folder.file()).unwrap();
    let problems = rejected(settle(&mut source));
    assert!(source.reload().is_none(), "it is still missing");
    assert_eq!(refused(&source), problems);
    folder.write(GOOD);
    assert!(matches!(source.reload(), Some(Update::Unchanged)));
    assert!(source.refused().is_none());
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_the_file_is_refused_and_not_waited_for() {
    let folder = Folder::new("pipe");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    assert!(mkfifo.arg(folder.file()).status().unwrap().success());
    let file = folder.file().display().to_string();
    let pipe = format!(
        "{file}: cannot be read: it is a pipe, no regular file; give a file that can be read"
    );
    assert_eq!(rejected(settle(&mut source)), [&*pipe]);
    let said = FileSource::open(folder.file()).unwrap_err();
    assert_eq!(said[0].to_string(), pipe);
    let said = FileSource::open("/dev/null").unwrap_err();
    assert!(said[0].message.ends_with("it is a device, no regular file"));
    fs::remove_file(folder.file()).unwrap();
    folder.write(&with_endpoints(2));
    assert_eq!(accepted(settle(&mut source)).generation, 2);
}

#[test]
fn what_needs_a_restart_is_rejected() {
    let folder = Folder::new("restart");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    let changed = GOOD.replace("interface: eth1", "interface: eth10");
    folder.write(&changed);
    let problems = rejected(settle(&mut source));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("ports.front: a port cannot change"),
        "{problems:?}"
    );
    // Still compared with what runs, not with what was rejected.
    folder.write(&format!("{changed}# again\n"));
    assert_eq!(rejected(settle(&mut source)), problems);
}

#[test]
fn a_rename_over_the_file_is_followed() {
    let folder = Folder::new("rename");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    let other = folder.0.join("new.yaml");
    fs::write(&other, with_endpoints(4)).unwrap();
    fs::rename(&other, folder.file()).unwrap();
    assert_eq!(endpoints(&accepted(settle(&mut source))), 4);
}

#[test]
fn a_link_to_another_file_is_followed() {
    let folder = Folder::new("link");
    for (name, count) in [("a.yaml", 1), ("b.yaml", 2)] {
        fs::write(folder.0.join(name), with_endpoints(count)).unwrap();
    }
    std::os::unix::fs::symlink("a.yaml", folder.file()).unwrap();
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    std::os::unix::fs::symlink("b.yaml", folder.file()).unwrap();
    assert_eq!(endpoints(&accepted(settle(&mut source))), 2);
}

#[test]
fn a_missing_file_is_reported_once_and_its_return_is_taken_up() {
    let folder = Folder::new("missing");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    assert!(rejected(settle(&mut source))[0].contains("cannot be read"));
    assert!(settle(&mut source).is_empty());
    folder.write(&with_endpoints(2));
    assert_eq!(accepted(settle(&mut source)).generation, 2);
}

#[test]
fn rules_that_say_the_same_keep_their_generation() {
    let folder = Folder::new("same");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    // In other words, in another place, and after a mistake that is taken back.
    let unchanged = |source: &mut FileSource, text: &str| {
        folder.write(text);
        let said = settle(source);
        assert!(matches!(said[..], [Update::Unchanged]), "{said:?}");
        assert_eq!((source.generation(), source.history().count()), (1, 1));
    };
    unchanged(&mut source, &format!("# Our gateway.\n{GOOD}"));
    unchanged(&mut source, &GOOD.replace("80]", "80 ]"));
    folder.write(&GOOD.replace("service: hello", "service: helo"));
    assert_eq!(rejected(settle(&mut source)).len(), 1);
    unchanged(&mut source, GOOD);

    // The same rules once more as a later generation: there is nothing to go back to them for.
    folder.write(&with_endpoints(2));
    assert_eq!(accepted(settle(&mut source)).generation, 2);
    folder.write(GOOD);
    assert_eq!(accepted(settle(&mut source)).generation, 3);
    assert_eq!(
        source.roll_back(Some(1)).unwrap_err().to_string(),
        "nothing changed: generation 3, which is in force, has the same rules as generation 1"
    );
    assert_eq!((source.generation(), source.history().count()), (3, 3));
}

#[test]
fn touching_a_file_is_no_change() {
    let folder = Folder::new("touch");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    folder.write(GOOD);
    assert!(settle(&mut source).is_empty());
}

#[test]
fn a_bad_file_does_not_open() {
    let folder = Folder::new("bad");
    let file = folder.file().display().to_string();
    let problems = FileSource::open(folder.file()).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with(&format!("{file}: cannot be read: "))
    );
    folder.write("routes: 5\n");
    let problems = FileSource::open(folder.file()).unwrap_err();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let wrong = format!("{file}:1:9: routes: should be a list (`[a, b]`)");
    assert!(texts.contains(&wrong), "{texts:#?}");
    fs::write(folder.file(), b"\xff\xfe").unwrap();
    let problems = FileSource::open(folder.file()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        format!("{file}: is not UTF-8 text; save it as UTF-8")
    );
}

#[test]
fn rules_are_rolled_back_and_the_next_change_is_taken_up() {
    let folder = Folder::new("rollback");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    let error = source.roll_back(None).unwrap_err().to_string();
    assert_eq!(error, "there are no rules before these");
    for count in 2..=12 {
        folder.write(&with_endpoints(count));
        let [Update::Accepted(snapshot)] = &settle(&mut source)[..] else {
            panic!("not accepted");
        };
        assert_eq!(snapshot.generation, u64::from(count));
    }
    let kept: Vec<u64> = source.history().map(|version| version.generation).collect();
    assert_eq!(kept, (3..=12).collect::<Vec<u64>>());

    let back = accepted(vec![source.roll_back(None).unwrap()]);
    assert_eq!((back.generation, endpoints(&back)), (13, 11));
    let back = accepted(vec![source.roll_back(Some(5)).unwrap()]);
    assert_eq!((back.generation, endpoints(&back)), (14, 5));
    assert_eq!(
        source.roll_back(Some(2)).unwrap_err().to_string(),
        "generation 2 is not kept; there are 5, 6, 7, 8, 9, 10, 11, 12, 13, 14"
    );
    let error = source.roll_back(Some(14)).unwrap_err().to_string();
    assert_eq!(error, "generation 14 is in force");
    // The file says what it said: no news. What it says next is.
    assert!(settle(&mut source).is_empty());
    assert!(source.reload().is_none());
    folder.write(&with_endpoints(3));
    let [Update::Accepted(snapshot)] = &settle(&mut source)[..] else {
        panic!("not accepted");
    };
    assert_eq!((snapshot.generation, endpoints(snapshot)), (15, 3));
}

#[test]
fn rolling_back_again_steps_further_and_not_to_and_fro() {
    let folder = Folder::new("steps");
    folder.write(GOOD);
    let (mut source, _) = FileSource::open(folder.file()).unwrap();
    let change = |source: &mut FileSource, count| {
        folder.write(&with_endpoints(count));
        accepted(settle(source)).generation
    };
    for count in 2..=4 {
        assert_eq!(change(&mut source, count), u64::from(count));
    }
    for (generation, count) in [(5, 3), (6, 2), (7, 1)] {
        let back = accepted(vec![source.roll_back(None).unwrap()]);
        assert_eq!((back.generation, endpoints(&back)), (generation, count));
    }
    let error = source.roll_back(None).unwrap_err().to_string();
    assert_eq!(error, "there are no rules before these");
    // A change begins anew: the rules before it are those that were in force.
    assert_eq!(change(&mut source, 9), 8);
    let back = accepted(vec![source.roll_back(None).unwrap()]);
    assert_eq!((back.generation, endpoints(&back)), (9, 1));
}
