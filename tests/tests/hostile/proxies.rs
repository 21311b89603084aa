//! The three proxies under comparison, each in a lab of its own before the same backend.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sluice_tests::gateway::Gateway;
use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY};

const START_WITHIN: Duration = Duration::from_secs(10);

/// A tuned but otherwise ordinary nginx: bodies are streamed, connections to the backend kept.
const NGINX: &str = r#"
daemon off;
master_process off;
pid /dev/null;
error_log stderr crit;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path DIR/nginx-body;
    proxy_temp_path DIR/nginx-proxy;
    fastcgi_temp_path DIR/nginx-fastcgi;
    scgi_temp_path DIR/nginx-scgi;
    uwsgi_temp_path DIR/nginx-uwsgi;
    upstream own { server 10.77.2.5:8080; keepalive 8; }
    server {
        listen 10.77.1.1:80;
        lingering_close off;
        location / {
            proxy_pass http://own;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_next_upstream off;
        }
    }
}
"#;

/// HAProxy with its defaults.
const HAPROXY: &str = r#"
global
    maxconn 256
defaults
    mode http
    timeout connect 3s
    timeout client 5s
    timeout server 5s
    retries 0
frontend front
    bind 10.77.1.1:80
    default_backend own
backend own
    server one 10.77.2.5:8080
"#;

/// One of the proxies, running.
pub(crate) enum Proxy<'lab> {
    Sluice(Gateway<'lab>),
    Kernel(Child),
}

impl<'lab> Proxy<'lab> {
    pub(crate) fn sluice(lab: &'lab Lab) -> Proxy<'lab> {
        Proxy::Sluice(lab.gateway(CONFIG))
    }

    /// Sluice, where it is that.
    pub(crate) fn gateway(&self) -> Option<&Gateway<'lab>> {
        match self {
            Proxy::Sluice(gateway) => Some(gateway),
            Proxy::Kernel(_) => None,
        }
    }

    pub(crate) fn nginx(lab: &'lab Lab) -> Proxy<'lab> {
        let directory = lab.directory();
        let config = directory.join("proxy-nginx.conf");
        let text = NGINX.replace("DIR", &directory.to_string_lossy());
        fs::write(&config, text).expect("cannot write nginx's configuration");
        let config = config.to_string_lossy();
        Proxy::kernel(lab, &["nginx", "-e", "/dev/null", "-c", &config])
    }

    pub(crate) fn haproxy(lab: &'lab Lab) -> Proxy<'lab> {
        let config = lab.directory().join("haproxy.cfg");
        fs::write(&config, HAPROXY).expect("cannot write HAProxy's configuration");
        Proxy::kernel(
            lab,
            &["haproxy", "-db", "-q", "-f", &config.to_string_lossy()],
        )
    }

    /// Gives the kernel the gateway's place and addresses, and starts a proxy there.
    fn kernel(lab: &Lab, command: &[&str]) -> Proxy<'lab> {
        let namespace = format!("{}-gateway", lab.name());
        let links = [
            ("sluice-front", "10.77.1.1/24"),
            ("sluice-back", "10.77.2.1/24"),
        ];
        for (link, address) in links {
            ip(&["-n", &namespace, "link", "set", link, "arp", "on"]);
            ip(&["-n", &namespace, "address", "add", address, "dev", link]);
        }
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &namespace,
                "setpriv",
                "--pdeathsig",
                "KILL",
            ])
            .args(command)
            .stdin(Stdio::null())
            .spawn()
            .expect("ip netns exec did not start; run scripts/setup");
        let mut proxy = Proxy::Kernel(child);
        proxy.wait_until_ready(lab, command);
        proxy
    }

    fn wait_until_ready(&mut self, lab: &Lab, command: &[&str]) {
        let deadline = Instant::now() + START_WITHIN;
        while lab.connect(GATEWAY).is_err() {
            if let Proxy::Kernel(child) = self {
                let ended = child.try_wait().expect("the proxy is not our child");
                assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            }
            assert!(Instant::now() < deadline, "{command:?} does not accept");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Proxy<'_> {
    fn drop(&mut self) {
        if let Proxy::Kernel(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip did not start");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        printed(&output)
    );
}

/// The statuses in what came back on a connection.
pub(crate) fn statuses(mut bytes: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        statuses.push(status.unwrap_or(0));
        bytes = bytes.get(end + 4..).unwrap_or_default();
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        let after = if matches!(status, Some(100..=199 | 204 | 304)) {
            Some(bytes)
        } else if head.contains("transfer-encoding: chunked") {
            let end = bytes.windows(5).position(|window| window == b"0\r\n\r\n");
            end.and_then(|end| bytes.get(end + 5..))
        } else {
            bytes.get(length..)
        };
        bytes = after.unwrap_or_default();
    }
    if !bytes.is_empty() {
        statuses.push(0);
    }
    statuses
}

/// Sends bytes on a connection of their own and reads until its end or until it has been quiet.
pub(crate) fn play(lab: &Lab, bytes: &[u8], quiet: Duration) -> (Vec<u8>, bool) {
    let mut connection = lab.connect(GATEWAY).expect("the proxy does not accept");
    // What is refused early may be closed before all of it is sent.
    let _ = connection.send(bytes);
    let mut stream: &TcpStream = connection.stream();
    let mut got = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let patience = if got.is_empty() { quiet * 4 } else { quiet };
        stream
            .set_read_timeout(Some(patience))
            .expect("cannot bound the wait");
        match stream.read(&mut buffer) {
            Ok(0) => return (got, true),
            Ok(count) => got.extend(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (got, false),
            Err(_) => return (got, true),
        }
    }
}
