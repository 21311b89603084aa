//! Tells systemd how far the gateway is (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET`
//! names. Where nobody asked to be told, nothing happens.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::log;

/// Whoever started the gateway and wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// By the environment.
    pub(crate) fn from_environment() -> Self {
        env::var_os("NOTIFY_SOCKET").map_or_else(Notify::default, |name| Notify::to(&name))
    }

    fn to(name: &OsStr) -> Self {
        match connect(name) {
            Ok(socket) => Notify(Some(socket)),
            Err(error) => {
                let name = name.display();
                log::warning(format_args!(
                    "NOTIFY_SOCKET={name}: {error}; nobody is told"
                ));
                Notify(None)
            }
        }
    }

    /// Requests are served.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// The gateway stops, and may take `within` for it.
    pub(crate) fn stopping(&self, within: Duration) {
        let micros = within.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}"));
    }

    fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            log::warning(format_args!("systemd could not be told {state:?}: {error}"));
        }
    }
}

/// A name that begins with `@` is an abstract one.
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // Full buffers are no reason to wait.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn said(socket: &UnixDatagram) -> String {
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut message = [0; 200];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    #[test]
    fn systemd_is_told_by_path_and_by_abstract_name() {
        let id = std::process::id();
        let path = env::temp_dir().join(format!("sluice-notify-{id}"));
        let abstract_name = format!("sluice-notify-{id}");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let sockets = [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.clone().into_os_string(),
            ),
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                OsString::from(format!("@{abstract_name}")),
            ),
        ];
        for (socket, name) in sockets {
            let notify = Notify::to(&name);
            notify.ready();
            assert_eq!(said(&socket), "READY=1");
            notify.stopping(Duration::from_millis(1500));
            assert_eq!(said(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_anybody_to_tell_nothing_happens() {
        Notify::default().ready();
        Notify::to(OsStr::new("/nonexistent/socket")).ready();
        Notify::to(OsStr::new("@")).stopping(Duration::ZERO);
    }
}
