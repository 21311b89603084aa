//! `sluice run`: the order in which a gateway starts, and stops.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_control_client::file::FileSource;
use sluice_engine::stack::PortSetup;
use sluice_engine::stack::crew::{PortCrew, Seat, crew};
use sluice_engine::{WorkerSetup, limits};
use sluice_policy::rules::{Idle, ListenerProtocol};
use sluice_policy::{Problem, Snapshot, WorkerCores};
use sluice_port::cores::Ask;
use sluice_port::{
    CoreError, Cores, DeviceError, DpdkIo, Eal, EalError, EalHandle, OpenError, cores, cycles,
    secrets,
};

use crate::access_log::{AccessLogThread, Totals};
use crate::admin::{self, Admin, BindError, PortView, View};
use crate::check::{Counts, Memory, SHOWN, beyond_machine, show};
use crate::control::{Awaited, Control, effective, history};
use crate::links::{Link, Links};
use crate::notify::Notify;
use crate::permission::{self, NotPermitted};
use crate::ports::TooLittleMemory;
use crate::rates::Rates;
use crate::room::Room;
use crate::shared::Shared;
use crate::status::Status;
use crate::steering::{PortSteering, Steerings};
use crate::wall::Wall;
use crate::watchdog::Watchdog;
use crate::worker::{self, WorkerError};
use crate::{log, panics, ports, signals};

/// Events that may wait for the control thread: each worker has two to tell. Signals come one at a time,
/// and the admin interface gets a refusal when there is no room.
const EVENTS: usize = 16 + 2 * MOST_WORKERS;
const MOST_WORKERS: usize = 64;

/// How long workers have to end once they were told to.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file.
    #[error("the rules have {} problem(s), nothing was started", .0.len())]
    Rules(Vec<Problem>),
    /// The workers' cores.
    #[error("workers: {0}")]
    Core(#[from] CoreError),
    /// A port of an interface, without root.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// Too many workers for the memory of their buffers.
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
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
    /// A worker ended unasked.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A worker does not end.
    #[error("a worker did not stop in time; leaving it behind")]
    Stuck,
}

