//! Several workers: on one queue, which one of them has, and on devices with a queue for each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::gateway::Gateway;
use sluice_tests::lab::{Lab, printed};

use crate::{CONFIG, GATEWAY, get};

/// More workers than this machine may have cores to spare: they share one.
const TWO: &str = "workers: { cores: [0, 0], idle: adaptive, memory: 96MiB }\n";

/// A metric of each of the two workers, with the rest of its labels.
fn of_both(metrics: &BTreeMap<String, f64>, name: &str, labels: &str) -> [f64; 2] {
    ["0", "1"].map(|worker| {
        let key = format!("{name}{{worker=\"{worker}\"{labels}}}");
        metrics
            .get(&key)
            .copied()
            .unwrap_or_else(|| panic!("no {key}"))
    })
}

/// Frames of each worker: received or taken over, and their fates or handed over.
fn books(metrics: &BTreeMap<String, f64>) -> [(f64, f64); 2] {
    let event = |event: &str| {
        let label = format!(",event=\"{event}\"");
        of_both(metrics, "sluice_stack_events_total", &label)
    };
    let (over, taken) = (event("handed_over"), event("taken_over"));
    [0, 1].map(|worker| {
        let sum = |family: &str, part: &str| -> f64 {
            let prefix = format!("{family}{{worker=\"{worker}\",");
            let samples = metrics.iter();
            let own = samples.filter(|(key, _)| key.starts_with(&prefix) && key.contains(part));
            own.map(|(_, value)| value).sum()
        };
        (
            sum("sluice_frames_total", "direction=\"rx\"") + taken[worker],
            sum("sluice_frame_fates_total", "fate=") + over[worker],
        )
    })
}

/// Waits until `holds` of the metrics: counters are published about once per millisecond.
fn metrics_until(
    gateway: &Gateway<'_>,
    holds: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = gateway.metrics();
        if holds(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "{metrics:#?}");
    }
}

#[test]
fn two_workers_on_one_queue_serve_nginx_by_ipv4_and_ipv6() {
    let lab = Lab::up();
    let gateway = lab.gateway(&format!("{TWO}{CONFIG}"));
    let log = gateway.log();
    assert!(
        log.contains("1 queue pair(s) for 2 workers") && log.contains("worker 1: core 0"),
        "{log}"
    );
    let direct = lab.direct("/64k");
    // A connection for each request: half of them are the other worker's.
    for _ in 0..20 {
        let reply = lab.curl(&["http://nginx.test/64k"]);
        assert_eq!((reply.status, reply.body == direct), (200, true));
        assert_eq!(lab.curl6(&["http://nginx6.test/1k"]).status, 200);
    }
    let metrics = metrics_until(&gateway, |metrics| {
        let requests = of_both(metrics, "sluice_requests_total", ",status=\"200\"");
        requests[0] + requests[1] == 40.0 && books(metrics).iter().all(|(came, went)| came == went)
    });
    let requests = of_both(&metrics, "sluice_requests_total", ",status=\"200\"");
    assert!(requests.iter().all(|n| *n >= 4.0), "{requests:?}");
    let event = |event: &str| {
        let label = format!(",event=\"{event}\"");
        of_both(&metrics, "sluice_stack_events_total", &label)
    };
    let (over, taken) = (event("handed_over"), event("taken_over"));
    // All comes in by the first worker's queue, and goes out by it.
    assert_eq!((over[0], over[1], taken[0]), (taken[1], 0.0, 0.0));
    assert!(over[0] > 100.0, "{over:?}");
    let relayed = event("frame_relayed");
    assert!(relayed[0] == 0.0 && relayed[1] > 100.0, "{relayed:?}");
    assert_eq!(event("relay_full"), [0.0, 0.0]);
    let fates = of_both(
        &metrics,
        "sluice_frame_fates_total",
        ",fate=\"hand_over_full\"",
    );
    assert_eq!(fates, [0.0, 0.0]);
    assert!(gateway.stop().success());
}

