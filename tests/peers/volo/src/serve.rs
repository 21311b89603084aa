//! The server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metainfo::{Backward, Forward, METAINFO};
use pilota::{AHashMap, Bytes, FastStr};
use tokio::net::TcpListener;
use volo::context::Context;
use volo::net::incoming::DefaultIncoming;
use volo_thrift::context::ServerContext;
use volo_thrift::{
    ApplicationException, ApplicationExceptionKind, BizError, MaybeException, ServerError,
};

use crate::Arguments;
use crate::echo::echo::echo::{Denied, Echo, EchoCallException, EchoServer, Reply, Request};

tokio::task_local! {
    /// The time that the caller gives, as the request has said.
    static TIMEOUT: Option<Duration>;
}

struct Service {
    told: AtomicU64,
}

/// Has the service see what frames say of time.
struct Time;

impl<S> volo::Layer<S> for Time {
    type Service = Timed<S>;

    fn layer(self, inner: S) -> Timed<S> {
        Timed(inner)
    }
}

struct Timed<S>(S);

impl<S, Request> volo::Service<ServerContext, Request> for Timed<S>
where
    S: volo::Service<ServerContext, Request> + Send + Sync,
    Request: Send,
{
    type Response = S::Response;
    type Error = S::Error;

    async fn call(
        &self,
        context: &mut ServerContext,
        request: Request,
    ) -> Result<Self::Response, Self::Error> {
        let timeout = context.rpc_info().config().rpc_timeout();
        TIMEOUT.scope(timeout, self.0.call(context, request)).await
    }
}

pub async fn serve(arguments: &Arguments) -> ExitCode {
    let address: SocketAddr = arguments.value("--listen", SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(address)
        .await
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    let address = listener.local_addr().expect("it is bound");
    println!("listening on {address}");
    let service = Service {
        told: AtomicU64::new(0),
    };
    let incoming = DefaultIncoming::from(listener);
    let server = EchoServer::new(service)
        .layer_front(Time)
        .multiplex(arguments.has("--multiplex"));
    match server.run(incoming).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error}"),
    }
}

impl Echo for Service {
    async fn call(
        &self,
        request: Request,
    ) -> Result<MaybeException<Reply, EchoCallException>, ServerError> {
        let (act, detail) = request.act.split_once(':').unwrap_or((&request.act, ""));
        match act {
            "" => {}
            "wait" => {
                let milliseconds = detail.parse().expect("a number of milliseconds");
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            "backward" => {
                let (key, value) = detail.split_once('=').expect("KEY=VALUE");
                METAINFO.with(|metainfo| {
                    let mut metainfo = metainfo.borrow_mut();
                    metainfo.set_backward_transient(key.to_owned(), value.to_owned());
                });
            }
            "deny" => {
                let (code, reason) = (403, FastStr::from_static_str("not today"));
                let denied = EchoCallException::Denied(Denied { code, reason });
                return Ok(MaybeException::Exception(denied));
            }
            "fail" => {
                let kind = ApplicationExceptionKind::INTERNAL_ERROR;
                return Err(ApplicationException::new(kind, "it failed").into());
            }
            "biz" => {
                let mut extra = AHashMap::default();
                extra.insert(FastStr::from("shelf"), FastStr::from("7"));
                let message = FastStr::from_static_str("out of stock");
                return Err(BizError::with_extra(1001, message, extra).into());
            }
            _ => panic!("{act}: what is it?"),
        }
        Ok(MaybeException::Ok(Reply {
            caller: request.caller.clone(),
            number: request.number,
            data: request.data.clone(),
            seen: self.seen(),
        }))
    }

    async fn echo(&self, data: Bytes) -> Result<Bytes, ServerError> {
        Ok(data)
    }

    async fn tell(&self, _: Bytes) -> Result<(), ServerError> {
        self.told.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Service {
    /// What has arrived beside the request.
    fn seen(&self) -> AHashMap<FastStr, FastStr> {
        let mut seen = BTreeMap::new();
        METAINFO.with(|metainfo| {
            let metainfo = metainfo.borrow();
            let maps = [
                ("persist", metainfo.get_all_persistents()),
                ("transit", metainfo.get_all_upstreams()),
            ];
            for (kind, map) in maps {
                for (key, value) in map.into_iter().flatten() {
                    seen.insert(format!("{kind} {key}"), value.to_string());
                }
            }
        });
        if let Ok(Some(timeout)) = TIMEOUT.try_with(|timeout| *timeout) {
            seen.insert("timeout".to_owned(), timeout.as_millis().to_string());
        }
        let told = self.told.load(Ordering::Relaxed);
        seen.insert("told".to_owned(), told.to_string());
        let pairs = seen.into_iter();
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }
}
