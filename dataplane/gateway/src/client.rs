//! The admin interface's client, for the commands that ask a running gateway.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where a gateway's admin interface is unless its rules say otherwise.
pub(crate) const DEFAULT: &str = "127.0.0.1:9901";

/// How long the gateway may take to accept, and to answer with anything at all unless that is more work.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer's head at most.
const HEAD: u64 = 16 * 1024;

/// Bytes of an answer that is taken as a whole.
const BODY: u64 = 64 << 20;

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody there, or somebody who says nothing.
    #[error(
        "no gateway answers at {admin}: {error}. Does it run, and is that its admin.address? \
         (--admin says another)"
    )]
    Unreachable {
        /// Who was asked.
        admin: SocketAddr,
        /// What came of it.
        error: io::Error,
    },
    /// It takes the connection and says nothing, for so long.
    #[error(
        "what listens at {0} gives no answer within {1:?}. Is that the admin.address? (--admin says another)"
    )]
    Silent(SocketAddr, Duration),
    /// What answers is not an admin interface.
    #[error("what answers at {0} is not the admin interface of a gateway (--admin says another)")]
    Strange(SocketAddr),
    /// The gateway says no, and why.
    #[error("the gateway refuses: {0}")]
    Refused(String),
}

/// The body of an answer with status 200, from its beginning. It ends with the connection.
pub(crate) type Body = BufReader<TcpStream>;

/// Asks for a path.
pub(crate) fn ask(admin: SocketAddr, method: &str, path: &str) -> Result<Body, ClientError> {
    ask_for(admin, method, path, PATIENCE)
}

/// Asks for a path, for something that takes the gateway up to so long.
pub(crate) fn ask_for(
    admin: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> Result<Body, ClientError> {
    let strange = || ClientError::Strange(admin);
    let (head, mut body) =
        exchange(admin, method, path, patience).map_err(|error| match error.kind() {
            // Connecting ends as `TimedOut`.
            io::ErrorKind::WouldBlock => ClientError::Silent(admin, patience),
            _ => ClientError::Unreachable { admin, error },
        })?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let status: u16 = status
        .and_then(|code| code.parse().ok())
        .ok_or_else(strange)?;
    if status == 200 {
        return Ok(body);
    }
    let mut reason = String::new();
    let read = body.by_ref().take(HEAD).read_to_string(&mut reason);
    read.map_err(|_| strange())?;
    Err(ClientError::Refused(reason.trim_end().to_owned()))
}

/// Asks for a path and reads the whole answer.
pub(crate) fn get_text(admin: SocketAddr, path: &str) -> Result<String, ClientError> {
    let mut text = String::new();
    let mut body = ask(admin, "GET", path)?.take(BODY);
    body.read_to_string(&mut text)
        .map_err(|error| ClientError::Unreachable { admin, error })?;
    Ok(text)
}

/// One request on a connection of its own. In HTTP/1.0, where the end of the connection is the end of
/// the body.
fn exchange(
    admin: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<(String, Body)> {
    let mut connection = TcpStream::connect_timeout(&admin, PATIENCE)?;
    connection.set_read_timeout(Some(patience))?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut body = BufReader::new(connection);
    let mut head = Vec::new();
    let mut limited = body.by_ref().take(HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((String::from_utf8_lossy(&head).into_owned(), body))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What the client makes of these bytes as an answer.
    fn answered(bytes: &'static [u8]) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = connection.read(&mut request).unwrap();
            connection.write_all(bytes).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = get_text(admin, "/flows?limit=1").map_err(|error| error.to_string());
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /flows?limit=1 HTTP/1.0\r\n"),
            "{request}"
        );
        answer
    }

    #[test]
    fn an_answer_is_its_body() {
        let answer = answered(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}\n");
        assert_eq!(answer, Ok("{}\n".into()));
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let answer = answered(b"HTTP/1.0 409 Conflict\r\n\r\none at a time\n");
        assert_eq!(answer, Err("the gateway refuses: one at a time".into()));
    }

    #[test]
    fn silence_is_not_waited_for_without_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let error = ask_for(admin, "POST", "/rollback", Duration::from_millis(50)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("gives no answer within 50ms"), "{said}");
    }

    #[test]
    fn what_is_no_gateway_is_said_to_be_none() {
        let error = answered(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap_err();
        assert!(error.contains("is not the admin interface"), "{error}");
        let error = answered(b"").unwrap_err();
        assert!(
            error.contains("no gateway answers") && error.contains("--admin"),
            "{error}"
        );
    }
}
