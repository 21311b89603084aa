//! `sluice bench run`: the order in which a run starts, goes through its steps, and reports.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use signal_hook::consts::{SIGINT, SIGTERM};
use sluice_port::{Cores, DpdkIo, Eal, cores, eal_config, secrets};
use sluice_stack::{Buffers, Limits, Stack};

use super::args::{RunArgs, Speaks};
use super::asked::{
    CLOSED_KEPT, enough_ports, find_way, plan, protocol, request_file, specs, warn_of_kernel,
};
use super::deliver::{self, deliver, try_out_files};
use super::error::RunError;
use super::poller::{self, Event};
use super::port_spec::BackendSpec;
use super::ports::{Opened, open_ports, wait_for_links};
use super::progress::View;
use super::say;
use super::steps::Steps;
use super::summary::{self, About, Done};
use crate::load::plan::RequestFile;
use crate::load::run::Stage;
use crate::load::server::ServerSetup;
use crate::load::{ClientSetup, Generator, Pace, Plan, Reuse};
use crate::report::Settings;
use crate::report::fingerprint::Fingerprint;
use crate::report::noise::Watch;

/// Flows beside the connections that were asked for: those that are closing.
const SPARE_FLOWS: usize = 16_384;

pub(super) fn command(args: &RunArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => error.refuse(),
    }
}

/// Runs all of it; false where an expectation does not hold or nothing was answered.
fn run(args: &RunArgs) -> Result<bool, RunError> {
    if let Some(option) = args.foreign() {
        return Err(match args.protocol {
            Speaks::Http1 => RunError::Foreign(option, "http1", "ttheader"),
            Speaks::Ttheader => RunError::Foreign(option, "ttheader", "http1"),
        });
    }
    let file = request_file(args)?;
    let plan = plan(args, &file)?;
    let specs = specs(args)?;
    find_way(args)?;
    enough_ports(args)?;
    warn_of_kernel(&specs);
    try_out_files(args)?;
    let cores = own_cores(args.core.as_ref())?;
    cores::bind(&cores.control).map_err(system("this thread cannot be bound to its cores"))?;
    let stop = stop_flag()?;
    let devices = specs.iter().map(|(_, spec)| &spec.device);
    let eal = Eal::start(&eal_config(
        devices,
        cores.control.clone(),
        args.memory,
        args.verbose,
    )?)?;
    let opened = open_ports(eal.handle(), args, &specs)?;
    let links: Vec<_> = opened.iter().map(|opened| opened.link.clone()).collect();
    wait_for_links(&links, &stop)?;
    let devices: Vec<String> = opened.iter().map(|o| o.description.clone()).collect();
    let wire = opened.first().map_or("none".into(), |o| o.link.wire());

    let mean_request = plan.as_ref().map_or(0, Plan::mean_bytes);
    let generator = generator(args, &file, plan, opened)?;
    let (steps_in, steps) = sync_channel(1);
    let (events_in, events) = sync_channel(256);
    let poller = poller::spawn(poller::Setup {
        core: cores.first(),
        eal: eal.handle().clone(),
        generator,
        steps,
        events: events_in,
        stop: stop.clone(),
    })
    .map_err(system("no generator thread"))?;
    let poller = Running {
        steps: Some(steps_in),
        thread: Some(poller),
    };

    let holds = match args.target {
        Some(target) => {
            let (done, started, watch) = measure(args, &poller, &events, &stop, &cores)?;
            // It would poll on beside what puts the report together.
            drop(poller);
            let settings = settings(args, target, wire, mean_request, &cores);
            let mut fingerprint =
                Fingerprint::of_this_machine(sluice_port::version(), cores.first() as u32);
            fingerprint.devices = devices;
            fingerprint.noise = Some(watch.noise(&[]));
            if let Some(path) = &args.requests
                && let Ok(text) = serde_json::to_vec(&file)
            {
                fingerprint.add_configuration(path, &text);
            }
            let about = About {
                name: args.name.clone().unwrap_or_else(|| target.to_string()),
                started: humantime::format_rfc3339_millis(started).to_string(),
                fingerprint,
                settings,
            };
            let report = summary::report(&done, about).ok_or(RunError::Gone)?;
            deliver(args, &report, &done)?
        }
        None => {
            serve(args, &events, &stop)?;
            // Its last word is what it has served.
            drop(poller);
            let served = events.try_iter().find_map(|event| match event {
                Event::Served(served) => Some(served),
                _ => None,
            });
            deliver::backend(served.ok_or(RunError::Gone)?)?
        }
    };
    // What DPDK keeps is the kernel's to take back.
    let _ = eal.stop();
    Ok(holds)
}

