use sluice_stack::rng::Rng;

use super::*;
use crate::load::pattern::phase;

fn common() -> Common {
    Common {
        protocol: Protocol::Http1,
        host: "lab.test".into(),
        calls: 1,
        close: false,
        backend: Some(100),
        think: Duration::ZERO,
        timeout: Duration::from_secs(5),
    }
}

fn plan(yaml: &str) -> Result<Plan, PlanError> {
    let file: RequestFile = serde_saphyr::from_str(yaml).unwrap();
    Plan::new(&file, &common())
}

#[test]
fn requests_are_drawn_by_weight() {
    let plan =
        plan("requests: [{weight: 7, path: /a}, {weight: 2, path: /b}, {path: /c}]").unwrap();
    let mut rng = Rng::new(1);
    let mut drawn = [0u32; 3];
    (0..100_000).for_each(|_| drawn[plan.draw(&mut rng) as usize] += 1);
    for (count, expected) in drawn.into_iter().zip([70_000u32, 20_000, 10_000]) {
        assert!(count.abs_diff(expected) < 1_000, "{drawn:?}");
    }
}

#[test]
fn a_request_is_encoded_with_what_follows_from_it() {
    let spec = "requests: [{method: POST, path: '/x?y=1', headers: {A: b}, text: hello, \
                status: 201, response: 2KiB, think: 5ms}]";
    let plan = plan(spec).unwrap();
    let planned = plan.get(0).unwrap();
    let text = "POST /x?y=1 HTTP/1.1\r\nHost: lab.test\r\nUser-Agent: sluice-bench\r\nA: b\r\n\
                Content-Length: 5\r\n\r\nhello";
    assert_eq!(
        planned.message,
        Message::new(text.into(), 0, phase(b"/x?y=1"), &Pattern::default())
    );
    assert_eq!(
        (planned.status, planned.length, planned.phase, planned.think),
        (
            Some(201),
            Some(2048),
            Some(phase(b"/x?y=1")),
            Duration::from_millis(5)
        )
    );
}

#[test]
fn an_answer_that_has_no_body_may_say_that_it_is_empty() {
    let plan = plan("requests: [{status: 204, response: 0B}, {body: 0B, echo: true}]").unwrap();
    assert_eq!(plan.get(0).unwrap().length, Some(0));
    assert_eq!(plan.get(1).unwrap().length, Some(0));
}

#[test]
fn what_cannot_be_sent_is_refused_by_number() {
    for (yaml, words) in [
        ("requests: []", "no request"),
        ("requests: [{path: 'x y'}]", "request 1 is not valid HTTP"),
        (
            "requests: [{}, {headers: {A: \"b\\r\\n\\r\\nGET / HTTP/1.1\"}}]",
            "request 2: `A` is no header field",
        ),
        (
            "requests: [{headers: {\"A\\r\\nTransfer-Encoding\": chunked}}]",
            "is no header field",
        ),
        ("requests: [{headers: {Host: a}}]", "sets `Host`"),
        ("requests: [{body: 1B, text: a}]", "both `body` and `text`"),
        ("requests: [{weight: 0}]", "weight 0"),
        (
            "requests: [{}, {echo: true}]",
            "request 2 has `echo` and no `body`",
        ),
        (
            "requests: [{status: 204, response: 1B}]",
            "request 1 expects a body with the status 204, which never has one",
        ),
        (
            "requests: [{status: 304, body: 1B, echo: true}]",
            "with the status 304",
        ),
        (
            "requests: [{headers: {Sluice-Bench-Request: '1'}}]",
            "sets `Sluice-Bench-Request`",
        ),
        ("requests: [{status: 100}]", "200 to 599"),
    ] {
        let error = plan(yaml).unwrap_err().to_string();
        assert!(error.contains(words), "{yaml}: {error}");
    }
}
