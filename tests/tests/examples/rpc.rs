//! Remote procedure calls: what the rules decide of more kinds than are played, and those that are.

use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;

use crate::frames::{Got, Sent, message, text};
use crate::gateway::Example;
use sluice_policy::{Question, Snapshot, compile, explain, load};

/// Where a call goes: the lane that it is in, the endpoints that may get it, or else what becomes of it.
fn goes(rules: &Snapshot, call: &str, keys: &[&str], from: &str) -> String {
    let question = Question {
        request: call.into(),
        headers: keys.iter().map(ToString::to_string).collect(),
        from: Some(from.parse().unwrap()),
        ..Question::default()
    };
    let said = explain(rules, &question).unwrap();
    let lane = said.lane.map_or(String::new(), |lane| lane.name + ": ");
    match &said.endpoints[..] {
        [] => lane + &said.becomes.join("; "),
        endpoints => lane + &endpoints.join(", "),
    }
}

#[test]
fn rpc() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/examples/rpc.yaml");
    let rules = load(path.as_ref())
        .and_then(|rules| compile(&rules))
        .unwrap();
    let (mesh, stranger) = ("10.77.1.2", "192.0.2.1");
    let alone = "biz-status 1403: the route answers \"payments are made by the shop alone\"";
    for (call, keys, from, expected) in [
        ("ttheader://shop.cart/Get", &[][..], mesh, "10.77.2.2:9000"),
        (
            "ttheader://shop.cart/Get",
            &["env=canary"],
            mesh,
            "10.77.2.3:9000",
        ),
        (
            "ttheader://shop.cart/Get",
            &["RPC_PERSIST_USER=alice"],
            mesh,
            "alice: 10.77.2.3:9000",
        ),
        (
            "ttheader://shop.cart/Get",
            &["stress_tag=alice"],
            mesh,
            "alice: 10.77.2.3:9000",
        ),
        (
            "ttheader://shop.cart/Get",
            &["stress_tag=bob"],
            mesh,
            "10.77.2.2:9000",
        ),
        // Only what a trusted peer says of the lane is believed.
        (
            "ttheader://shop.cart/Get",
            &["RPC_PERSIST_LANE=alice"],
            mesh,
            "alice: 10.77.2.3:9000",
        ),
        (
            "ttheader://shop.cart/Get",
            &["RPC_PERSIST_LANE=alice"],
            stranger,
            "10.77.2.2:9000",
        ),
        (
            "ttheader://shop.payment/Pay",
            &["from_service=shop.web"],
            mesh,
            "10.77.2.3:9001",
        ),
        (
            "ttheader://shop.payment/Pay",
            &["from_service=web"],
            mesh,
            alone,
        ),
        ("ttheader://shop.payment/Pay", &[], mesh, alone),
        (
            "ttheader://any/GetCartV1",
            &[],
            mesh,
            "exception 1: the route answers \"call GetCart\"",
        ),
        ("thrift:///GetCart", &[], mesh, "10.77.2.2:9000"),
        ("ttheader:///GetCart", &[], mesh, "10.77.2.2:9000"),
        (
            "ttheader://any/GetCart",
            &[],
            mesh,
            "exception 20: no route takes it",
        ),
    ] {
        assert_eq!(goes(&rules, call, keys, from), expected, "{call} {keys:?}");
    }
}

/// Sends a call on a connection of its own; the address that it reached and the frame there, or else what
/// the gateway answers.
fn call(example: &mut Example, frame: &[u8]) -> Result<(String, Got), Got> {
    let w = &mut example.world;
    let client = w.open();
    w.send(client, frame);
    for backend in 0..w.backend.connections() {
        let local = w.backend.local(backend);
        if let (Some(local), [asked]) = (local, &w.requests(backend)[..]) {
            let answer = Sent {
                flags: 0,
                kind: MessageKind::Reply,
                method: &asked.method,
                strings: &[(b"SERVER_NAME", b"secret"), (b"kept", b"1")],
                integers: &[(integer::MSG_TYPE, b"2")],
                frame: asked.frame,
                message: asked.message,
            };
            w.answer(backend, answer.with("ok"));
            let reply = w.client.take(client);
            assert!(reply.ends_with(&text("ok")), "{reply:?}");
            // The route of payments takes out of its replies who served them.
            let named = reply.windows(6).any(|bytes| bytes == b"secret");
            assert_eq!(named, local.port() != 9001, "{reply:?}");
            return Ok((local.to_string(), asked.clone()));
        }
    }
    Err(w.reply(client))
}