/// The generator's thread, which ends with this.
struct Running {
    steps: Option<SyncSender<crate::load::Step>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The core that polls, and on the same one all else: DPDK's start, its threads, the report. Another core may be
/// the target's, and while something is measured none of that has anything to do but a line of progress.
pub(super) fn own_cores(core: Option<&u16>) -> Result<Cores, RunError> {
    Ok(cores::choose(cores::Ask::of(core), cores::End::First)?.together())
}

// ---- what is asked for -------------------------------------------------------------------------

fn settings(
    args: &RunArgs,
    target: SocketAddr,
    wire: String,
    mean_request: u64,
    cores: &Cores,
) -> Settings {
    let backend = args.backend.as_ref();
    Settings {
        protocol: protocol(args).name().into(),
        target: target.to_string(),
        wire,
        client: args
            .client
            .as_ref()
            .map(|spec| spec.text.clone())
            .unwrap_or_default(),
        backend: backend.map(|backend| backend.text.clone()),
        connections: args.connections,
        calls: args.calls,
        pace: summary::pace(args),
        keep_alive: !args.close,
        think_time_us: args.think.as_secs_f64() * 1e6,
        request_bytes: mean_request,
        response_body_bytes: backend.map(|backend| backend.body),
        requests_file: args
            .requests
            .as_ref()
            .map(|path| path.display().to_string()),
        warm_up_s: args.warm_up.as_secs_f64(),
        duration_s: Some(super::steps::duration(args).as_secs_f64()),
        requests: args.count,
        core: cores.first() as u32,
    }
}

// ---- what it takes -----------------------------------------------------------------------------

fn generator(
    args: &RunArgs,
    file: &RequestFile,
    plan: Option<Plan>,
    opened: Vec<Opened>,
) -> Result<Generator<DpdkIo>, RunError> {
    let secrets = secrets().map_err(system("/dev/urandom cannot be read"))?;
    let mut limits = Limits {
        flows: 2 * args.connections as usize + SPARE_FLOWS,
        ..Limits::default()
    };
    if args.close && protocol(args).client_closes() {
        // They would keep every source port from being used again for half a minute.
        limits.time_wait = CLOSED_KEPT as usize;
    }
    let ports = opened.into_iter().map(|opened| (opened.io, opened.setup));
    let stack = Stack::new(ports.collect(), limits, secrets, Arc::default());
    let buffers = Buffers {
        receive: args.buffer as usize,
        send: args.buffer as usize,
    };
    let client = plan.zip(args.target).map(|(plan, target)| {
        let setup = ClientSetup {
            port: 0,
            target,
            connections: args.connections,
            calls: args.calls,
            reuse: if args.close {
                Reuse::Close
            } else {
                Reuse::KeepAlive
            },
            buffers,
            connect_timeout: args.connect_timeout,
            timeout: args.timeout,
        };
        (setup, plan)
    });
    let server = args
        .backend
        .as_ref()
        .map(|spec| server(args, spec, buffers));
    let server = server.as_ref().map(|setup| (setup, file));
    Ok(Generator::new(stack, client, server, args.seed))
}

/// The backend listens on its own port, which stands behind the client's, or on the client's.
fn server(args: &RunArgs, spec: &BackendSpec, buffers: Buffers) -> ServerSetup {
    let own = spec.port.as_ref();
    let port = own.or(args.client.as_ref());
    ServerSetup {
        protocol: protocol(args),
        replies: spec.replies,
        port: u8::from(own.is_some() && args.client.is_some()),
        addresses: port.map_or(Vec::new(), |port| port.sockets(spec.listen)),
        body: spec.body,
        buffers,
    }
}

/// Set by the first SIGINT or SIGTERM; the second ends the process at once.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down and puts it up.
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(system("signals cannot be handled"))?;
    }
    Ok(stop)
}

pub(super) fn system(what: impl ToString) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System {
        what: what.to_string(),
        error,
    }
}

// ---- the run -----------------------------------------------------------------------------------

/// Goes through the steps; what each has come to, when the first began to count, and what else has used the
/// core since before the first.
fn measure(
    args: &RunArgs,
    poller: &Running,
    events: &Receiver<Event>,
    stop: &AtomicBool,
    cores: &Cores,
) -> Result<(Vec<Done>, SystemTime, Watch), RunError> {
    let mut view = View::new(args.quiet);
    let mut steps = Steps::new(args);
    let mut done: Vec<Done> = Vec::new();
    // Looking at every process takes milliseconds: before the load.
    let watch = Watch::start(&[cores.first() as u32]);
    let mut started = None;
    while let Some(step) = steps.next() {
        let offered = match step.pace {
            Pace::Closed => None,
            Pace::Open(rate) => {
                let seconds = step.length.duration.as_secs_f64();
                Some(rate.within(step.length.duration) / seconds)
            }
        };
        view.step(match (args.sweep, offered) {
            (Some(_), Some(rate)) => format!("{rate:>10.0}/s  "),
            _ => String::new(),
        });
        let sender = poller.steps.as_ref().ok_or(RunError::Gone)?;
        sender.send(step).map_err(|_| RunError::Gone)?;
        let outcome = loop {
            match events.recv().map_err(|_| RunError::Gone)? {
                Event::Served(_) => return Err(RunError::Gone),
                Event::Entered(stage, at) => {
                    if stage == Stage::Measuring {
                        started.get_or_insert(at);
                    }
                    if args.stages {
                        say(format_args!("stage: {}", stage.word()));
                    }
                }
                Event::Opening(opened) => view.opening(opened, args.connections),
                Event::Progress(progress) => view.interval(&progress),
                Event::StepEnded(outcome) => break outcome,
                Event::Failed(error) => return Err(error.into()),
            }
        };
        view.clear();
        let step = Done { offered, outcome };
        steps.note(&step.as_step());
        done.push(step);
        if stop.load(Ordering::Relaxed) {
            say("ended early");
            break;
        }
    }
    Ok((done, started.unwrap_or_else(SystemTime::now), watch))
}

/// A backend alone: until it is told to stop, or for the duration.
fn serve(args: &RunArgs, events: &Receiver<Event>, stop: &AtomicBool) -> Result<(), RunError> {
    let spec = args.backend.as_ref();
    let addresses = spec.map(|spec| server(args, spec, Buffers::default()).addresses);
    for address in addresses.into_iter().flatten() {
        say(format_args!("serving on {address}"));
    }
    let deadline = args.duration.map(|duration| Instant::now() + duration);
    while !stop.load(Ordering::Relaxed) && deadline.is_none_or(|end| Instant::now() < end) {
        match events.recv_timeout(Duration::from_millis(50)) {
            Ok(Event::Failed(error)) => return Err(error.into()),
            Err(RecvTimeoutError::Disconnected) => return Err(RunError::Gone),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(())
}