#[test]
fn flows_captures_reloads_and_the_end_are_of_both_workers() {
    let lab = Lab::up();
    let config = format!("{TWO}{CONFIG}");
    let gateway = lab.gateway(&config);
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
        client.send(get("nginx.test", "/")).expect("cannot send");
        assert_eq!(client.read_reply().expect("no answer").status, 200);
        clients.push(client);
    }
    let metrics = metrics_until(&gateway, |metrics| {
        let connections = of_both(metrics, "sluice_downstream_connections", "");
        connections[0] + connections[1] == 16.0
    });
    let connections = of_both(&metrics, "sluice_downstream_connections", "");

    // Pages of a few flows at a time go over all of both.
    let (mut shown, mut from) = ([0.0; 2], 0);
    loop {
        let path = format!("/flows?limit=5&from={from}");
        let reply = gateway
            .admin(&path)
            .expect("the admin interface does not answer");
        let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
        for flow in answer["list"].as_array().expect("a list") {
            if flow["listener"] == "http" {
                shown[flow["worker"].as_u64().expect("a number") as usize] += 1.0;
            }
        }
        match answer["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(shown, connections);

    std::fs::write(
        lab.directory().join("gateway.yaml"),
        config.replace(
            "host: own.test, service: own",
            "host: new.test, service: nginx",
        ),
    )
    .expect("cannot write the configuration");
    metrics_until(&gateway, |metrics| {
        of_both(metrics, "sluice_worker_rules_generation", "") == [2.0, 2.0]
    });
    for client in &mut clients {
        client.send(get("new.test", "/1k")).expect("cannot send");
        assert_eq!(client.read_reply().expect("no answer").status, 200);
    }

    // Both workers' frames are in one capture.
    let file = lab.directory().join("capture.pcapng");
    let file = file.to_str().expect("the lab's path is text");
    let capture = [
        "capture",
        "--write",
        file,
        "--tcp-port",
        "80",
        "--seconds",
        "2",
    ];
    let captured = std::thread::scope(|scope| {
        let capture = scope.spawn(|| gateway.sluice(&[], &capture));
        while !capture.is_finished() {
            for client in &mut clients {
                client.send(get("nginx.test", "/")).expect("cannot send");
                assert_eq!(client.read_reply().expect("no answer").status, 200);
            }
        }
        capture.join().expect("the capture panicked")
    });
    assert!(captured.status.success(), "{}", printed(&captured));
    let bytes = std::fs::read(file).expect("there is no capture");
    for client in &clients {
        let port = client
            .stream()
            .local_addr()
            .expect("it is connected")
            .port()
            .to_be_bytes();
        let found = bytes.windows(2).any(|window| window == port);
        assert!(found, "nothing of port {port:?} was captured");
    }

    let begun = Instant::now();
    assert!(gateway.stop().success());
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "idle connections held it up"
    );
}