#[test]
fn rpc_played() {
    let mut example = Example::new("rpc");
    for address in ["10.77.2.2:9000", "10.77.2.3:9000", "10.77.2.3:9001"] {
        let buffers = example.world.buffers;
        example
            .world
            .backend
            .listen(address.parse().unwrap(), buffers);
    }
    let cart: &[(u16, &[u8])] = &[(integer::TO_SERVICE, b"shop.cart")];
    let canary = &[cart[0], (integer::ENV, &b"canary"[..])];
    let pay: &[(u16, &[u8])] = &[
        (integer::TO_SERVICE, b"shop.payment"),
        (integer::FROM_SERVICE, b"shop.web"),
    ];
    let strange = &[pay[0], (integer::FROM_SERVICE, &b"web"[..])];
    let alice: &[(&[u8], &[u8])] = &[(b"RPC_PERSIST_USER", b"alice")];
    let lane: &[(&[u8], &[u8])] = &[(b"RPC_PERSIST_LANE", b"alice")];
    let sent = |method, integers, strings| Sent {
        method,
        integers,
        strings,
        ..Sent::call(7)
    };
    for (method, integers, strings, reached) in [
        ("Get", cart, &[][..], "10.77.2.2:9000"),
        ("Get", canary, &[], "10.77.2.3:9000"),
        ("Get", cart, alice, "10.77.2.3:9000"),
        ("Get", cart, lane, "10.77.2.3:9000"),
        ("Refund", pay, &[], "10.77.2.3:9001"),
    ] {
        let frame = sent(method, integers, strings).with("hi");
        let (address, asked) = call(&mut example, &frame).expect("an endpoint");
        assert_eq!((&*address, &*asked.method), (reached, method));
        let in_lane = reached.ends_with(".3:9000") && integers.len() == 1;
        let tag = asked.head().string(b"RPC_PERSIST_LANE").map(<[u8]>::to_vec);
        assert_eq!(
            tag,
            in_lane.then(|| b"alice".to_vec()),
            "{method} {strings:?}"
        );
    }
    // What the route of payments changes of the call.
    let debug: &[(&[u8], &[u8])] = &[
        (b"RPC_PERSIST_DEBUG", b"1"),
        (b"INTERNAL_A", b"2"),
        (b"x", b"3"),
    ];
    let (_, asked) = call(&mut example, &sent("Pay", pay, debug).with("hi")).expect("an endpoint");
    let head = asked.head();
    let caller = head.string(b"RPC_TRANSIT_CALLER");
    assert_eq!(caller, Some(&b"shop.web at 10.77.1.2"[..]));
    assert_eq!(head.integer(integer::TO_CLUSTER), Some(&b"default"[..]));
    let kept = [&b"RPC_PERSIST_DEBUG"[..], b"INTERNAL_A", b"x"].map(|key| head.string(key));
    assert_eq!(kept, [None, None, Some(&b"3"[..])]);
    // Callers that are told no.
    let told = call(&mut example, &sent("Pay", strange, &[]).with("hi")).expect_err("an answer");
    assert_eq!(told.head().string(b"biz-status"), Some(&b"1403"[..]));
    let told = call(&mut example, &sent("GetCartV1", &[], &[]).with("hi")).expect_err("an answer");
    assert_eq!(told.exception(), (1, "call GetCart".to_owned()));
    let told = call(&mut example, &sent("Other", &[], &[]).with("hi")).expect_err("an answer");
    assert_eq!(told.exception().0, 20);
    // A message without a head is told by its method.
    let w = &mut example.world;
    let client = w.open();
    w.send(
        client,
        message(MessageKind::Call, "GetCart", 3, &text("hi")),
    );
    let mut reached = Vec::new();
    for backend in 0..w.backend.connections() {
        let local = w.backend.local(backend);
        if let Some(local) = local.filter(|_| !w.backend.take(backend).is_empty()) {
            reached.push(local.to_string());
        }
    }
    assert_eq!(reached, ["10.77.2.2:9000"]);
}
