//! EAL and the process: start, stop, shortage, and a crash without cleaning up.

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{eal, open, pool};
use dpdk::{Eal, EalConfig, EalError, Pool, PoolConfig, PoolError, cycles};

#[test]
fn a_second_start_is_refused() {
    let eal = eal();
    assert_eq!(
        Eal::start(&EalConfig::default()).unwrap_err(),
        EalError::AlreadyStarted
    );
    eal.stop().unwrap();
    assert_eq!(
        Eal::start(&EalConfig::default()).unwrap_err(),
        EalError::AlreadyStarted
    );
}

#[test]
fn stop_waits_for_nobody_but_says_who_is_left() {
    let eal = eal();
    let pool = pool(&eal, 1023);
    let mbuf = {
        let mut opened = open("net_null0", std::slice::from_ref(&pool)).unwrap();
        let mut frames: arrayvec::ArrayVec<_, 1> = arrayvec::ArrayVec::new();
        opened.queues[0].0.receive(&mut frames, 32);
        frames.pop().unwrap()
    };
    drop(pool);
    let left = eal.stop().unwrap_err();
    assert_eq!((left.handles, left.buffers), (0, 1));
    // The memory is still there: the frame is whole and can be given back.
    assert_eq!(mbuf.len(), mbuf.bytes().len());
}

#[test]
fn more_memory_than_there_is_names_the_command() {
    let config = EalConfig {
        memory_mib: 4_000_000,
        ..EalConfig::default()
    };
    let error = Eal::start(&config).unwrap_err().to_string();
    assert!(
        error.contains("4000000 MiB of hugepages are needed"),
        "{error}"
    );
    assert!(
        error.contains("echo ") && error.contains("/nr_hugepages"),
        "{error}"
    );
    // Nothing was started, so a start that can succeed still may.
    eal();
}

#[test]
fn a_pool_larger_than_memory_is_an_error() {
    // Without the limit it would first take every hugepage there is, from the tests beside it too.
    let extra_args = vec!["--socket-limit=32".to_owned()];
    let eal = Eal::start(&EalConfig {
        memory_mib: 16,
        extra_args,
        ..EalConfig::default()
    })
    .unwrap();
    let config = PoolConfig {
        frames: 100_000,
        frame_size: 16_384,
    };
    let error = Pool::new(eal.handle(), config).unwrap_err();
    assert!(matches!(error, PoolError::Create { .. }), "{error}");
    let error = Pool::new(
        eal.handle(),
        PoolConfig {
            frames: 0,
            frame_size: 2048,
        },
    )
    .unwrap_err();
    assert!(matches!(error, PoolError::Size { .. }), "{error}");
}

#[test]
fn bad_eal_arguments_fail_with_what_dpdk_said() {
    let extra_args = vec!["--vdev=net_nonsense0".to_owned()];
    let config = EalConfig {
        memory_mib: 32,
        extra_args,
        ..EalConfig::default()
    };
    let error = Eal::start(&config).unwrap_err().to_string();
    assert!(error.contains("net_nonsense0"), "{error}");
    let config = EalConfig {
        cpus: vec![100_000],
        ..EalConfig::default()
    };
    let error = Eal::start(&config).unwrap_err();
    assert_eq!(error, EalError::Argument("cpu 100000".to_owned()));
}

#[test]
fn the_cycle_counter_runs_at_the_stated_rate() {
    let eal = eal();
    let (start, from) = (Instant::now(), cycles());
    while start.elapsed() < Duration::from_millis(50) {}
    let rate = (cycles() - from) as f64 / start.elapsed().as_secs_f64();
    let stated = eal.handle().tsc_hz() as f64;
    assert!((rate / stated - 1.0).abs() < 0.05, "{rate} {stated}");
}

#[test]
fn the_starting_thread_keeps_its_cpus() {
    let cpus = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed_list"))
            .unwrap()
            .to_owned()
    };
    let before = cpus();
    let _eal = eal();
    assert_eq!(cpus(), before);
}

/// A process that is killed with a port open leaves nothing that its successor would have to clean.
#[test]
fn a_killed_process_leaves_nothing_behind() {
    let (mut ready, mut tell) = std::io::pipe().unwrap();
    // SAFETY: the child uses only its own copy of this thread, and never returns.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let eal = eal();
        let port = open("net_ring0", &[pool(&eal, 1023)]);
        tell.write_all(&[u8::from(port.is_ok())]).ok();
        std::thread::sleep(Duration::from_secs(60));
        std::process::abort();
    }
    drop(tell);
    let mut opened = [0];
    let told = ready.read_exact(&mut opened);
    // SAFETY: `child` is ours and not waited for yet.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    told.expect("the child started EAL");
    assert_eq!(opened, [1], "the child opened its port");

    let eal = eal();
    drop(open("net_ring0", &[pool(&eal, 1023)]).unwrap());
    eal.stop().unwrap();
    let left = std::fs::read_dir("/var/run/dpdk/sluice").map_or(0, Iterator::count);
    assert_eq!(left, 0, "files in /var/run/dpdk/sluice");
}
