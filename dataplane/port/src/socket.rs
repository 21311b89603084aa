//! The socket at which a net_vhost device waits for its peer.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;

/// Removes the socket that a device is to make if one is there at which nobody waits: a process that was
/// killed leaves it behind, and DPDK would not make it again.
pub(crate) fn clear(device: &str) {
    let Some(path) = made_by(device) else { return };
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let is_left = || {
        UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    if is_socket && is_left() {
        // Where that fails, so does what DPDK does next, and says why.
        let _ = fs::remove_file(path);
    }
}

/// The path of the socket that a device makes, if it makes one.
fn made_by(device: &str) -> Option<&str> {
    let mut arguments = device.split(',');
    let driver = arguments.next()?;
    let is_vhost = ["net_vhost", "eth_vhost"]
        .iter()
        .any(|name| driver.starts_with(name));
    let is_client = device.split(',').any(|argument| argument == "client=1");
    let path = arguments.find_map(|argument| argument.strip_prefix("iface="));
    path.filter(|_| is_vhost && !is_client)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_removed_where_nobody_waits_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("sluice-socket-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("vhost");
        let vhost = format!("net_vhost0,iface={},queues=2", path.display());
        let listener = UnixListener::bind(&path).unwrap();
        clear(&vhost);
        assert!(path.exists(), "somebody waits at it");
        drop(listener);
        clear(&format!("{vhost},client=1"));
        clear(&format!("net_virtio_user0,path={}", path.display()));
        clear("net_vhost0");
        assert!(path.exists(), "none of theirs");
        clear(&vhost);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        clear(&vhost);
        assert!(path.exists(), "no socket");
        fs::remove_dir_all(&folder).unwrap();
    }
}
