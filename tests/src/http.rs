//! Reading HTTP as a client sees it, apart from the gateway's own codec.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

/// Longest that a socket of a test waits for its peer.
pub(crate) const PEER_WITHIN: Duration = Duration::from_secs(20);

/// A response: its head as text, its body as bytes.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Status line and header fields, without the empty line.
    pub head: String,
    /// The body, out of its framing. After several requests to curl: their bodies in a row.
    pub body: Vec<u8>,
}

impl Reply {
    /// From a curl that wrote heads to stderr (`-D /dev/stderr`) and bodies to stdout. Where it
    /// saw several heads, the last counts.
    pub(crate) fn from_curl(output: Output) -> Reply {
        let heads = String::from_utf8_lossy(&output.stderr).into_owned();
        let head = heads
            .trim_end()
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default();
        Reply {
            status: status(head),
            head: head.to_owned(),
            body: output.stdout,
        }
    }

    /// The value of a header field, by its name in any case. The first, where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection, to send bytes as they are and read responses one by one.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Takes over a connected stream.
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream: BufReader::new(stream),
        }
    }

    /// Accepts a connection, as a backend of the test's own. Fails after 20 seconds without one.
    pub fn accept(listener: &TcpListener) -> io::Result<Connection> {
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + PEER_WITHIN;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(PEER_WITHIN))?;
                    stream.set_write_timeout(Some(PEER_WITHIN))?;
                    return Ok(Connection::new(stream));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// The stream below, to shut it down or set its options.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Reads a response with a Content-Length, or without a body where it has none.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let head = self.read_head()?;
        let mut reply = Reply {
            status: status(&head),
            head,
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .and_then(|length| length.parse().ok());
        reply.body.resize(length.unwrap_or(0), 0);
        self.stream.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    /// Reads up to the empty line that ends a head. Serves a backend as well.
    pub fn read_head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, head));
            }
            if head.get(before..) == Some("\r\n") {
                head.truncate(before);
                return Ok(head.trim_end().to_owned());
            }
        }
    }

    /// Reads this many bytes.
    pub fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what comes until the peer ends the stream.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn status(head: &str) -> u16 {
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("not the head of a response: {head:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_head_of_curl_counts() {
        let output = Output {
            status: Default::default(),
            stdout: b"body".to_vec(),
            stderr: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nETag: a:b\r\n\r\n"
                .to_vec(),
        };
        let reply = Reply::from_curl(output);
        assert_eq!(reply.status, 201);
        assert_eq!(reply.header("etag"), Some("a:b"));
        assert_eq!(reply.text(), "body");
    }
}
