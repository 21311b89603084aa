//! An example's gateway, and what becomes of a request in it.

use std::net::SocketAddr;

use crate::world::{OK, World, setup};

/// The gateway of one example.
pub(crate) struct Example {
    pub(crate) world: World,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It reached the endpoint with this last number of its address, as this head.
    At(u8, String),
    /// The gateway itself answered, and this is the answer.
    Answered(String),
    /// Nothing yet.
    Waiting,
    /// The connection was closed without an answer.
    Closed,
}

impl Example {
    pub(crate) fn new(name: &str) -> Example {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/examples");
        let path = format!("{folder}/{name}.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut world = World::set_up(&setup(), &text);
        world.worker.set_wall_clock(1_800_000_000);
        Example { world }
    }

    /// Sends a request to the first listener that the client can reach, on a connection of its own.
    pub(crate) fn ask(&mut self, request: &str) -> Seen {
        let to = self.world.target;
        self.ask_at(to, request).0
    }

    /// Sends a request to a listener: the request line without the version, then fields.
    pub(crate) fn ask_at(&mut self, to: SocketAddr, request: &str) -> (Seen, usize) {
        let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
        let mut head = format!("{line} HTTP/1.1\r\n");
        if !fields.to_ascii_lowercase().contains("host:") {
            head.push_str("Host: sluice.test\r\n");
        }
        for field in fields.lines() {
            head.push_str(&format!("{}\r\n", field.trim()));
        }
        head.push_str("\r\n");
        let (buffers, now) = (self.world.buffers, self.world.now());
        let client = self.world.client.open(to, buffers, now).expect("a port");
        self.world.settle();
        self.world.send(client, head);
        (self.seen(client), client)
    }

    /// What has become of the request of a client by now. One that reached an endpoint is answered.
    pub(crate) fn seen(&mut self, client: usize) -> Seen {
        let answer = self.world.got(client);
        if !answer.is_empty() {
            return Seen::Answered(answer);
        }
        for backend in 0..self.world.backend.connections() {
            let Some(local) = self.world.backend.local(backend) else {
                continue;
            };
            let head = self.world.asked(backend);
            if head.is_empty() {
                continue;
            }
            self.world.answer(backend, OK);
            assert_eq!(
                self.world.got(client).lines().next(),
                Some("HTTP/1.1 200 OK")
            );
            let last = match local {
                SocketAddr::V4(address) => address.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            };
            return Seen::At(last, head);
        }
        match self.world.client.end(client) {
            Some(_) => Seen::Closed,
            None => Seen::Waiting,
        }
    }

    /// The number of the endpoint that a request reaches.
    pub(crate) fn reaches(&mut self, request: &str) -> u8 {
        match self.ask(request) {
            Seen::At(endpoint, _) => endpoint,
            other => panic!("{request}: {other:?}"),
        }
    }

    /// The head that a request reaches an endpoint as.
    pub(crate) fn head(&mut self, request: &str) -> String {
        match self.ask(request) {
            Seen::At(_, head) => head,
            other => panic!("{request}: {other:?}"),
        }
    }

    /// The gateway's own answer to a request.
    pub(crate) fn answer(&mut self, request: &str) -> String {
        match self.ask(request) {
            Seen::Answered(answer) => answer,
            other => panic!("{request}: {other:?}"),
        }
    }
}

/// The value of a header in a head; several joined by ` | `.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let own = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    let values: Vec<&str> = own.map(|(_, value)| value.trim_end()).collect();
    (!values.is_empty()).then(|| values.join(" | "))
}