/// Runs the gateway to its end.
pub(crate) fn command(config: &Path, verbose: bool) -> ExitCode {
    let Err(error) = run(config, verbose) else {
        log::info("stopped");
        return ExitCode::SUCCESS;
    };
    if let RunError::Rules(problems) = &error {
        show(problems, SHOWN);
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
    ports::check_memory(&rules)?;
    let ask = match &rules.workers.cores {
        WorkerCores::Last(count) => Ask::Count(*count),
        WorkerCores::OfNode { count, node } => Ask::OfNode {
            count: *count,
            node: *node,
        },
        WorkerCores::These(cores) => Ask::These(cores),
    };
    let cores = cores::choose(ask, cores::End::Last)?;
    // Bound early, because it is the cheapest thing to fail; served when all counters exist.
    let socket = admin::bind(rules.admin)?;

    // Every thread from here on stays off the workers' cores, EAL's own included: DPDK would put them
    // on whichever cores its lcores leave over.
    cores::bind(&cores.control).map_err(system("this thread cannot be bound to its cores"))?;
    let eal = Eal::start(&ports::eal_setup(&rules, &cores, verbose)?)?;
    let (events_in, events) = sync_channel(EVENTS);
    signals::watch(events_in.clone()).map_err(system("signals cannot be handled"))?;
    let Opened {
        views,
        mut places,
        links,
        steerings,
    } = open_ports(eal.handle(), &rules, &cores)?;

    let shared: Vec<Shared> = places.iter().map(|_| Shared::new(&rules)).collect();
    let firsts = places.iter_mut().filter_map(|place| place.seat.as_mut());
    let firsts = firsts.map(Seat::watch).collect();
    let watchdog = Watchdog::new(shared.iter().map(|shared| shared.loop_stats.clone()));
    let steerings = Steerings::new(steerings, firsts, &shared);
    let handoffs = || shared.iter().map(|shared| shared.handoff.clone()).collect();
    let status = Arc::new(Status::default());
    status.show_rules(effective(&source), source.took());
    status.show_history(history(&source));
    let traffic = shared.iter().map(|shared| shared.stats.traffic.clone());
    let rates = Arc::new(Rates::new(traffic.collect()));
    let clock_start = cycles();
    let wall = Wall::new(clock_start, eal.handle().tsc_hz());
    let log_totals = Arc::new(Totals::default());
    let access_log = AccessLogThread::start(handoffs(), wall, log_totals.clone())
        .map_err(system("no access log thread"))?;
    let view = View {
        ports: views,
        workers: shared.clone(),
        status: status.clone(),
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
    let awaited = Awaited::of(places.len());
    let mut workers = Vec::new();
    for (number, (place, shared)) in places.into_iter().zip(&shared).enumerate() {
        let core = cores.workers.get(number).copied().unwrap_or_default();
        let setup = worker::Setup {
            number,
            workers: cores.workers.len(),
            core,
            core_is_shared: cores.is_shared(core),
            idle: rules.workers.idle,
            eal: eal.handle().clone(),
            engine: WorkerSetup {
                ports: place.queues,
                limits: limits(&rules),
                secrets: secrets().map_err(system("/dev/urandom cannot be read"))?,
                inspection: shared.inspection.clone(),
                seat: place.seat,
            },
            shared: shared.clone(),
            clock_start,
            status: status.clone(),
            events: events_in.clone(),
        };
        workers.push(worker::spawn(setup).map_err(system("no worker thread"))?);
    }
    let room = Room::of(&rules);
    drop((rules, events_in));

    let handoffs = handoffs();
    drop(shared);
    let ended = Control {
        source,
        handoffs,
        awaited,
        links,
        watchdog,
        steerings,
        rates,
        room,
        status,
        notify: Notify::from_environment(),
        events,
        rolls_back: None,
    }
    .run();
    // A worker that hangs cannot be joined; the kernel takes back what it holds.
    let hangs = matches!(
        ended,
        Err(RunError::Stuck | RunError::Worker(WorkerError::Silent(_)))
    );
    if !hangs {
        stop(workers, admin, eal, verbose);
    }
    access_log.stop();
    ended
}

/// What a worker begins with of the ports.
struct Place {
    queues: Vec<(DpdkIo, PortSetup)>,
    /// Its place among the others, if there are any.
    seat: Option<Seat<DpdkIo>>,
}

/// The open ports.
struct Opened {
    /// As the admin interface sees them.
    views: Vec<PortView>,
    /// What each worker has of them.
    places: Vec<Place>,
    links: Links,
    /// How their flows are steered, where there are several workers.
    steerings: Vec<PortSteering>,
}

fn open_ports(eal: &EalHandle, rules: &Snapshot, cores: &Cores) -> Result<Opened, RunError> {
    let workers = cores.workers.len();
    let (mut views, mut links) = (Vec::new(), Links::default());
    let mut queues: Vec<Vec<(DpdkIo, PortSetup)>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut crews, mut steerings) = (Vec::new(), Vec::new());
    for port in &rules.ports {
        let name = port.name.clone();
        let opened = ports::open_port(eal, rules, port, cores).map_err(|error| RunError::Port {
            name: name.clone(),
            error: Box::new(error),
        })?;
        log::info(format_args!("port {name}: {}", opened.description));
        if let Some(notice) = &opened.notice {
            log::warning(format_args!("port {name}: {notice}"));
        }
        let mut totals = None;
        if workers > 1 {
            let steering = PortSteering::of(&name, &opened, workers as u16)
                .map_err(system("/dev/urandom cannot be read"))?;
            crews.push(PortCrew {
                steering: steering.steering().clone(),
                queues: opened.queue_pairs,
                certain_queues: opened.certain_queues,
            });
            totals = Some(steering.totals().clone());
            steerings.push(steering);
        }
        for (queues, io) in queues.iter_mut().zip(opened.ios) {
            queues.push((io, ports::stack_setup(port)));
        }
        let interface = opened.interface.map(Arc::new);
        let link = Link::new(opened.port.clone(), interface.clone(), opened.queue_pairs);
        links.watch(name.clone(), link.clone());
        views.push(PortView {
            name,
            port: opened.port,
            pools: opened.pools,
            link,
            interface,
            steering: totals,
        });
    }
    let seats: Vec<Option<Seat<DpdkIo>>> = match workers {
        1 => vec![None],
        _ => crew(workers as u16, &crews).into_iter().map(Some).collect(),
    };
    let places = queues.into_iter().zip(seats);
    let places = places.map(|(queues, seat)| Place { queues, seat });
    Ok(Opened {
        views,
        places: places.collect(),
        links,
        steerings,
    })
}

/// One line per listener and worker, and one for the admin interface.
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
        let protocol = match listener.protocol {
            ListenerProtocol::Auto => "http, ttheader and thrift",
            ListenerProtocol::Http => "http",
            ListenerProtocol::TtHeader => "ttheader",
            ListenerProtocol::Thrift => "thrift",
        };
        log::info(format_args!(
            "listener {}: {protocol} on {}, port {port}",
            listener.name,
            addresses.join(" and ")
        ));
    }
    log::info(format_args!("admin: http://{}", rules.admin));
    let idle = match rules.workers.idle {
        Idle::Poll => "poll",
        Idle::Adaptive => "adaptive",
        Idle::Share => "share",
    };
    for (number, core) in cores.workers.iter().enumerate() {
        log::info(format_args!("worker {number}: core {core}, idle: {idle}"));
    }
    log::info(Memory(rules));
    if let Some(notice) = beyond_machine(rules) {
        log::info(notice);
    }
    let mut workers = cores.workers.iter();
    if workers.any(|core| cores.control.contains(core)) {
        log::warning(
            "there is no core left for everything else, which shares those of the workers",
        );
    } else if cores.workers.iter().any(|core| cores.is_shared(*core)) {
        log::warning("several workers share a core, which is for tests");
    }
}

/// Takes down what was built, in reverse order, so that the devices are closed and EAL's memory
/// is free when the process ends.
fn stop(workers: Vec<JoinHandle<()>>, admin: Admin, eal: Eal, verbose: bool) {
    // They have said that they ended, or were told to because one of them failed.
    let give_up_at = Instant::now() + JOIN_WITHIN;
    for worker in workers {
        while !worker.is_finished() && Instant::now() < give_up_at {
            thread::sleep(Duration::from_millis(1));
        }
        if worker.is_finished() {
            let _ = worker.join();
        }
    }
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
