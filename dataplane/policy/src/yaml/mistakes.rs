//! Everything that is not known or has the wrong type, where something is.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Spanned};

use super::places::{Path, Places, Position};
use super::read::{Value, Wrong};
use super::tree::{Node, Step};
use super::twice::Twice;
use crate::Problem;
use crate::problem::MOST;
use crate::rules::{Route, Rules};

/// Most that are told of one route, listener, service or port: each means to read it again.
const MOST_OF_ONE: usize = 8;

/// What of a document is not as it was meant, as far as [`crate::compile()`] has to know: it says nothing
/// of that, nor of what only seems wrong because of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    /// The routes, listeners, services, ports and other sections in which something is.
    paths: BTreeSet<Path>,
    /// What that is: of all else in them it is known what it says.
    unread: BTreeSet<Path>,
}

impl Broken {
    /// Whether this value, or what it is a part of, is broken.
    pub(crate) fn is(&self, path: &Path) -> bool {
        is_among(&self.paths, path)
    }

    /// Whether this value itself could not be read, or is a part of one.
    pub(crate) fn is_unread(&self, path: &Path) -> bool {
        is_among(&self.unread, path)
    }

    /// Whether anything of a section is broken.
    pub(crate) fn is_any_of(&self, section: &str) -> bool {
        let section = Path::section(section);
        if self.is(&section) {
            return true;
        }
        let mut paths = self.paths.iter();
        paths.any(|path| {
            std::iter::successors(Some(path.clone()), Path::around).any(|at| at == section)
        })
    }
}

fn is_among(paths: &BTreeSet<Path>, path: &Path) -> bool {
    let mut at = Some(path.clone()).filter(|_| !paths.is_empty());
    while let Some(path) = at {
        if paths.contains(&path) {
            return true;
        }
        at = path.around();
    }
    false
}

/// What could be read of a document, and what is wrong with the rest.
pub(super) struct Found {
    pub(super) rules: Rules,
    pub(super) problems: Vec<Problem>,
}

/// Reads each route, listener, service and port on its own, and the rest of the document. `twice` has been
/// taken out of it.
pub(super) fn find(
    text: &str,
    mut document: Spanned<Node>,
    twice: &[Twice],
    places: Places,
) -> Found {
    let mut finding = Finding {
        text,
        places: &places,
        told: BTreeSet::new(),
        broken: Broken::default(),
        problems: Vec::new(),
    };
    finding.tell_twice(twice);
    let mut taken = |name| take_parts(&mut document, name);
    let [ports, listeners, services] = ["ports", "listeners", "services"].map(&mut taken);
    let routes = take_parts(&mut document, "routes");
    let mut rules: Rules = finding
        .one(&Path::default(), &mut document)
        .unwrap_or_default();
    rules.ports = finding.named("ports", ports, "{}");
    rules.listeners = finding.named("listeners", listeners, "{address: []}");
    rules.services = finding.named("services", services, "{}");
    if let Some(Node::List(routes)) = routes {
        let section = Path::section("routes");
        for (index, mut node) in routes.into_iter().enumerate() {
            let path = section.index(index);
            rules
                .routes
                .extend(finding.part::<Route>(&path, &mut node, "{}"));
        }
    }
    rules.broken = finding.broken;
    let problems = finding.problems;
    rules.places = places;
    Found { rules, problems }
}

/// Takes the parts of a section out of the document, so that they are read one by one; a section that is
/// no such thing stays.
fn take_parts(document: &mut Spanned<Node>, name: &str) -> Option<Node> {
    let section = document.value.value_mut(name)?;
    match (&section.value, name) {
        (Node::List(_), "routes") => Some(std::mem::replace(
            &mut section.value,
            Node::List(Vec::new()),
        )),
        (Node::Map(_), "ports" | "listeners" | "services") => {
            Some(std::mem::replace(&mut section.value, Node::Map(Vec::new())))
        }
        _ => None,
    }
}

struct Finding<'a> {
    text: &'a str,
    places: &'a Places,
    /// Where the values are defined that problems were told of: one that is used by several aliases is
    /// told of once.
    told: BTreeSet<(u32, u32)>,
    broken: Broken,
    problems: Vec<Problem>,
}

