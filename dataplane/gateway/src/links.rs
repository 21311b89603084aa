//! The links of the ports: up or down, and the log line when that changes.

use std::sync::Arc;

use sluice_port::{Interface, Port};

use crate::log;

/// A port's link: as the kernel sees it where the port is one of its interfaces, since DPDK's drivers
/// for those always call it up; otherwise as the device says.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    port: Port,
    interface: Option<Arc<Interface>>,
}

impl Link {
    /// The link of an open port.
    pub(crate) fn new(port: Port, interface: Option<Arc<Interface>>) -> Self {
        Link { port, interface }
    }

    /// Whether frames can pass.
    pub(crate) fn is_up(&self) -> bool {
        let interface = self.interface.as_ref();
        interface
            .and_then(|interface| interface.link_up())
            .unwrap_or_else(|| self.port.link().up)
    }
}

/// Watches links by looking at them now and then.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    port: Arc<str>,
    link: Link,
    was_up: bool,
}

impl Links {
    /// Watches one more; one that is down already is said so at once.
    pub(crate) fn watch(&mut self, port: Arc<str>, link: Link) {
        let was_up = true;
        self.0.push(Watched { port, link, was_up });
        self.look();
    }

    /// Says which changed since the last look.
    pub(crate) fn look(&mut self) {
        for watched in &mut self.0 {
            let is_up = watched.link.is_up();
            if let Some(change) = change(watched.was_up, is_up) {
                log::warning(format_args!("port {}: {change}", watched.port));
            }
            watched.was_up = is_up;
        }
    }
}

fn change(was_up: bool, is_up: bool) -> Option<&'static str> {
    match (was_up, is_up) {
        (true, false) => Some("the link is down; nothing can be received or sent"),
        (false, true) => Some("the link is up again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::change;

    #[test]
    fn only_changes_are_said() {
        assert_eq!((change(true, true), change(false, false)), (None, None));
        assert!(change(true, false).unwrap().contains("down"));
        assert!(change(false, true).unwrap().contains("up"));
    }
}
