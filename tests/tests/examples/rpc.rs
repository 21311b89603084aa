//! Remote procedure calls, as far as the rules alone decide.

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
            "10.77.2.4:9000",
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
