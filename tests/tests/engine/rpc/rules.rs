//! Rules for calls: which service answers, what is changed on the way, what is answered here.

use sluice_wire::thrift::MessageKind;
use sluice_wire::ttheader::integer;

use super::frames::{Sent, frames, rules, text, world, world_of};
use crate::world::World;

/// With these routes to services `hello` (the first endpoint) and `other` (the second).
fn routed(lanes: &str, routes: &str) -> World {
    let blue = match lanes {
        "" => "",
        _ => r#", { address: "10.77.2.2:8080", lane: blue }"#,
    };
    world_of(
        r#"trust: ["10.77.9.0/24"]"#,
        &format!(
            r#"services:
  hello: {{ endpoints: ["10.77.2.2:8080"], protocol: ttheader, multiplex: message }}
  other: {{ endpoints: ["10.77.2.3:8080"{blue}] }}
{lanes}
routes:
{routes}"#
        ),
    )
}

fn to<'a>(service: &'a [(u16, &'a [u8])]) -> Sent<'a> {
    Sent {
        integers: service,
        ..Sent::call(1)
    }
}

#[test]
fn a_call_goes_to_the_service_of_its_route_or_is_told_that_there_is_none() {
    let mut w = routed(
        "",
        "  - { rpc: { service: shop, method: echo }, service: hello }\n  - { rpc: { service: shop.other }, service: other }",
    );
    let c = w.open();
    w.send(c, to(&[(6, b"shop")]).with("hi"));
    let asked = w.request(0);
    w.answer(0, asked.answer("from hello"));
    assert_eq!(w.reply(c).body, text("from hello"));
    w.send(c, to(&[(6, b"shop.other")]).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer("from other"));
    assert_eq!(w.reply(c).body, text("from other"));
    w.send(c, to(&[(6, b"nobody")]).with("hi"));
    let (kind, words) = w.reply(c).exception();
    assert_eq!(
        (kind, &*words),
        (20, "no route takes this service and method")
    );
    // A oneway call is not told.
    let oneway = Sent {
        kind: MessageKind::Oneway,
        ..to(&[(6, b"nobody")])
    };
    w.send(c, oneway.with("hi"));
    assert_eq!(w.replies(c), []);
    w.counts("downstream_opened, upstream_opened 2, answered 2, no_route 2");
    w.rpc_over();
}

#[test]
fn rules_answer_calls_by_exceptions_and_by_the_business() {
    let mut w = routed(
        "",
        "  - { rpc: { service: shop }, respond: { biz_status: { status: 1403, message: not yours, extra: { who: you } } } }\n  - { rpc: { service: old }, respond: { exception: { kind: unknown_method, message: call the new one } } }",
    );
    let c = w.open();
    w.send(c, to(&[(6, b"shop")]).with("hi"));
    let reply = w.reply(c);
    assert_eq!((reply.kind, reply.frame), (MessageKind::Reply, 1));
    assert_eq!(reply.body, [0]);
    let head = reply.head();
    assert_eq!(head.string(b"biz-status"), Some(&b"1403"[..]));
    assert_eq!(head.string(b"biz-message"), Some(&b"not yours"[..]));
    assert_eq!(head.string(b"biz-extra"), Some(&br#"{"who":"you"}"#[..]));
    w.send(c, to(&[(6, b"old")]).with("hi"));
    assert_eq!(w.reply(c).exception(), (1, "call the new one".into()));
    w.counts("downstream_opened, responded 2");
    w.rpc_over();
}

#[test]
fn keys_of_calls_and_replies_are_changed_as_the_route_says() {
    let mut w = routed(
        "",
        r#"  - rpc: { service: shop }
    service: hello
    request_keys:
      set: { to_cluster: blue, RPC_TRANSIT_WHO: "${key.from_service} by ${client_ip}" }
      add: { env: prod, from_service: nobody }
      remove: [RPC_PERSIST_DEBUG, "INTERNAL_*"]
    response_keys: { set: { RPC_BACKWARD_VIA: "${service}" }, remove: [SERVER] }"#,
    );
    let c = w.open();
    let call = Sent {
        strings: &[
            (b"RPC_PERSIST_DEBUG", b"1"),
            (b"INTERNAL_A", b"1"),
            (b"kept", b"1"),
        ],
        ..to(&[(6, b"shop"), (3, b"cart")])
    };
    w.send(c, call.with("hi"));
    let asked = w.request(0);
    let head = asked.head();
    assert_eq!(head.integer(integer::TO_CLUSTER), Some(&b"blue"[..]));
    assert_eq!(head.integer(integer::ENV), Some(&b"prod"[..]));
    assert_eq!(head.integer(integer::FROM_SERVICE), Some(&b"cart"[..]));
    assert_eq!(
        head.string(b"RPC_TRANSIT_WHO"),
        Some(&b"cart by 10.77.1.2"[..])
    );
    assert_eq!(head.string(b"kept"), Some(&b"1"[..]));
    assert_eq!(head.string(b"RPC_PERSIST_DEBUG"), None);
    assert_eq!(head.string(b"INTERNAL_A"), None);
    assert_eq!(asked.body, text("hi"));
    let answer = Sent {
        flags: 0,
        kind: MessageKind::Reply,
        strings: &[(b"SERVER", b"secret")],
        ..Sent::call(asked.message)
    };
    w.answer(0, answer.with("ho"));
    let reply = w.reply(c);
    assert_eq!(reply.head().string(b"SERVER"), None);
    assert_eq!(
        reply.head().string(b"RPC_BACKWARD_VIA"),
        Some(&b"hello"[..])
    );
    assert_eq!(reply.body, text("ho"));
    w.rpc_over();
}

#[test]
fn plain_calls_get_the_keys_that_the_route_gives_them() {
    let mut w = routed(
        "",
        "  - { rpc: { method: echo }, service: hello, request_keys: { set: { to_service: shop, RPC_PERSIST_A: b } } }",
    );
    let c = w.open();
    w.send(
        c,
        super::frames::message(MessageKind::Call, "echo", 3, &text("hi")),
    );
    let asked = w.request(0);
    assert_eq!(
        asked.head().integer(integer::TO_SERVICE),
        Some(&b"shop"[..])
    );
    assert_eq!(asked.head().string(b"RPC_PERSIST_A"), Some(&b"b"[..]));
    w.answer(0, asked.answer("ho"));
    assert_eq!(
        w.client.take(c),
        super::frames::message(MessageKind::Reply, "echo", 3, &text("ho"))
    );
    w.rpc_over();
}

/// A tag that the rules give leads to the endpoint of its lane and travels on; one that a caller brings
/// who is not trusted does neither.
#[test]
fn lanes_lead_calls_and_travel_in_their_key() {
    let lanes =
        "lanes:\n  key: RPC_PERSIST_LANE\n  tags:\n    - { lane: blue, rpc: { env: blue } }";
    let mut w = routed(lanes, "  - { rpc: {}, service: other }");
    let c = w.open();
    w.send(c, to(&[(10, b"blue")]).with("hi"));
    let asked = w.request(0);
    assert_eq!(asked.head().string(b"RPC_PERSIST_LANE"), Some(&b"blue"[..]));
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.replies(c).len(), 1);
    let call = Sent {
        strings: &[(b"RPC_PERSIST_LANE", b"blue")],
        ..to(&[(10, b"green")])
    };
    w.send(c, call.with("hi"));
    let asked = w.request(1);
    assert_eq!(asked.head().string(b"RPC_PERSIST_LANE"), None);
    w.answer(1, asked.answer("ho"));
    assert_eq!(w.replies(c).len(), 1);
    w.rpc_over();
}

#[test]
fn drills_hold_calls_and_answer_them() {
    let until = "2030-01-01T00:00:00Z";
    let routes = format!(
        r#"  - {{ rpc: {{ service: slow }}, service: hello, fault: {{ delay: {{ time: 2s, share: 100% }}, until: "{until}" }} }}
  - {{ rpc: {{ service: dead }}, service: hello, fault: {{ abort: {{ exception: {{ message: a drill }}, share: 100% }}, until: "{until}" }} }}
  - {{ rpc: {{ service: late }}, service: hello, request_timeout: 2h, fault: {{ delay: {{ time: 1h, share: 100% }}, until: "{until}" }} }}
  - {{ rpc: {{ service: gone }}, service: hello, fault: {{ abort: {{ share: 100% }}, until: "{until}" }} }}"#
    );
    let mut w = routed("", &routes);
    w.worker.set_wall_clock(1_700_000_000);
    let c = w.open();
    w.send(c, to(&[(6, b"dead")]).with("hi"));
    assert_eq!(w.reply(c).exception(), (6, "a drill".into()));
    w.send(c, to(&[(6, b"slow")]).with("hi"));
    w.seconds(1);
    assert_eq!(w.levels()[1], 0);
    w.seconds(2);
    let asked = w.request(0);
    assert_eq!(asked.body, text("hi"));
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).body, text("ho"));
    w.send(c, to(&[(6, b"gone")]).with("hi"));
    assert_eq!(w.client.end(c), Some(sluice_perf::raw::End::Reset));
    // Who closes its side is held no longer.
    let c = w.open();
    w.send(c, to(&[(6, b"late")]).with("hi"));
    w.seconds(5);
    assert!(w.requests(0).is_empty());
    w.finish(c);
    w.seconds(2);
    let asked = w.request(0);
    w.answer(0, asked.answer("ho"));
    assert_eq!(w.reply(c).body, text("ho"));
    // At a drain nothing is held any longer, nor is what comes then.
    let c = w.open();
    w.send(c, to(&[(6, b"late")]).with("hi"));
    w.seconds(5);
    assert!(w.requests(0).is_empty());
    let now = w.now();
    w.worker.drain(now);
    w.settle();
    w.send(c, to(&[(6, b"late")]).with("hi"));
    let asked = w.requests(0);
    assert_eq!(asked.len(), 2);
    for asked in asked {
        w.answer(0, asked.answer("ho"));
    }
    assert_eq!(w.replies(c).len(), 2);
    assert_eq!(w.client.end(c), Some(sluice_perf::raw::End::Closed));
    w.counts(
        "downstream_opened 3, downstream_closed 3, upstream_opened, answered 4, fault_delayed 3, \
         fault_injected 2",
    );
    w.rpc_over();
}

#[test]
fn http_and_calls_come_to_one_address_and_go_their_own_ways() {
    let mut w = routed(
        "",
        "  - { rpc: {}, service: hello }\n  - { path: /, service: other }",
    );
    let (http, rpc) = (w.open(), w.open());
    w.send(http, crate::world::get("/"));
    assert!(w.asked(0).starts_with("GET / HTTP/1.1\r\n"));
    w.answer(0, crate::world::OK);
    assert_eq!(w.got(http), crate::world::OK);
    w.send(rpc, Sent::call(1).with("hi"));
    let asked = w.request(1);
    w.answer(1, asked.answer("ho"));
    assert_eq!(frames(&w.client.take(rpc)).len(), 1);
    w.counts("downstream_opened 2, upstream_opened 2, answered 2, 200");
    w.rpc_over();
}

#[test]
fn neither_protocol_goes_to_a_service_of_the_other() {
    let mut w = world("protocol: ttheader");
    let c = w.open();
    w.send(c, crate::world::get("/"));
    let text = "the service of this route does not speak HTTP";
    assert_eq!(
        w.got(c),
        crate::world::local("502 Bad Gateway", text, false)
    );
    w.over();
    let mut w = World::with(&rules("", "protocol: http"));
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    let words = "the service of this route does not speak RPC";
    assert_eq!(w.reply(c).exception(), (6, words.into()));
    w.rpc_over();
}

#[test]
fn calls_under_way_finish_by_the_rules_they_began_with() {
    let mut w = routed("", "  - { rpc: {}, service: hello }");
    let c = w.open();
    w.send(c, Sent::call(1).with("hi"));
    let asked = w.request(0);
    let other = rules("", "protocol: ttheader").endpoints(r#"["10.77.2.3:8080"]"#);
    w.reload(&other.text()).expect("good rules");
    w.settle();
    w.send(c, Sent::call(2).with("hi"));
    let new = w.request(1);
    w.answer(1, new.answer("new"));
    w.answer(0, asked.answer("old"));
    let mut replies = w.replies(c);
    replies.sort_by_key(|reply| reply.frame);
    assert_eq!(replies[0].body, text("old"));
    assert_eq!(replies[1].body, text("new"));
    // Nobody needs the old connection any more.
    assert_eq!(w.levels()[1], 1);
    w.rpc_over();
}