/// Requests go through two gateways, with a wire of two queues between them, that may carry large frames.
fn over_a_wire_of_two_queues(first: &str, second: &str, large: bool) {
    let lab = Lab::up();
    let path = lab.directory().join("wire.sock");
    let path = path.to_str().expect("the lab's path is text");
    let first = lab.gateway(&format!(
        "{TWO}ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24] }}
  wire: {{ device: \"{first}{path}\", addresses: [10.77.3.1/24] }}
listeners:
  web: {{ address: 10.77.1.1:80 }}
services:
  # A connection for each request: which worker one belongs to is chance.
  second: {{ endpoints: [10.77.3.2:80], max_idle: 0 }}
routes:
  - {{ service: second }}
"
    ));
    let second = lab.second_gateway(
        &format!(
            "{TWO}admin: {{ address: 127.0.0.1:9902 }}
ports:
  wire: {{ device: \"{second}{path}\", addresses: [10.77.3.2/24] }}
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24] }}
listeners:
  web: {{ address: 10.77.3.2:80 }}
services:
  nginx: {{ endpoints: [10.77.2.2:8080, 10.77.2.3:8080] }}
routes:
  - {{ service: nginx }}
"
        ),
        "127.0.0.1:9902",
    );
    let direct = lab.direct("/64k");
    for _ in 0..20 {
        let reply = lab.curl(&["http://nginx.test/64k"]);
        assert_eq!((reply.status, reply.body == direct), (200, true));
    }
    // The second answers with 64 KiB, in frames that it leaves to its device to cut; who receives them and who
    // sends them count alike.
    let of_wire = |gateway: &Gateway<'_>, direction: &str| {
        let label = format!(",port=\"wire\",direction=\"{direction}\"");
        let frames = of_both(&gateway.metrics(), "sluice_large_frames_total", &label);
        frames[0] + frames[1]
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while of_wire(&second, "tx") != of_wire(&first, "rx") {
        assert!(Instant::now() < deadline, "{}", of_wire(&second, "tx"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = of_wire(&second, "tx");
    assert_eq!(sent >= 20.0, large, "{sent}");
    assert_eq!((of_wire(&second, "rx"), of_wire(&first, "tx")), (0.0, 0.0));
    for gateway in [&first, &second] {
        let log = gateway.log();
        assert!(
            log.contains("port wire: the device does not say how it steers flows"),
            "{log}"
        );
        assert!(log.contains(", 2 x 1024/1024 descriptors"), "{log}");
        let metrics = metrics_until(gateway, |metrics| {
            let requests = of_both(metrics, "sluice_requests_total", ",status=\"200\"");
            let first = "sluice_steering_first_frames_total{port=\"wire\",family=\"ipv4\",landed=";
            let firsts = metrics.iter().filter(|(key, _)| key.starts_with(first));
            requests[0] + requests[1] == 20.0
                && firsts.map(|(_, value)| value).sum::<f64>() >= 20.0
                && books(metrics).iter().all(|(came, went)| came == went)
        });
        for (port, steered) in [("wire", true), ("front", false), ("back", false)] {
            let by = "family=\"ipv4\",by=\"software\"";
            let key = format!("sluice_steering{{port=\"{port}\",{by}}}");
            assert!(metrics.get(&key).is_none_or(|by| *by == 1.0), "{port}");
            let firsts = ["as_steered", "elsewhere"].map(|landed| {
                let labels = format!("port=\"{port}\",family=\"ipv4\",landed=\"{landed}\"");
                let key = format!("sluice_steering_first_frames_total{{{labels}}}");
                metrics.get(&key).copied().unwrap_or(0.0)
            });
            assert_eq!(firsts[0] + firsts[1] > 0.0, steered, "{port} {firsts:?}");
        }
        for direction in ["rx", "tx"] {
            let label = format!(",port=\"wire\",direction=\"{direction}\"");
            let frames = of_both(&metrics, "sluice_frames_total", &label);
            assert!(frames.iter().all(|n| *n > 10.0), "{direction} {frames:?}");
        }
    }
    assert!(first.stop().success());
    assert!(second.stop().success());
}

#[test]
fn two_workers_have_a_queue_each_over_vhost_towards_nginx() {
    over_a_wire_of_two_queues(
        "net_vhost0,queues=2,tso=1,iface=",
        "net_virtio_user0,queues=2,path=",
        true,
    );
}

#[test]
fn two_workers_have_a_queue_each_over_memif_towards_nginx() {
    over_a_wire_of_two_queues(
        "net_memif0,role=server,id=0,socket-abstract=no,socket=",
        "net_memif1,role=client,id=0,socket-abstract=no,socket=",
        false,
    );
}

/// What came by the wire's queues, and went by them, of both workers or of the only one.
fn wire_frames(metrics: &BTreeMap<String, f64>, direction: &str) -> f64 {
    let end = format!("port=\"wire\",direction=\"{direction}\"}}");
    let samples = metrics.iter();
    let wire =
        samples.filter(|(key, _)| key.starts_with("sluice_frames_total{") && key.ends_with(&end));
    wire.map(|(_, value)| value).sum()
}

#[test]
fn a_memif_peer_that_comes_back_with_one_queue_is_served_by_it_towards_nginx() {
    // An address that stays, so that nobody has to find it again.
    peers_of_two_queues_and_of_one(
        "net_memif1,role=server,id=0,mac=02:00:00:00:03:01,socket-abstract=no,socket=PATH",
        "net_memif2,role=client,id=0,mac=02:00:00:00:03:02,socket-abstract=no,socket=PATH",
        &[2, 1, 2],
    );
}

#[test]
fn a_virtio_user_with_one_queue_is_served_by_it_over_vhost_towards_nginx() {
    peers_of_two_queues_and_of_one(
        "net_vhost1,queues=2,iface=PATH",
        "net_virtio_user2,queues=QUEUES,mac=02:00:00:00:03:02,path=PATH",
        &[1, 2],
    );
}

/// Two workers send by the queues that both ends of their wire have, one or two, each time that its other end comes.
fn peers_of_two_queues_and_of_one(first: &str, second: &str, rounds: &[u8]) {
    let lab = Lab::up();
    let path = lab.directory().join("wire.sock");
    let path = path.to_str().expect("the lab's path is text");
    let device = |device: &str, queues: u8| {
        let device = device.replace("PATH", path);
        device.replace("QUEUES", &queues.to_string())
    };
    let first = lab.gateway(&format!(
        "{TWO}ports:
  front: {{ interface: sluice-front, addresses: [10.77.1.1/24] }}
  wire: {{ device: \"{}\", addresses: [10.77.3.1/24] }}
listeners:
  web: {{ address: 10.77.1.1:80 }}
services:
  # A connection for each request: which worker one belongs to is chance.
  second: {{ endpoints: [10.77.3.2:80], max_idle: 0 }}
routes:
  - {{ service: second }}
",
        device(first, 2)
    ));
    let queues = |queues: f64| {
        let is = move |metrics: &BTreeMap<String, f64>, direction| {
            metrics[&format!("sluice_queues{{port=\"wire\",direction=\"{direction}\"}}")] == queues
        };
        move |metrics: &BTreeMap<String, f64>| is(metrics, "rx") && is(metrics, "tx")
    };
    let one = TWO.replace("[0, 0]", "[0]");
    let direct = lab.direct("/1k");
    let fewer = "port wire: the peer has 1 of 2 queues: worker 1 has none";
    let all = "port wire: the peer has all queues";
    let mut had = 2;
    for &queues_of_peer in rounds {
        let (workers, said) = match (had, queues_of_peer) {
            (_, 1) => (&one[..], Some(fewer)),
            (1, _) => (TWO, Some(all)),
            _ => (TWO, None),
        };
        had = queues_of_peer;
        let pairs = f64::from(queues_of_peer);
        // As they were when both workers had nobody to receive from.
        let polls = |metrics: &_| of_both(metrics, "sluice_polls_total", ",kind=\"idle\"");
        let gone = polls(&metrics_until(&first, queues(0.0)));
        let before = metrics_until(&first, |metrics| {
            polls(metrics)
                .iter()
                .zip(gone)
                .all(|(now, then)| *now > then)
        });
        let second = lab.second_gateway(
            &format!(
                "{workers}admin: {{ address: 127.0.0.1:9902 }}
ports:
  wire: {{ device: \"{}\", addresses: [10.77.3.2/24] }}
  back: {{ interface: sluice-back, addresses: [10.77.2.1/24] }}
listeners:
  web: {{ address: 10.77.3.2:80 }}
services:
  nginx: {{ endpoints: [10.77.2.2:8080, 10.77.2.3:8080] }}
routes:
  - {{ service: nginx }}
",
                device(second, queues_of_peer)
            ),
            "127.0.0.1:9902",
        );
        metrics_until(&first, queues(pairs));
        let answered = |metrics: &BTreeMap<String, f64>| {
            ["0", "1"].map(|worker| {
                let key = format!("sluice_requests_total{{worker=\"{worker}\",status=\"200\"}}");
                metrics.get(&key).copied().unwrap_or(0.0)
            })
        };
        for _ in 0..16 {
            let reply = lab.curl(&["http://nginx.test/1k"]);
            assert_eq!((reply.status, reply.body == direct), (200, true));
        }
        let came = wire_frames(&before, "rx");
        let after = metrics_until(&first, |metrics| {
            let sent = wire_frames(&second.metrics(), "tx");
            wire_frames(metrics, "rx") - came == sent && sent >= 16.0 * 3.0
        });
        let [was, is] = [&before, &after].map(answered);
        let both = [is[0] - was[0], is[1] - was[1]];
        assert!(both[0] > 0.0 && both[1] > 0.0, "{both:?}");
        let labels = ",port=\"wire\",direction=\"tx\"";
        let went = of_both(&after, "sluice_frames_total", labels)[1]
            - of_both(&before, "sluice_frames_total", labels)[1];
        assert_eq!(
            went == 0.0,
            pairs == 1.0,
            "{went} frames by the second queue"
        );
        // It is looked at once in a second.
        if let Some(line) = said {
            crate::operation::until(&true, || first.log().contains(line));
        }
        assert!(second.stop().success());
    }
    assert!(first.stop().success());
}

#[test]
fn a_worker_that_hangs_is_told_and_ends_the_gateway_if_it_does_not_go_on() {
    let lab = Lab::up();
    let mut gateway = lab.gateway(&format!("{TWO}{CONFIG}"));
    let ready = |gateway: &Gateway<'_>| {
        let reply = gateway
            .admin("/ready")
            .expect("the admin interface is gone");
        (reply.status, reply.text())
    };
    let until = |gateway: &Gateway<'_>, status| {
        let deadline = Instant::now() + Duration::from_secs(8);
        while ready(gateway).0 != status {
            assert!(Instant::now() < deadline, "{:?}", ready(gateway));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let age = |worker| format!("sluice_worker_last_poll_age_seconds{{worker=\"{worker}\"}}");
    {
        let _hold = gateway.hold("worker-1");
        until(&gateway, 503);
        assert!(ready(&gateway).1.starts_with("worker 1 has not polled for"));
        let metrics = gateway.metrics();
        assert!(metrics[&age(1)] > 1.0 && metrics[&age(0)] < metrics[&age(1)]);
    }
    until(&gateway, 200);
    assert_eq!(lab.curl(&["http://nginx.test/"]).status, 200);
    let _hold = gateway.hold("worker-1");
    let status = gateway.wait();
    let log = gateway.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let first = "warning: worker 1 has not polled for a second";
    assert!(log.contains(first), "{log}");
    let said = "worker 1 has not polled for 10 s, so its queue is left unread";
    assert!(log.contains(said), "{log}");
}

#[test]
fn at_the_deadline_of_the_drain_linux_clients_of_every_worker_are_told() {
    let lab = Lab::up();
    let config = format!("{TWO}{CONFIG}").replace("drain_timeout: 3s", "drain_timeout: 500ms");
    let mut gateway = lab.gateway(&config);
    // It never answers.
    let _listener = lab.listen("10.77.2.5:8080");
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = lab.connect(GATEWAY).expect("the gateway does not accept");
        let unfinished = "POST / HTTP/1.1\r\nHost: own.test\r\nContent-Length: 10\r\n\r\nfive ";
        client.send(unfinished).expect("cannot send");
        clients.push(client);
    }
    metrics_until(&gateway, |metrics| {
        let connections = of_both(metrics, "sluice_downstream_connections", "");
        connections[0] + connections[1] == 16.0 && connections.iter().all(|count| *count > 0.0)
    });
    gateway.terminate();
    assert!(gateway.wait().success());
    for mut client in clients {
        let error = client.read_to_end().expect_err("it was not answered");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
