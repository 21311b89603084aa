//! What a run is asked for: requests, ports, and whether the target can be reached by them.

use std::fs;
use std::io::{Read, stdin};
use std::net::IpAddr;
use std::path::Path;

use sluice_policy::rules::{Cidr, Size};
use sluice_stack::EPHEMERAL;

use super::args::{RunArgs, Speaks};
use super::error::RunError;
use super::port_spec::PortSpec;
use super::ports::kernel_has;
use super::say;
use crate::load::plan::{Common, RequestFile, RequestSpec};
use crate::load::{Plan, Protocol};

/// Largest file of requests.
const MAX_REQUESTS_FILE: u64 = 64 << 20;

pub(super) fn request_file(args: &RunArgs) -> Result<RequestFile, RunError> {
    let Some(path) = &args.requests else {
        let (headers, keys) = (args.header.iter().cloned(), args.key.iter().cloned());
        return Ok(RequestFile {
            requests: vec![RequestSpec {
                method: args.method.clone(),
                path: args.path.clone(),
                service: args.service.clone(),
                headers: headers.collect(),
                keys: keys.collect(),
                echo: args.echo,
                body: args.body.map(Size),
                ..RequestSpec::default()
            }],
        });
    };
    let file = |reason: String| RunError::File {
        file: path.display().to_string(),
        reason,
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        stdin().take(MAX_REQUESTS_FILE).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|f| f.take(MAX_REQUESTS_FILE).read_to_string(&mut text))
    };
    read.map_err(|error| file(error.to_string()))?;
    // JSON is YAML.
    serde_saphyr::from_str(&text).map_err(|error| file(error.to_string()))
}

pub(super) fn plan(args: &RunArgs, file: &RequestFile) -> Result<Option<Plan>, RunError> {
    let Some(target) = args.target else {
        return Ok(None);
    };
    let common = Common {
        protocol: protocol(args),
        calls: args.calls,
        timeout: args.timeout,
        host: args.host.clone().unwrap_or_else(|| target.to_string()),
        close: args.close,
        backend: args.backend.as_ref().map(|backend| backend.body),
        think: args.think,
    };
    let plan = Plan::new(file, &common).map_err(|error| match args.requests {
        Some(_) => RunError::Plan(error),
        None => RunError::Typed(error),
    })?;
    Ok(Some(plan))
}

pub(super) fn protocol(args: &RunArgs) -> Protocol {
    match args.protocol {
        Speaks::Http1 => Protocol::Http1,
        Speaks::Ttheader => Protocol::TtHeader(args.encoding),
    }
}

/// Every port to be opened, by the option that describes it; the client's first.
pub(super) fn specs(args: &RunArgs) -> Result<Vec<(&'static str, &PortSpec)>, RunError> {
    let backend = args.backend.as_ref();
    let specs: Vec<_> = args
        .client
        .iter()
        .map(|spec| ("client", spec))
        .chain(
            backend
                .and_then(|b| b.port.as_ref())
                .map(|spec| ("backend", spec)),
        )
        .collect();
    match (&specs[..], backend) {
        ([], Some(backend)) => Err(RunError::NoPort(backend.text.clone())),
        ([(_, client), (_, backend)], _) if client.device == backend.device => {
            Err(RunError::Twice {
                first: "--client",
                second: "--backend",
            })
        }
        _ => Ok(specs),
    }
}

/// A target that no address or route of the client's port leads to would fail request by request.
pub(super) fn find_way(args: &RunArgs) -> Result<(), RunError> {
    let (Some(target), Some(client)) = (args.target, &args.client) else {
        return Ok(());
    };
    let mut own = client.addresses.iter().map(|cidr| cidr.address());
    if own.any(|address| address == target.ip()) {
        return Err(RunError::Itself(target));
    }
    let networks = || {
        let routes = client.routes.iter().map(|(network, _)| network);
        client.addresses.iter().chain(routes)
    };
    if networks().any(|network| network.contains(target.ip())) {
        return Ok(());
    }
    let reach = networks().map(|network| format!("{}/{}", network.network(), network.prefix()));
    Err(RunError::NoWay {
        target,
        reach: reach.collect(),
    })
}

/// Records of closed connections that are kept where it is the client that closes: each keeps a source port.
pub(super) const CLOSED_KEPT: u32 = 1_024;

/// Connections towards one target from one address: its source ports but for some that are left over, so that a
/// free one is found soon.
const PER_ADDRESS: u32 = 28_000;

const _: () = assert!(PER_ADDRESS + 200 < (EPHEMERAL.end - EPHEMERAL.start) as u32);

/// More connections than the client's addresses have source ports for would fail one by one.
pub(super) fn enough_ports(args: &RunArgs) -> Result<(), RunError> {
    let (Some(target), Some(client)) = (args.target, &args.client) else {
        return Ok(());
    };
    let sources = sources(client, target.ip());
    let addresses = sources.len() as u32;
    let kept = match args.close && protocol(args).client_closes() {
        true => CLOSED_KEPT,
        false => 0,
    };
    let most = (addresses * PER_ADDRESS).saturating_sub(kept);
    if args.connections <= most {
        return Ok(());
    }
    Err(RunError::FewPorts {
        connections: args.connections,
        most,
        addresses,
        missing: (args.connections + kept).div_ceil(PER_ADDRESS) - addresses,
        prefix: sources.first().map_or(0, |source| source.prefix()),
    })
}

/// Those of a port's addresses that connections to a target come from: those of the network of the first stop on
/// the way there, or else all of its family.
fn sources(port: &PortSpec, target: IpAddr) -> Vec<&Cidr> {
    let ours = || port.addresses.iter();
    let routes = port.routes.iter();
    let route = routes
        .filter(|(network, _)| network.contains(target))
        .max_by_key(|(network, _)| network.prefix());
    let stop = match route {
        Some((_, via)) if !ours().any(|network| network.contains(target)) => *via,
        _ => target,
    };
    let beside: Vec<&Cidr> = ours().filter(|network| network.contains(stop)).collect();
    if !beside.is_empty() {
        return beside;
    }
    ours()
        .filter(|network| network.address().is_ipv4() == target.is_ipv4())
        .collect()
}

/// Says so where the kernel has an address as well: it resets what it knows nothing of.
pub(super) fn warn_of_kernel(specs: &[(&'static str, &PortSpec)]) {
    for (which, spec) in specs {
        let addresses = spec.addresses.iter().map(|cidr| cidr.address());
        for address in addresses.filter(|address| kernel_has(*address)) {
            say(format_args!(
                "warning: --{which}: the kernel has {address} as well and will reset the generator's connections; \
                 take it away there (ip addr del {address}/... dev ...), or use another"
            ));
        }
    }
}
