//! Which cores a NUMA node has, as the kernel tells (Documentation/ABI/stable/sysfs-devices-node).

use std::fs;
use std::path::Path;

use super::CoreError;

/// Where the kernel has a directory for each node.
pub(super) const NODES: &str = "/sys/devices/system/node";

/// The cores of a node, in their order; none where it has memory alone.
pub(super) fn cores(nodes: &Path, node: u16) -> Result<Vec<usize>, CoreError> {
    match cores_of(nodes, node.into()) {
        Some(cores) => Ok(cores),
        None => Err(CoreError::NoNode {
            node,
            there: all(nodes),
        }),
    }
}

/// The node that has a core.
pub(super) fn node_of(nodes: &Path, core: usize) -> Option<u16> {
    let has = |node: &usize| cores_of(nodes, *node).is_some_and(|cores| cores.contains(&core));
    u16::try_from(all(nodes).into_iter().find(has)?).ok()
}

/// The numbers of the nodes; a kernel without NUMA has none.
fn all(nodes: &Path) -> Vec<usize> {
    let entries = fs::read_dir(nodes).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("node")?.parse().ok();
    let mut there: Vec<usize> = entries
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .collect();
    there.sort_unstable();
    there
}

fn cores_of(nodes: &Path, node: usize) -> Option<Vec<usize>> {
    let list = fs::read_to_string(nodes.join(format!("node{node}/cpulist"))).ok()?;
    parse(list.trim())
}

/// `0-3,8`, as the kernel writes it.
fn parse(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// The directory of a machine that is not there.
    pub(in super::super) struct Machine(PathBuf);

    impl Machine {
        pub(in super::super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(in super::super) fn machine(nodes: &[(u16, &str)]) -> Machine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-nodes-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        for (node, cores) in nodes {
            let node = root.join(format!("node{node}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("cpulist"), format!("{cores}\n")).unwrap();
        }
        fs::create_dir_all(root.join("power")).unwrap();
        Machine(root)
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse("5"), Some(vec![5]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("x-3"), None);
    }

    #[test]
    fn cores_are_found_by_node_and_nodes_by_core() {
        let machine = machine(&[(0, "0,2"), (1, "1,3"), (10, "")]);
        assert_eq!(all(machine.path()), [0, 1, 10]);
        assert_eq!(cores(machine.path(), 1), Ok(vec![1, 3]));
        assert_eq!(node_of(machine.path(), 3), Some(1));
        assert_eq!(node_of(machine.path(), 4), None);
        assert_eq!(node_of(Path::new("/nonexistent"), 0), None);
    }
}
