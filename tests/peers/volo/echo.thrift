namespace rs echo

// What the service is asked, and what it shall do with it: `act` is empty, or one of
// deny, fail, biz, panic, wait:MILLISECONDS, backward:KEY=VALUE.
struct Request {
    1: required string caller,
    2: required i64 number,
    3: required binary data,
    4: required string act,
}

struct Reply {
    1: required string caller,
    2: required i64 number,
    3: required binary data,
    // Metadata as it arrived, and under "told" how often `tell` was called.
    4: required map<string, string> seen,
}

exception Denied {
    1: required i32 code,
    2: required string reason,
}

service Echo {
    Reply call(1: Request request) throws (1: Denied denied),
    binary echo(1: binary data),
    oneway void tell(1: binary data),
}
