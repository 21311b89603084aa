//! What people are told about a request, and about a change.

use sluice_policy::rules::Rules;
use sluice_policy::{Explanation, Question, compile, diff, explain, parse};

fn example(name: &str) -> (Rules, String) {
    let path = format!(
        "{}/../../configs/examples/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    (parse(&text, "e.yaml").unwrap(), text)
}

fn ask(name: &str, request: &str, headers: &[&str]) -> Explanation {
    let question = Question {
        request: request.into(),
        headers: headers.iter().map(ToString::to_string).collect(),
        ..Question::default()
    };
    explain(&compile(&example(name).0).unwrap(), &question).unwrap()
}

#[test]
fn a_lane_is_explained_from_its_tag_to_the_endpoint() {
    let said = ask("lanes", "GET http://test/cart", &["x-user: alice"]);
    assert_eq!(said.listener, "entry");
    let lane = said.lane.unwrap();
    assert_eq!(lane.name, "alice");
    let why = ["lanes.tags[0]", "header x-user equal to \"alice\""];
    assert_eq!(lane.because, why);
    let route = said.route.unwrap();
    assert_eq!(
        (&*route.name, &route.because[..]),
        ("*/cart", &["path /cart fits".to_owned()][..])
    );
    assert_eq!(said.becomes[0], "service cart, its endpoints in lane alice");
    assert_eq!(said.endpoints, ["10.77.2.3:8080"]);
    assert!(said.near_misses.is_empty(), "{:?}", said.near_misses);
    assert_eq!(said.later, ["*/"]);

    let said = ask("lanes", "GET http://test/", &["x-user: alice"]);
    assert_eq!(
        said.becomes[0],
        "service shop, which has no endpoint in lane alice"
    );
    let said = ask("lanes", "GET http://test/tools", &[]);
    assert_eq!(said.near_misses[0].because, ["not lane alice"]);
}

#[test]
fn that_no_endpoint_is_met_is_told_with_what_becomes_of_the_request() {
    let text = "\
ports: { front: { interface: eth1, addresses: [10.0.1.1/24] } }
listeners: { web: { address: 10.0.1.1:80 } }
services:
  cart: { endpoints: [{ address: 10.0.1.2:80, lane: a }] }
  shop: { endpoints: [{ address: 10.0.1.2:80, lane: a }], fallback: cart }
lanes: { tags: [{ lane: b, headers: { x-b: \"1\" } }] }
routes: [{ service: cart }, { path: /shop, service: shop }]
";
    let snapshot = compile(&parse(text, "e.yaml").unwrap()).unwrap();
    let no_endpoint = |url: &str, headers: &[&str]| {
        let question = Question {
            request: format!("GET {url}"),
            headers: headers.iter().map(ToString::to_string).collect(),
            ..Question::default()
        };
        explain(&snapshot, &question).unwrap().no_endpoint.unwrap()
    };
    assert_eq!(
        no_endpoint("http://test/", &[]),
        "service cart has endpoints in lanes only: 503"
    );
    assert_eq!(
        no_endpoint("http://test/", &["x-b: 1"]),
        "service cart has endpoints in other lanes only: 503"
    );
    assert_eq!(
        no_endpoint("http://test/shop", &[]),
        "service shop has endpoints in lanes only: service cart is asked"
    );
    assert_eq!(ask("lanes", "GET http://test/", &[]).no_endpoint, None);
}

#[test]
fn near_misses_say_what_was_missing() {
    let said = ask("conditions", "GET http://test/orders", &[]);
    assert_eq!(said.route.unwrap().name, "*/");
    let [miss] = &said.near_misses[..] else {
        panic!("{:?}", said.near_misses);
    };
    assert_eq!(miss.because, ["not method POST or PUT"]);
    assert_eq!(said.service.as_deref(), Some("one"));

    let said = ask("sampling", "GET http://test/chance", &[]);
    assert_eq!(
        said.near_misses[0].because,
        ["not one of the 10 % picked by chance"]
    );
    let said = ask("split", "GET http://test/", &[]);
    assert_eq!(said.becomes, ["chance decides by weight: one 90, two 10"]);
    let said = ask("split", "GET http://test/", &["cookie: user=u"]);
    assert_eq!(said.becomes[0], "cookie user decides");
    assert!(said.service.is_some());
}

#[test]
fn answers_and_changes_are_told() {
    let said = ask("redirect", "GET http://test/docs/a?b", &[]);
    assert_eq!(said.becomes, ["302: redirect to //test/manual/a?b"]);
    let drill = |wall| {
        let question = Question {
            request: "GET http://test/over".into(),
            wall: Some(wall),
            ..Question::default()
        };
        let said = explain(&compile(&example("fault").0).unwrap(), &question).unwrap();
        said.becomes[0].clone()
    };
    assert_eq!(
        drill(1_577_836_799),
        "a drill until 2020-01-01T00:00:00Z: 100 % are answered with 500"
    );
    assert_eq!(
        drill(1_577_836_800),
        "a drill that was over at 2020-01-01T00:00:00Z"
    );
    let said = ask("rewrite", "GET http://test/2026/hello", &[]);
    assert_eq!(
        said.becomes[1..3],
        [
            "the path it sees is /posts?year=2026&slug=hello",
            "the host it sees is blog.internal"
        ]
    );
    let (_, text) = example("rewrite");
    let by_part = text
        .replace("/images/avatars/${capture.id}.png", "/${capture.id}")
        .replace(
            r#"pattern: "/users/{id}/avatar""#,
            r#"regex: "/u-(?P<id>.*)""#,
        );
    let snapshot = compile(&parse(&by_part, "g.yaml").unwrap()).unwrap();
    let question = Question {
        request: "GET http://test/u-..".into(),
        ..Question::default()
    };
    assert_eq!(
        explain(&snapshot, &question).unwrap().becomes[1],
        "refused with 400: the path would become /.."
    );
    let said = ask("fallback", "GET http://test/", &[]);
    assert_eq!(
        said.becomes[1],
        "service on-premises while no endpoint accepts a connection"
    );
    let said = ask("listeners", "GET http://10.77.1.1:8443/admin", &[]);
    assert_eq!(
        (&*said.listener, said.service.as_deref()),
        ("admin", Some("two"))
    );
}

#[test]
fn a_call_is_explained_by_its_keys() {
    let pay = ["from_service=shop.web", "RPC_PERSIST_USER=alice"];
    let said = ask("rpc", "ttheader://shop.payment/Pay", &pay);
    let lane = said.lane.unwrap();
    assert_eq!(
        (&*lane.name, &lane.because[..]),
        (
            "alice",
            &[
                "lanes.tags[0]".to_owned(),
                "key RPC_PERSIST_USER equal to \"alice\"".to_owned()
            ][..]
        )
    );
    let route = said.route.unwrap();
    assert_eq!(
        (&*route.name, &route.because[..]),
        (
            "payments",
            &[
                "service shop.payment and method Pay or Refund fit".to_owned(),
                "key from_service beginning with \"shop.\"".to_owned()
            ][..]
        )
    );
    assert_eq!(
        said.becomes[0],
        "service payment, which has no endpoint in lane alice"
    );
    assert_eq!(said.later, ["payments-of-strangers"]);

    let said = ask("rpc", "ttheader://shop.payment/Pay", &["3=else.web"]);
    assert_eq!(
        said.becomes,
        ["biz-status 1403: the route answers \"payments are made by the shop alone\""]
    );
    let [miss] = &said.near_misses[..] else {
        panic!("{:?}", said.near_misses);
    };
    let not = "not key from_service beginning with \"shop.\"";
    assert_eq!((&*miss.name, &miss.because[0][..]), ("payments", not));

    let said = ask("rpc", "ttheader://shop.payment/Void", &["3=shop.web"]);
    assert_eq!(
        said.near_misses[0].because,
        ["another method: Pay or Refund"]
    );
    let said = ask("rpc", "ttheader://nobody/Nothing", &[]);
    assert_eq!(said.becomes, ["exception 20: no route takes it"]);
    let said = ask("rpc", "thrift:///GetCartV1", &[]);
    assert_eq!(
        said.becomes,
        ["exception 1: the route answers \"call GetCart\""]
    );
}

#[test]
fn what_is_no_call_is_said_to_be_none() {
    let snapshot = compile(&example("rpc").0).unwrap();
    let error = |request: &str, key: &str| {
        let question = Question {
            request: request.into(),
            headers: vec![key.to_owned()],
            ..Question::default()
        };
        explain(&snapshot, &question).unwrap_err().to_string()
    };
    let mend = "write one such as 'env=test' or 'RPC_PERSIST_user=alice'";
    for key in ["env: test", "=x", "99999=x"] {
        assert_eq!(
            error("ttheader://a/b", key),
            format!("{key:?} is no key of a call; {mend}")
        );
    }
    assert!(error("ttheader://a", "env=a").starts_with("\"ttheader://a\" is no request"));
    assert_eq!(
        error("thrift://a/b", "env=a"),
        "such a call cannot be sent: plain Thrift has nothing that names a service; write thrift:///b"
    );
    assert_eq!(
        error("ttheader://a/b?x=1", "env=a"),
        "such a call cannot be sent: it can't have \"?x=1\"; keys are given with -H NAME=VALUE"
    );
    assert_eq!(
        error("thrift:///b", "env=a"),
        "such a call cannot be sent: without a head it has no key \"env=a\""
    );
    let long = format!("env={}", "x".repeat(70_000));
    assert!(error("ttheader://a/b", &long).starts_with("such a call cannot be sent: "));
}

#[test]
fn what_is_no_question_is_said_to_be_none() {
    let snapshot = compile(&example("lanes").0).unwrap();
    let error = |request: &str, listener: Option<&str>| {
        let question = Question {
            request: request.into(),
            listener: listener.map(Into::into),
            ..Question::default()
        };
        explain(&snapshot, &question).unwrap_err().to_string()
    };
    let mend = "write one such as 'GET http://host/path' or 'ttheader://service/method'";
    assert_eq!(
        error("/path", None),
        format!("\"/path\" is no request; {mend}")
    );
    assert_eq!(
        error("GET /path", None),
        format!("\"GET /path\" is no request; {mend}")
    );
    assert!(
        error("GET http://a b/", None).starts_with("the gateway refuses such a request with 400")
    );
    assert_eq!(
        error("TRACE http://a/", None),
        "the gateway refuses such a request with 501: TRACE is not supported"
    );
    assert_eq!(
        error("GET http://a/", Some("wbe")),
        "no listener is called \"wbe\"; there are entry, mesh"
    );
    assert_eq!(
        error("GET http://a/", Some("mseh")),
        "no listener is called \"mseh\"; did you mean \"mesh\"?"
    );
    let nothing =
        "nothing listens on port 81, so such a request is refused a connection; listeners: ";
    assert_eq!(
        error("GET http://test:81/", None),
        format!("{nothing}entry (10.77.1.1:80), mesh (10.77.1.1:8080)")
    );
    assert_eq!(
        error("GET http://test:81/", Some("mesh")),
        format!("{nothing}mesh (10.77.1.1:8080)")
    );
}

#[test]
fn a_change_is_told_in_words() {
    let (old, text) = example("lanes");
    let said = |text: &str| diff(&old, &parse(text, "n.yaml").unwrap());
    assert_eq!(said(&text), [""; 0]);
    let changed = text
        .replace(
            "shop: { endpoints: [10.77.2.2:8080] }",
            "shop: { endpoints: [10.77.2.4:8080], max_idle: 5 }",
        )
        .replace("path: /tools", "path: /toolbox")
        .replace("header: x-lane", "header: x-tag");
    assert_eq!(
        said(&changed),
        [
            "lanes: header: from x-lane to x-tag",
            "route */toolbox: new: { host *, lane alice, order 0, path /toolbox, service cart }",
            "route */tools: taken away",
            "service shop: endpoints: 10.77.2.4:8080 added, 10.77.2.2:8080 taken away",
            "service shop: max_idle: from 1024 to 5",
        ]
    );
    let (first, second) = (
        "  - { service: shop }\n",
        "  - { path: /cart, service: cart }\n",
    );
    let swapped = text.replace(&format!("{first}{second}"), &format!("{second}{first}"));
    assert_eq!(
        said(&swapped),
        ["routes: */cart stands before */ now, which matters where both are equally specific"]
    );
    let added = "  - { host: A.org, path: { regex: /x.* }, listener: mesh, respond: { status: 200, body: \"a\\nb\" } }\n";
    assert_eq!(
        said(&text.replace(first, &format!("{added}{first}"))),
        [
            "route mesh:a.org~/x.*: new: { host A.org, listener mesh, order 0, path { regex /x.* }, respond { body a\\nb, content_type text/plain; charset=utf-8, ..."
        ]
    );
}

#[test]
fn a_route_among_others_without_a_name_is_told_by_what_it_says() {
    let (_, text) = example("lanes");
    let routes: Vec<String> = ["a", "b", "c"]
        .map(|user| format!("  - {{ path: /u, headers: {{ x-user: {user} }}, service: shop }}\n"))
        .into();
    let with = |routes: &[&str]| parse(&format!("{text}{}", routes.concat()), "n.yaml").unwrap();
    let [a, b, c] = [0, 1, 2].map(|at| routes[at].as_str());
    let said = |new: &[&str]| diff(&with(&[a, b, c]), &with(new));
    let added = a.replace("x-user: a", "x-user: d");
    assert_eq!(
        said(&[&added, a, b, c]),
        ["route */u: new: { headers { x-user d }, host *, order 0, path /u, service shop }"]
    );
    assert_eq!(said(&[b, c]), ["route */u as it was before: taken away"]);
    assert_eq!(said(&[a, b]), ["route */u#3: taken away"]);
    // One that takes the same requests is the same route, wherever it stands.
    let other = b.replace("service: shop", "service: cart");
    assert_eq!(
        said(&[&added, a, &other, c]),
        [
            "route */u: new: { headers { x-user d }, host *, order 0, path /u, service shop }",
            "route */u#3 (*/u#2 before): service: from shop to cart",
        ]
    );
    assert_eq!(
        said(&[&added, b, c]),
        ["route */u: headers: x-user: from a to d"]
    );
    assert_eq!(
        said(&[b, a, c]),
        ["routes: */u stands before */u#2 now, which matters where both are equally specific"]
    );
}

#[test]
fn a_lane_that_is_not_believed_is_said_to_be_ignored() {
    let said = ask("lanes", "GET http://test/", &["x-lane: alice"]);
    assert_eq!(said.lane, None);
    assert_eq!(
        said.ignored.unwrap(),
        "x-lane \"alice\": it is taken out, since listener entry does not trust 192.0.2.1; see `trust`"
    );
    assert_eq!(ask("lanes", "GET http://test/", &[]).ignored, None);
    // A tag of the rules counts beside it.
    let said = ask(
        "lanes",
        "GET http://test/",
        &["x-lane: bob", "x-user: alice"],
    );
    assert_eq!(said.lane.unwrap().name, "alice");
    assert!(said.ignored.unwrap().starts_with("x-lane \"bob\": "));
}

#[test]
fn a_list_that_has_something_once_more_is_not_told_as_reordered() {
    let (_, text) = example("lanes");
    let cores =
        |list: &str| parse(&format!("workers: {{ cores: {list} }}\n{text}"), "n.yaml").unwrap();
    let said = |list: &str| diff(&cores("[0, 1]"), &cores(list));
    assert_eq!(said("[1, 0]"), ["workers: cores: in another order"]);
    assert_eq!(
        said("[0, 1, 1]"),
        ["workers: cores: from [0, 1] to [0, 1, 1]"]
    );
    assert_eq!(said("[1, 2]"), ["workers: cores: 2 added, 0 taken away"]);
}

#[test]
fn a_listener_that_speaks_something_else_is_said_to() {
    let rules = r#"
ports:
  p: { device: "net_memory0", addresses: ["10.77.1.1/24", "10.77.2.1/24"] }
listeners:
  plain: { address: "10.77.1.1:9090", protocol: thrift }
  web: { address: "10.77.1.1:80", protocol: http }
  any: { address: "10.77.1.1:8888" }
services:
  hello: { endpoints: ["10.77.2.2:8080"] }
routes:
  - { service: hello }
"#;
    let snapshot = compile(&parse(rules, "g.yaml").unwrap()).unwrap();
    let ask = |request: &str, listener: &str| {
        let question = Question {
            request: request.into(),
            listener: Some(listener.into()),
            ..Question::default()
        };
        let said = explain(&snapshot, &question);
        said.map(|said| said.listener)
            .map_err(|error| error.to_string())
    };
    for (request, listener, speaks) in [
        ("ttheader://a/b", "plain", "thrift"),
        ("ttheader://a/b", "web", "http"),
        ("thrift:///b", "web", "http"),
        ("GET http://a/", "plain", "thrift"),
    ] {
        assert_eq!(
            ask(request, listener),
            Err(format!(
                "the connections of listener {listener:?} speak {speaks}, and this is no request of \
                 that; name another with --listener, or none"
            ))
        );
    }
    assert_eq!(ask("ttheader://a/b", "any"), Ok("any".to_owned()));
    assert_eq!(ask("thrift:///b", "plain"), Ok("plain".to_owned()));
}
