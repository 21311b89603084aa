//! The links of the ports: up or down, all of their queues read or not, and the log line when that changes.

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

    /// Receive queues of its interface that nobody reads.
    pub(crate) fn unread_queues(&self) -> u16 {
        self.interface
            .as_ref()
            .map_or(0, |interface| interface.unread_queues())
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
    /// It was up at some time.
    ever_up: bool,
    unread_queues: u16,
}

impl Links {
    /// Watches one more; one that is down already is said so at once.
    pub(crate) fn watch(&mut self, port: Arc<str>, link: Link) {
        self.0.push(Watched {
            port,
            link,
            was_up: true,
            ever_up: false,
            unread_queues: 0,
        });
        self.look();
    }

    /// Says which changed since the last look.
    pub(crate) fn look(&mut self) {
        for watched in &mut self.0 {
            let is_up = watched.link.is_up();
            let port = &watched.port;
            match change(watched.was_up, is_up, watched.ever_up) {
                Some(Change::Down(what)) => log::warning(format_args!("port {port}: {what}")),
                Some(Change::Up(what)) => log::info(format_args!("port {port}: {what}")),
                None => {}
            }
            let unread = watched.link.unread_queues();
            match (watched.unread_queues, unread) {
                (before, now) if before == now => {}
                (_, 0) => log::info(format_args!(
                    "port {port}: every receive queue of the interface is read again"
                )),
                (_, queues) => log::warning(format_args!(
                    "port {port}: the interface was given more receive queues; what comes to the {queues} new \
                     ones is lost. Take them back with `ethtool -L`, or start Sluice again"
                )),
            }
            watched.unread_queues = unread;
            watched.was_up = is_up;
            watched.ever_up |= is_up;
        }
    }
}

/// What is said of a link.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Down(&'static str),
    Up(&'static str),
}

fn change(was_up: bool, is_up: bool, ever_up: bool) -> Option<Change> {
    match (was_up, is_up) {
        (true, false) => Some(Change::Down(
            "the link is down; nothing can be received or sent",
        )),
        (false, true) if ever_up => Some(Change::Up("the link is up again")),
        // The other end of a virtual wire that came later.
        (false, true) => Some(Change::Up("the link is up")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, change};

    #[test]
    fn only_changes_are_said_and_again_only_of_what_was_up_before() {
        for ever_up in [false, true] {
            assert_eq!(change(true, true, ever_up), None);
            assert_eq!(change(false, false, ever_up), None);
            let down = change(true, false, ever_up);
            assert!(matches!(down, Some(Change::Down(what)) if what.contains("down")));
        }
        assert_eq!(
            change(false, true, false),
            Some(Change::Up("the link is up"))
        );
        let again = Some(Change::Up("the link is up again"));
        assert_eq!(change(false, true, true), again);
    }
}
