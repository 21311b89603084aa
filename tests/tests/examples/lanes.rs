//! Lanes.

use crate::gateway::{Example, Seen, header};

#[test]
fn lanes() {
    let mut example = Example::new("lanes");
    let at = |address: &str| address.parse().unwrap();
    let (entry, mesh) = (at("10.77.1.1:80"), at("10.77.1.1:8080"));
    for (to, request, endpoint, lane) in [
        (entry, "GET /cart", 2, None),
        (entry, "GET /cart\nX-User: alice", 3, Some("alice")),
        (entry, "GET /cart?lane=alice", 3, Some("alice")),
        (entry, "GET /cart\nCookie: lane=alice", 3, Some("alice")),
        (entry, "GET /cart\nCookie: lane=bob", 2, None),
        // A service without endpoints in the lane: the tag travels on all the same.
        (entry, "GET /\nX-User: alice", 2, Some("alice")),
        // People cannot tag themselves by the header.
        (entry, "GET /cart\nX-Lane: alice", 2, None),
        // Services pass on the tag.
        (mesh, "GET /cart\nX-Lane: alice", 3, Some("alice")),
        (mesh, "GET /cart\nX-Lane: elsewhere", 2, Some("elsewhere")),
        (mesh, "GET /cart", 2, None),
        // A route for a lane.
        (entry, "GET /tools\nX-User: alice", 3, Some("alice")),
        (entry, "GET /tools", 2, None),
    ] {
        let (seen, _) = example.ask_at(to, request);
        let Seen::At(reached, head) = seen else {
            panic!("{request}: {seen:?}");
        };
        assert_eq!(header(&head, "x-lane").as_deref(), lane, "{request}");
        assert_eq!(reached, endpoint, "{request}");
    }
}
