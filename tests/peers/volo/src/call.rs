//! The client: calls, checks every reply to the byte, and prints how many calls ended how.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use metainfo::{Backward, Forward, METAINFO, MetaInfo};
use pilota::{Bytes, FastStr};
use tokio::task::LocalSet;
use volo_thrift::codec::default::thrift::{MakeThriftCodec, Protocol};
use volo_thrift::codec::default::{
    DefaultMakeCodec, framed::MakeFramedCodec, ttheader::MakeTTHeaderCodec,
};
use volo_thrift::{ClientError, MaybeException};

use crate::Arguments;
use crate::echo::echo::echo::{EchoCallException, EchoClient, EchoClientBuilder, Request};

/// How many calls ended how.
type Ends = Rc<RefCell<BTreeMap<String, u64>>>;

pub async fn call(arguments: &Arguments) -> ExitCode {
    let ends = Ends::default();
    let tasks = LocalSet::new();
    for number in 0..arguments.value("--clients", 1) {
        // Each has sequences of its own, and they are the same.
        let client = client(arguments);
        for task in 0..arguments.value("--tasks", 1) {
            let caller = format!("client {number} task {task}");
            let plan = Plan::of(arguments, caller);
            let (client, ends) = (client.clone(), ends.clone());
            tasks.spawn_local(async move { plan.run(&client, &ends).await });
        }
    }
    tasks.await;
    let mut code = ExitCode::SUCCESS;
    for (end, count) in ends.borrow().iter() {
        println!("{count} {end}");
        if end.starts_with("WRONG") {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// A client of this kind.
fn client(arguments: &Arguments) -> EchoClient {
    let to: SocketAddr = arguments.value("--to", SocketAddr::from(([127, 0, 0, 1], 0)));
    let timeout = Duration::from_millis(arguments.value("--timeout", 20_000));
    let builder = EchoClientBuilder::new(arguments.text("--service").unwrap_or("echo"))
        .caller_name(arguments.text("--caller").unwrap_or("volo-peer"))
        .rpc_timeout(Some(timeout))
        .multiplex(arguments.has("--multiplex"))
        .address(volo::net::Address::from(to));
    let thrift = if arguments.has("--compact") {
        MakeThriftCodec::new().with_protocol(Protocol::ApacheCompact)
    } else {
        MakeThriftCodec::new()
    };
    let framed = MakeFramedCodec::new(thrift);
    match arguments.text("--transport").unwrap_or("ttheader-framed") {
        "ttheader-framed" => {
            let codec = MakeTTHeaderCodec::new(framed);
            builder.make_codec(DefaultMakeCodec::new(codec)).build()
        }
        "ttheader" => {
            let codec = MakeTTHeaderCodec::new(thrift);
            builder.make_codec(DefaultMakeCodec::new(codec)).build()
        }
        "framed" => builder.make_codec(DefaultMakeCodec::new(framed)).build(),
        "buffered" => builder.make_codec(DefaultMakeCodec::new(thrift)).build(),
        other => panic!("--transport {other}: what is it?"),
    }
}

/// What one task calls, one call behind the other.
struct Plan {
    caller: FastStr,
    calls: i64,
    method: String,
    act: FastStr,
    size: usize,
    unchecked: bool,
    persist: Option<(String, String)>,
    transit: Option<(String, String)>,
}

impl Plan {
    fn of(arguments: &Arguments, caller: String) -> Plan {
        Plan {
            caller: caller.into(),
            calls: arguments.value("--calls", 1),
            method: arguments.text("--method").unwrap_or("call").to_owned(),
            act: arguments
                .text("--act")
                .unwrap_or_default()
                .to_owned()
                .into(),
            size: arguments.value("--size", 200),
            unchecked: arguments.has("--unchecked"),
            persist: arguments.pair("--persist"),
            transit: arguments.pair("--transit"),
        }
    }

    async fn run(&self, client: &EchoClient, ends: &Ends) {
        for number in 0..self.calls {
            let metadata = RefCell::new(self.metadata());
            let end = METAINFO.scope(metadata, self.one(client, number)).await;
            for end in end {
                *ends.borrow_mut().entry(end).or_default() += 1;
            }
        }
    }

    fn metadata(&self) -> MetaInfo {
        let mut metadata = MetaInfo::new();
        if let Some((key, value)) = self.persist.clone() {
            metadata.set_persistent(key, value);
        }
        if let Some((key, value)) = self.transit.clone() {
            metadata.set_transient(key, value);
        }
        metadata
    }

    /// Bytes that no other call has.
    fn data(&self, number: i64) -> Bytes {
        let mark = format!("{} call {number} ", self.caller);
        mark.bytes().cycle().take(self.size).collect()
    }

    /// How a call ended, and what came beside its reply.
    async fn one(&self, client: &EchoClient, number: i64) -> Vec<String> {
        let data = self.data(number);
        match &*self.method {
            "echo" => vec![match client.echo(data.clone()).await {
                Ok(reply) if self.unchecked => format!("ok with {} bytes", reply.len()),
                Ok(reply) if reply == data => "ok".to_owned(),
                Ok(_) => "WRONG reply".to_owned(),
                Err(error) => failed(&error),
            }],
            "tell" => vec![match client.tell(data).await {
                Ok(()) => "ok".to_owned(),
                Err(error) => failed(&error),
            }],
            "call" => self.whole(client, number, data).await,
            other => panic!("--method {other}: what is it?"),
        }
    }

    async fn whole(&self, client: &EchoClient, number: i64, data: Bytes) -> Vec<String> {
        let request = Request {
            caller: self.caller.clone(),
            number,
            data: data.clone(),
            act: self.act.clone(),
        };
        let reply = match client.call(request).await {
            Ok(MaybeException::Ok(reply)) => reply,
            Ok(MaybeException::Exception(EchoCallException::Denied(denied))) => {
                return vec![format!("denied {} {}", denied.code, denied.reason)];
            }
            Err(error) => return vec![failed(&error)],
        };
        let theirs = (&reply.caller, reply.number, &reply.data);
        if theirs != (&self.caller, number, &data) {
            return vec![format!(
                "WRONG reply, of {} call {}",
                reply.caller, reply.number
            )];
        }
        let mut ends = vec!["ok".to_owned()];
        for (key, value) in &reply.seen {
            ends.push(format!("seen {key}={value}"));
        }
        METAINFO.with(|metainfo| {
            let metainfo = metainfo.borrow();
            for (key, value) in metainfo
                .get_all_backward_downstreams()
                .into_iter()
                .flatten()
            {
                ends.push(format!("backward {key}={value}"));
            }
        });
        ends
    }
}

/// An error in words that are the same each time.
fn failed(error: &ClientError) -> String {
    match error {
        ClientError::Application(error) if error.message().contains("call timeout") => {
            "timeout of its own".to_owned()
        }
        ClientError::Application(error) => {
            format!("application {} {}", error.kind().as_i32(), error.message())
        }
        ClientError::Biz(error) => {
            let extra = error.extra.as_ref().map(|extra| {
                let sorted: BTreeMap<_, _> = extra.iter().collect();
                format!(" {sorted:?}")
            });
            let extra = extra.unwrap_or_default();
            format!("biz {} {}{extra}", error.status_code, error.status_message)
        }
        ClientError::Transport(error) => format!("transport {error}"),
        ClientError::Protocol(error) => format!("protocol {error}"),
    }
}
