//! Finds libdpdk, checks its version, and generates the bindings and the wrappers of its inline functions.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

/// Releases this crate is written against, as `(year, month)`: the LTS releases 22.11 to 24.11 and what
/// lies between.
const OLDEST: (u32, u32) = (22, 11);
const NEWEST: (u32, u32) = (24, 11);

/// The libraries called into; drivers are plugins which EAL loads when it starts. `rte_log` is part of
/// `rte_eal` before 23.11.
const LIBRARIES: [&str; 6] = [
    "rte_ethdev",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
    "rte_eal",
    "rte_log",
];

const FUNCTIONS: &[&str] = &[
    "fopencookie",
    "rte_dev_name",
    "rte_dev_remove",
    "rte_eal_cleanup",
    "rte_eal_hotplug_add",
    "rte_eal_init",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_callback_register",
    "rte_eth_dev_callback_unregister",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_reta_query",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_burst",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_burst",
    "rte_eth_tx_prepare",
    "rte_eth_tx_queue_setup",
    "rte_get_tsc_hz",
    "rte_mempool_avail_count",
    "rte_openlog_stream",
    "rte_pktmbuf_alloc",
    "rte_pktmbuf_alloc_bulk",
    "rte_pktmbuf_chain",
    "rte_pktmbuf_free",
    "rte_pktmbuf_pool_create",
    "rte_rdtsc",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
    "sluice_.*",
];

const VARIABLES: &[&str] = &[
    "SLUICE_.*",
    "LCORE_ID_ANY",
    "RTE_MAX_ETHPORTS",
    "RTE_ETH_MQ_RX_RSS",
    "RTE_PKTMBUF_HEADROOM",
];

fn main() {
    println!("cargo:rerun-if-changed=wrapper.h");
    println!("cargo:rerun-if-changed=build.rs");

    let dpdk = find_dpdk();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let flags = instruction_set_flags();

    // DPDK's headers are sources of `static inline` functions: where they lie decides what is compiled.
    let includes: Vec<String> = dpdk
        .include_paths
        .iter()
        .map(|path| format!("-I{}", path.display()))
        .collect();
    let inline_c = out.join("inline.c");
    generate_bindings(&includes, flags, &out, &inline_c);
    compile_inline_functions(&dpdk.include_paths, flags, &inline_c);

    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES
        .iter()
        .filter(|name| dpdk.libs.iter().any(|have| have == *name))
    {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}

/// Asks pkg-config for libdpdk. Its cflags hold `-march=...` (`corei7` on Debian, often `native` for a
/// DPDK built on the spot); only paths and libraries are taken from it, so that what is built here runs
/// wherever DPDK itself runs.
fn find_dpdk() -> pkg_config::Library {
    let found = pkg_config::Config::new()
        .cargo_metadata(false)
        .env_metadata(true)
        .probe("libdpdk");
    let library = match found {
        Ok(library) => library,
        Err(_) => refuse(
            "libdpdk was not found by pkg-config.\n\
             Install it: apt-get install dpdk libdpdk-dev pkg-config\n\
             If it lies outside the system's paths, set PKG_CONFIG_PATH to the directory with libdpdk.pc.\n\
             What pkg-config itself says: pkg-config --print-errors --libs libdpdk",
        ),
    };
    match parse_version(&library.version) {
        Some(version) if (OLDEST..=NEWEST).contains(&version) => library,
        _ => refuse(&format!(
            "DPDK {} was found, but 22.11 to 24.11 is needed.\n\
             Debian 12 and later have one: apt-get install dpdk libdpdk-dev\n\
             If several are installed, set PKG_CONFIG_PATH to the directory with the right libdpdk.pc.",
            library.version
        )),
    }
}

/// `22.11.11` to `(22, 11)`; a release candidate (`24.11.0-rc1`) counts as its release.
fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let year = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    Some((year, month))
}

/// Ends the build with a message of its own instead of a panic's backtrace.
fn refuse(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1)
}

/// What the headers need beyond the target's baseline: on x86 DPDK's own least is SSE 4.2 (EAL refuses
/// to start on less). On arm64 the baseline has what they use.
fn instruction_set_flags() -> &'static [&'static str] {
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => &["-msse4.2"],
        _ => &[],
    }
}

fn generate_bindings(includes: &[String], flags: &[&str], out: &Path, inline_c: &Path) {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(includes)
        .clang_args(flags)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .wrap_static_fns(true)
        .wrap_static_fns_path(inline_c)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        // Reached by offset, through pointers, or not at all; their layout changes with the release.
        .opaque_type("rte_mbuf")
        .blocklist_type("rte_mbuf__.*")
        .blocklist_type("rte_mbuf_sched")
        .opaque_type("rte_mempool")
        .opaque_type("rte_device")
        .opaque_type("rte_eth_fp_ops")
        .opaque_type("_IO_FILE");
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    let written = builder
        .generate()
        .map_err(|error| error.to_string())
        .and_then(|bindings| {
            bindings
                .write_to_file(out.join("bindings.rs"))
                .map_err(|error| error.to_string())
        });
    if let Err(error) = written {
        refuse(&format!(
            "the bindings to DPDK could not be generated: {error}\n\
             bindgen needs libclang: apt-get install clang libclang-dev"
        ));
    }
}

/// Always optimised: these are the data path, also in a debug build of the rest.
fn compile_inline_functions(includes: &[PathBuf], flags: &[&str], inline_c: &Path) {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let mut build = cc::Build::new();
    build
        .file(inline_c)
        .include(here)
        .includes(includes)
        .opt_level(3)
        .warnings(false);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("dpdk_inline");
}