impl Finding<'_> {
    /// Tells of keys that stand somewhere twice: nobody knows which of the values is meant.
    fn tell_twice(&mut self, twice: &[Twice]) {
        for own in twice {
            self.broken.paths.insert(own.part.clone());
            self.broken.unread.insert(own.path.clone());
            let defined = (own.at.line, own.at.column);
            if self.problems.len() < MOST && self.told.insert(defined) {
                let (message, mend) = super::stands_twice(Some(&own.key));
                let at = Some(own.at);
                let problem = self.places.problem_at(at, String::new(), message, mend);
                self.problems.push(problem);
            }
        }
    }

    fn named<T: DeserializeOwned>(
        &mut self,
        section: &str,
        nodes: Option<Node>,
        otherwise: &str,
    ) -> BTreeMap<String, T> {
        let Some(Node::Map(nodes)) = nodes else {
            return BTreeMap::new();
        };
        let section = Path::section(section);
        let parts = nodes.into_iter().filter_map(|(key, mut node)| {
            let part = self.part(&section.key(&key.value), &mut node, otherwise)?;
            Some((key.value, part))
        });
        parts.collect()
    }

    /// A part of a section. One that is broken is known by its name and its place all the same.
    fn part<T: DeserializeOwned>(
        &mut self,
        path: &Path,
        node: &mut Spanned<Node>,
        otherwise: &str,
    ) -> Option<T> {
        self.one(path, node)
            .or_else(|| serde_saphyr::from_str(otherwise).ok())
    }

    /// Reads one value, and again without the parts of it that are wrong.
    fn one<T: DeserializeOwned>(&mut self, path: &Path, node: &mut Spanned<Node>) -> Option<T> {
        let whole = path == &Path::default();
        let most = if whole { MOST } else { MOST_OF_ONE };
        // What is taken out because of what has been taken out of it before counts half.
        let mut left = 2 * most;
        while left > 0 {
            let read = T::deserialize(Value {
                node,
                text: self.text,
            });
            let wrong = match read {
                Ok(value) => return Some(value),
                Err(wrong) => wrong,
            };
            // Of the document, only the section is broken in which something is.
            self.broken.paths.insert(match wrong.steps.last() {
                Some(step) if whole => place_of(path, std::slice::from_ref(step)),
                _ => path.clone(),
            });
            // What stands behind it in a list changes its place.
            let unread = match wrong.steps.split_first() {
                Some((Step::Index(_), list)) => list,
                _ => &wrong.steps,
            };
            self.broken.unread.insert(place_of(path, unread));
            if self.problems.len() == MOST {
                return None;
            }
            let at = place_of(path, &wrong.steps);
            let culprit = wrong
                .steps
                .iter()
                .rev()
                .try_fold(&mut *node, |node, step| node.value.below_mut(step))?;
            // What is missing or empty now was told before.
            left -= 1;
            if !culprit.value.is_maimed() {
                left = left.saturating_sub(1);
                let defined = Position::from(culprit.defined);
                if self.told.insert((defined.line, defined.column)) {
                    self.problems.push(self.problem(&at, &wrong));
                }
            }
            if wrong.steps.is_empty() || self.problems.len() == MOST {
                return None;
            }
            culprit.value = Node::Pruned;
        }
        None
    }

    fn problem(&self, at: &Path, wrong: &Wrong) -> Problem {
        let (message, mend) = super::words(&wrong.error);
        let is_key = match &*wrong.error {
            Error::SerdeMissingField { .. } => return self.places.problem(at, message, mend),
            Error::SerdeUnknownField { .. } => true,
            // A choice that is written as a mapping of one key.
            Error::SerdeUnknownVariant { variant, .. } => {
                matches!(wrong.steps.first(), Some(Step::Key(key)) if key == variant)
            }
            Error::Unexpected { expected, .. } => *expected == "mapping end",
            _ => false,
        };
        match is_key {
            true => self.places.key_problem(at, message, mend),
            false => self.places.value_problem(at, message, mend),
        }
    }
}

fn place_of(path: &Path, steps: &[Step]) -> Path {
    let steps = steps.iter().rev();
    steps.fold(path.clone(), |path, step| match step {
        Step::Key(key) => path.key(key),
        Step::Index(index) => path.index(*index),
    })
}
