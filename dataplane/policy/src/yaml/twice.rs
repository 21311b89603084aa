//! Keys that stand in their mapping a second time.

use std::collections::BTreeSet;

use serde_saphyr::{DuplicateKeyPolicy, Error, Spanned};

use super::options;
use super::places::{Path, Position};
use super::tree::Node;

/// A key that its mapping has already.
pub(super) struct Twice {
    /// The key.
    pub(super) key: String,
    /// The path of both values.
    pub(super) path: Path,
    /// The route, listener, service, port or other section that it is in.
    pub(super) part: Path,
    /// Where it stands the second time.
    pub(super) at: Position,
}

/// Reads a document whose only mistake as YAML is that keys stand there twice; the second of each is
/// left out. `None` where something else is wrong with it, or where it takes the parser to tell.
pub(super) fn read(text: &str, error: &Error) -> Option<(Spanned<Node>, Vec<Twice>)> {
    let is_twice = |error: &Error| matches!(error, Error::DuplicateMappingKey { .. });
    let own = match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => is_twice(error),
        error => is_twice(error),
    };
    // A key that is merged in may stand there a second time.
    if !own || text.contains("<<") {
        return None;
    }
    let mut options = options();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    let document = serde_saphyr::from_str_with_options(text, options);
    let mut document: Spanned<Node> = document.ok()?;
    let mut found = Vec::new();
    take(&mut document, &Path::default(), &[], &mut found);
    (!found.is_empty()).then_some((document, found))
}

/// Takes out what stands twice. `parts` are the paths on the way to a node, as far as they tell parts of the
/// document apart.
fn take(node: &mut Spanned<Node>, path: &Path, parts: &[Path], found: &mut Vec<Twice>) {
    let below = |path: &Path| {
        let mut parts = parts.to_vec();
        parts.extend((parts.len() < 2).then(|| path.clone()));
        parts
    };
    match &mut node.value {
        Node::List(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                let path = path.index(index);
                take(node, &path, &below(&path), found);
            }
        }
        Node::Map(nodes) => {
            let mut seen = BTreeSet::new();
            nodes.retain(|(key, _)| {
                let is_first = seen.insert(key.value.clone());
                if !is_first {
                    let path = path.key(&key.value);
                    found.push(Twice {
                        key: key.value.clone(),
                        part: below(&path).pop().unwrap_or_default(),
                        path,
                        at: key.defined.into(),
                    });
                }
                is_first
            });
            for (key, node) in nodes {
                let path = path.key(&key.value);
                take(node, &path, &below(&path), found);
            }
        }
        Node::Null | Node::Scalar(_) | Node::Pruned => {}
    }
}
