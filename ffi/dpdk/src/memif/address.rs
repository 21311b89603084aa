//! The arguments of a memif device, and the socket that they name.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, bind, connect, listen};

use super::{RelayError, failed, seqpacket};

/// What a driver without the argument takes.
const DEFAULT_SOCKET: &str = "/run/memif.sock";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// The arguments that the relay needs; the others are the driver's.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) role: Role,
    pub(super) id: u32,
    pub(super) address: Address,
    others: Vec<String>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    path: String,
    is_abstract: bool,
    /// User and group of the file, where they are asked for.
    owner: (Option<u32>, Option<u32>),
}

impl Arguments {
    /// `None` for another driver, and for arguments that the driver refuses.
    pub(super) fn parse(name: &str, args: &str) -> Option<Self> {
        if !name.starts_with("net_memif") {
            return None;
        }
        let mut all = Self {
            role: Role::Client,
            id: 0,
            address: Address {
                path: DEFAULT_SOCKET.to_owned(),
                is_abstract: true,
                owner: (None, None),
            },
            others: Vec::new(),
        };
        for arg in args.split(',').filter(|arg| !arg.is_empty()) {
            let (key, value) = arg.split_once('=')?;
            match key {
                // `master` and `slave` are the driver's older words.
                "role" => {
                    all.role = match value {
                        "server" | "master" => Role::Server,
                        "client" | "slave" => Role::Client,
                        _ => return None,
                    };
                    all.others.push(arg.to_owned());
                }
                "id" => {
                    all.id = value.parse().ok()?;
                    all.others.push(arg.to_owned());
                }
                "socket" => all.address.path = value.to_owned(),
                "socket-abstract" => {
                    all.address.is_abstract = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return None,
                    };
                }
                "owner-uid" => all.address.owner.0 = Some(value.parse().ok()?),
                "owner-gid" => all.address.owner.1 = Some(value.parse().ok()?),
                _ => all.others.push(arg.to_owned()),
            }
        }
        Some(all)
    }

    /// The driver's arguments, with another socket.
    pub(super) fn with_socket(&self, socket: &Path) -> String {
        let mut args = self.others.clone();
        args.push("socket-abstract=no".to_owned());
        args.push(format!("socket={}", socket.display()));
        args.join(",")
    }
}

impl Address {
    /// That a file can be where the address says: one that nobody listens on yet may come, a directory
    /// hardly.
    pub(super) fn check_directory(&self) -> Result<(), RelayError> {
        let directory = Path::new(&self.path).parent();
        match directory {
            Some(directory) if !self.is_abstract && !directory.as_os_str().is_empty() => {
                let there = fs::metadata(directory);
                let step = format!("finding the directory {}", directory.display());
                there.map(|_| ()).map_err(|error| {
                    failed(step)(Errno::from_io_error(&error).unwrap_or(Errno::NOENT))
                })
            }
            _ => Ok(()),
        }
    }

    /// The kernel's form of it.
    fn socket_address(&self) -> rustix::io::Result<SocketAddrUnix> {
        if !self.is_abstract {
            return SocketAddrUnix::new(self.path.as_str());
        }
        SocketAddrUnix::new_abstract_name(self.path.as_bytes())
    }

    /// A connection to the server there.
    pub(super) fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let socket = seqpacket()?;
        connect(&socket, &self.socket_address()?)?;
        Ok(socket)
    }

    /// Listens there. A file that a server left behind when it was killed is replaced: nobody is behind one
    /// that refuses connections.
    pub(super) fn listen(&self) -> Result<OwnedFd, RelayError> {
        let step = || format!("listening on {}", self.path);
        let address = self.socket_address().map_err(failed(step()))?;
        let socket = seqpacket().map_err(failed(step()))?;
        let bound = match bind(&socket, &address) {
            Err(Errno::ADDRINUSE)
                if !self.is_abstract && self.connect().err() == Some(Errno::CONNREFUSED) =>
            {
                self.remove();
                bind(&socket, &address)
            }
            bound => bound,
        };
        bound.map_err(failed(step()))?;
        if !self.is_abstract
            && let (user, group) = self.owner
            && (user, group) != (None, None)
        {
            chown(&self.path, user, group).map_err(|error| {
                let reason = Errno::from_io_error(&error).unwrap_or(Errno::PERM);
                failed(format!("giving {} to its owner", self.path))(reason)
            })?;
        }
        listen(&socket, BACKLOG).map_err(failed(step()))?;
        Ok(socket)
    }

    /// Removes the file, if it is one.
    pub(super) fn remove(&self) {
        if !self.is_abstract {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_the_drivers_with_its_defaults() {
        let all = Arguments::parse("net_memif0", "").unwrap();
        assert_eq!((all.role, all.id), (Role::Client, 0));
        assert_eq!(all.address.path, "/run/memif.sock");
        assert!(all.address.is_abstract);

        let given =
            "role=server,id=3,socket-abstract=no,socket=/run/front.sock,owner-uid=7,rsize=11";
        let all = Arguments::parse("net_memif0", given).unwrap();
        assert_eq!((all.role, all.id), (Role::Server, 3));
        assert_eq!(all.address.owner, (Some(7), None));
        assert_eq!(
            all.with_socket(Path::new("/tmp/x/driver")),
            "role=server,id=3,rsize=11,socket-abstract=no,socket=/tmp/x/driver"
        );
        for refused in ["role=both", "id=x", "socket-abstract=maybe", "zero"] {
            assert!(
                Arguments::parse("net_memif0", refused).is_none(),
                "{refused}"
            );
        }
        assert!(Arguments::parse("net_ring0", "").is_none());
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let path = std::env::temp_dir().join(format!("sluice-stale-{}.sock", std::process::id()));
        let address = Address {
            path: path.display().to_string(),
            is_abstract: false,
            owner: (None, None),
        };
        let first = address.listen().unwrap();
        let error = address.listen().unwrap_err();
        assert_eq!(error.reason, Errno::ADDRINUSE, "somebody listens");
        drop(first);
        drop(address.listen().unwrap());
        fs::write(&path, "no socket").unwrap_or_default();
        address.remove();
        assert!(!path.exists());
    }
}
