//! `sluice bench wire`: a bad wire between two ports, until it is told to stop.

use std::hint;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sluice_port::{Clock, DpdkIo, Eal, OpenedPort, cores, cycles, eal_config, open, port_config};
use sluice_stack::time::Instant;

use super::args::WireArgs;
use super::error::RunError;
use super::poller::PollerError;
use super::run::{own_cores, stop_flag};
use super::say;
use crate::wire::{BadWire, Badness, Counts};

/// How often a wire that has nothing to hand on looks whether it is to end.
const LOOK_EVERY: u32 = 1 << 12;

pub(super) fn command(args: &WireArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.refuse(),
    }
}

fn run(args: &WireArgs) -> Result<(), RunError> {
    if args.left.device == args.right.device {
        return Err(RunError::Twice {
            first: "the first end",
            second: "the second end",
        });
    }
    let cores = own_cores(args.core.as_ref())?;
    cores::bind(&cores.control).map_err(super::run::system(
        "this thread cannot be bound to its cores",
    ))?;
    let stop = stop_flag()?;
    let devices = [&args.left, &args.right];
    let eal = Eal::start(&eal_config(
        devices.map(|device| &device.device),
        cores.control.clone(),
        args.memory,
        args.verbose,
    )?)?;
    let mut opened = Vec::new();
    for (end, device) in ["first", "second"].iter().zip(devices) {
        let config = port_config(
            device.device.clone(),
            device.mtu,
            args.memory,
            (devices.len(), 1),
        );
        let port = open(eal.handle(), &config).map_err(|error| RunError::Port {
            which: format!("the {end} end"),
            device: device.device.clone(),
            error: Box::new(error),
        })?;
        if let Some(notice) = &port.notice {
            say(notice);
        }
        opened.push(port);
    }
    let handle = eal.handle().clone();
    let counts = thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<[(Counts, usize); 2], PollerError> {
            if !cores::pin(cores.first()) {
                return Err(PollerError::Core(cores.first()));
            }
            let _registered = handle.register_thread()?;
            let clock = Clock::new(cycles(), handle.tsc_hz());
            Ok(carry(args, opened, clock, &stop))
        });
        thread.join().map_err(|_| RunError::Gone)
    })??;
    for (way, (counts, flying)) in ["there", "back"].iter().zip(counts) {
        say(format_args!(
            "{way}: {} frames came, {} went on, {} lost as asked, {} doubled, {} overtaken, {} beyond the \
             queue, {} without a buffer, {flying} still on their way",
            counts.received,
            counts.sent,
            counts.lost,
            counts.doubled,
            counts.overtaken,
            counts.overflowed,
            counts.no_buffer,
        ));
    }
    let _ = eal.stop();
    Ok(())
}

/// Polls until it is told to stop, or for the duration.
fn carry(
    args: &WireArgs,
    opened: Vec<OpenedPort>,
    mut clock: Clock,
    stop: &AtomicBool,
) -> [(Counts, usize); 2] {
    let mut interfaces = Vec::new();
    let queues = opened.into_iter().flat_map(|port| {
        interfaces.push((port.port, port.interface));
        port.ios
    });
    // One queue pair of each.
    let Ok(ports) = <[DpdkIo; 2]>::try_from(queues.collect::<Vec<_>>()) else {
        return Default::default();
    };
    let bad = Badness {
        loss: args.loss,
        duplicate: args.duplicate,
        reorder: args.reorder,
        delay: args.delay,
        jitter: args.jitter,
        rate: args.rate,
    };
    let back = if args.one_way {
        Badness::default()
    } else {
        bad
    };
    let mut wire = BadWire::new(ports, [bad, back], args.seed);
    let end = args
        .duration
        .map_or(Instant::NEVER, |duration| clock.at(cycles()) + duration);
    say("the wire carries frames");
    let mut turns = 0u32;
    loop {
        let now = clock.at(cycles());
        if wire.poll_once(now) == 0 {
            hint::spin_loop();
        }
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(LOOK_EVERY) && (stop.load(Ordering::Relaxed) || now >= end) {
            let ([there, back], [ahead, behind]) = (wire.counts(), wire.in_flight());
            return [(there, ahead), (back, behind)];
        }
    }
}
