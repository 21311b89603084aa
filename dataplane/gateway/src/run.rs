//! `sluice run`: the order in which a gateway starts, and stops.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use sluice_control_client::file::FileSource;
use sluice_engine::stack::{Limits, PortSetup};
use sluice_engine::{Handoff, Inspection, WorkerSetup, WorkerStats};
use sluice_policy::rules::Idle;
use sluice_policy::{Problem, Snapshot};
use sluice_port::{
    CoreError, Cores, DeviceError, DpdkIo, Eal, EalError, EalHandle, OpenError, cores, cycles,
    secrets,
};

use crate::access_log::{AccessLogThread, Totals};
use crate::admin::{self, Admin, BindError, PortView, View};
use crate::check::{Counts, Memory, show};
use crate::control::{Control, effective, history};
use crate::links::{Link, Links};
use crate::loop_stats::LoopStats;
use crate::notify::Notify;
use crate::permission::{self, NotPermitted};
use crate::rates::Rates;
use crate::status::Status;
use crate::wall::Wall;
use crate::worker::{self, WorkerError};
use crate::{log, panics, ports, signals};

/// Events that may wait for the control thread. Signals come one at a time, and the admin interface
/// gets a refusal when there is no room.
const EVENTS: usize = 16;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file.
    #[error("the rules have {} problem(s), nothing was started", .0.len())]
    Rules(Vec<Problem>),
    /// The worker's core.
    #[error("workers.cores: {0}")]
    Core(#[from] CoreError),
    /// A port of an interface, without root.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The admin interface's address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A PCI address that DPDK cannot read.
    #[error(transparent)]
    Pci(#[from] DeviceError),
    /// Hugepages, permission or DPDK itself.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// A port's device.
    #[error("ports.{name}: {error}")]
    Port {
        /// The port's name in the rules.
        name: Arc<str>,
        /// What is wrong with it.
        error: Box<OpenError>,
    },
    /// The kernel refused something it hardly ever refuses.
    #[error("{what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The worker ended unasked.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The worker does not end.
    #[error("the worker did not stop in time; leaving it behind")]
    Stuck,
}

/// Runs the gateway to its end.
pub(crate) fn command(config: &Path, verbose: bool) -> ExitCode {
    let Err(error) = run(config, verbose) else {
        log::info("stopped");
        return ExitCode::SUCCESS;
    };
    if let RunError::Rules(problems) = &error {
        show(problems);
    }
    log::error(error);
    ExitCode::FAILURE
}

/// Starts everything in order, then is the control thread.
fn run(config: &Path, verbose: bool) -> Result<(), RunError> {
    panics::install();
    let (source, rules) = FileSource::open(config).map_err(RunError::Rules)?;
    log::info(format_args!("{}: {}", config.display(), Counts(&rules)));
    permission::check(&rules)?;
    let cores = cores::choose(rules.workers.core, cores::End::Last)?;
    // Bound early, because it is the cheapest thing to fail; served when all counters exist.
    let socket = admin::bind(rules.admin)?;
    let secrets = secrets().map_err(system("/dev/urandom cannot be read"))?;

    // Every thread from here on stays off the worker's core, EAL's own included: DPDK would put them
    // on whichever cores its lcores leave over.
    cores::bind(&cores.control).map_err(system("this thread cannot be bound to its cores"))?;
    let eal = Eal::start(&ports::eal_setup(&rules, &cores, verbose)?)?;
    let (events_in, events) = sync_channel(EVENTS);
    signals::watch(events_in.clone()).map_err(system("signals cannot be handled"))?;
    let (views, queues, links) = open_ports(eal.handle(), &rules)?;

    let handoff = Arc::new(Handoff::new(rules.clone()));
    let stats = Arc::new(WorkerStats::new(rules.ports.len()));
    let inspection = Arc::new(Inspection::default());
    let (loop_stats, status) = (Arc::new(LoopStats::default()), Arc::new(Status::default()));
    status.show_rules(effective(source.rules()));
    status.show_history(history(&source));
    let rates = Arc::new(Rates::new(stats.traffic.clone()));
    let clock_start = cycles();
    let wall = Wall::new(clock_start, eal.handle().tsc_hz());
    let log_totals = Arc::new(Totals::default());
    let access_log = AccessLogThread::start(handoff.clone(), wall, log_totals.clone())
        .map_err(system("no access log thread"))?;
    let view = View {
        ports: views,
        stats: stats.clone(),
        loop_stats: loop_stats.clone(),
        status: status.clone(),
        handoff: handoff.clone(),
        inspection: inspection.clone(),
        capture: Default::default(),
        rates: rates.clone(),
        names: source.names().clone(),
        log_totals,
        wall,
        events: events_in.clone(),
        tsc_hz: eal.handle().tsc_hz(),
    };
    let admin = Admin::start(socket, view).map_err(system("no admin thread"))?;
    announce(&rules, &cores);
    let worker = worker::spawn(worker::Setup {
        core: cores.worker,
        idle: rules.workers.idle,
        eal: eal.handle().clone(),
        engine: WorkerSetup {
            ports: queues,
            limits: Limits::default(),
            secrets,
            inspection,
        },
        handoff: handoff.clone(),
        stats,
        loop_stats,
        clock_start,
        status: status.clone(),
        events: events_in,
    })
    .map_err(system("no worker thread"))?;
    drop(rules);

    let ended = Control {
        source,
        handoff,
        links,
        rates,
        status,
        notify: Notify::from_environment(),
        events,
    }
    .run();
    // A worker that hangs cannot be joined; the kernel takes back what it holds.
    if !matches!(ended, Err(RunError::Stuck)) {
        stop(worker, admin, eal, verbose);
    }
    access_log.stop();
    ended
}

/// The ports as the admin interface sees them, the worker's queue pair of each, and their links.
type Opened = (Vec<PortView>, Vec<(DpdkIo, PortSetup)>, Links);

fn open_ports(eal: &EalHandle, rules: &Snapshot) -> Result<Opened, RunError> {
    let (mut views, mut queues, mut links) = (Vec::new(), Vec::new(), Links::default());
    for port in &rules.ports {
        let name = port.name.clone();
        let opened = ports::open_port(eal, rules, port).map_err(|error| RunError::Port {
            name: name.clone(),
            error: Box::new(error),
        })?;
        log::info(format_args!("port {name}: {}", opened.description));
        if let Some(notice) = &opened.notice {
            log::warning(format_args!("port {name}: {notice}"));
        }
        // One worker, so one queue pair with its pool.
        queues.extend(
            opened
                .queues
                .into_iter()
                .map(|io| (io, ports::stack_setup(port))),
        );
        let interface = opened.interface.map(Arc::new);
        let link = Link::new(opened.port.clone(), interface.clone());
        links.watch(name.clone(), link.clone());
        views.push(PortView {
            name,
            port: opened.port,
            pools: opened.pools,
            link,
            interface,
        });
    }
    Ok((views, queues, links))
}

/// One line per listener, and one each for the admin interface and the worker.
fn announce(rules: &Snapshot, cores: &Cores) {
    for listener in &rules.listeners {
        let addresses: Vec<String> = listener
            .addresses
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        let port = rules
            .ports
            .get(listener.port)
            .map_or("", |port| &*port.name);
        log::info(format_args!(
            "listener {}: http on {}, port {port}",
            listener.name,
            addresses.join(" and ")
        ));
    }
    log::info(format_args!("admin: http://{}", rules.admin));
    log::info(format_args!(
        "worker 0: core {}, idle: {}",
        cores.worker,
        match rules.workers.idle {
            Idle::Poll => "poll",
            Idle::Adaptive => "adaptive",
            Idle::Share => "share",
        }
    ));
    log::info(Memory(rules));
    if cores.control == [cores.worker] {
        log::warning("there is one core only, which the worker shares with everything else");
    }
}

/// Takes down what was built, in reverse order, so that the devices are closed and EAL's memory
/// is free when the process ends.
fn stop(worker: JoinHandle<()>, admin: Admin, eal: Eal, verbose: bool) {
    // It has said that it ended, so this does not wait.
    let _ = worker.join();
    admin.stop();
    if let Err(error) = eal.stop()
        && verbose
    {
        log::warning(error);
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System { what, error }
}
