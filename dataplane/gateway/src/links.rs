//! The links of the ports: up or down, by how many queues, all of them read or not, and the log lines when that
//! changes.

use std::sync::Arc;

use sluice_port::{Interface, PeerQueues, Port};

use crate::log;

/// A port's link: as the kernel sees it where the port is one of its interfaces, since DPDK's drivers
/// for those always call it up; otherwise as the device says.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    port: Port,
    interface: Option<Arc<Interface>>,
    /// Queue pairs of the port.
    pairs: u16,
}

impl Link {
    /// The link of an open port.
    pub(crate) fn new(port: Port, interface: Option<Arc<Interface>>, pairs: u16) -> Self {
        Link {
            port,
            interface,
            pairs,
        }
    }

    /// The queues by which frames can pass: all of the port, or those that its peer has as well.
    pub(crate) fn queues(&self) -> PeerQueues {
        self.port.peer_queues().unwrap_or(PeerQueues {
            receive: self.pairs,
            transmit: self.pairs,
        })
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
    /// What its peer had when it last had any.
    queues: PeerQueues,
}

impl Links {
    /// Watches one more; one that is down already is said so at once.
    pub(crate) fn watch(&mut self, port: Arc<str>, link: Link) {
        let queues = PeerQueues {
            receive: link.pairs,
            transmit: link.pairs,
        };
        self.0.push(Watched {
            port,
            queues,
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
            let queues = watched.link.queues();
            if queues == PeerQueues::default() || queues == watched.queues {
                continue;
            }
            match fewer(queues, watched.link.pairs) {
                Some(what) => log::warning(format_args!("port {port}: {what}")),
                None => log::info(format_args!("port {port}: the peer has all queues")),
            }
            watched.queues = queues;
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

/// What is said where the peer of a port has fewer queue pairs than the port; `None` where it has not.
fn fewer(queues: PeerQueues, pairs: u16) -> Option<String> {
    let PeerQueues { receive, transmit } = queues;
    let least = receive.min(transmit);
    if least >= pairs {
        return None;
    }
    let mut line = if receive == transmit {
        format!("the peer has {least} of {pairs} queues")
    } else {
        format!("of {pairs} queues, the peer sends by {receive} and receives by {transmit}")
    };
    line.push_str(&match pairs - 1 {
        last if last == least => format!(": worker {last} has none"),
        last => format!(": workers {least} to {last} have none"),
    });
    line.push_str(" of its own, so others carry its frames. Give both ends as many");
    Some(line)
}

#[cfg(test)]
mod tests {
    use sluice_port::PeerQueues;

    use super::{Change, change, fewer};

    #[test]
    fn a_peer_with_fewer_queues_is_said_with_the_workers_that_have_none() {
        let queues = |receive, transmit| PeerQueues { receive, transmit };
        assert_eq!(fewer(queues(2, 2), 2), None);
        let one = fewer(queues(1, 1), 2).unwrap();
        assert!(one.starts_with("the peer has 1 of 2 queues: worker 1 has none"));
        let uneven = fewer(queues(4, 2), 4).unwrap();
        assert!(uneven.contains("sends by 4 and receives by 2: workers 2 to 3 have none"));
    }

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
