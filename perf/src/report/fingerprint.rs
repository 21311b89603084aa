//! Where and with what a figure was measured: machine, software, configuration, and what else went on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::noise::Noise;

/// The circumstances of a measurement. What a machine does not tell is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// Model name of the processor.
    pub cpu: String,
    /// Cores that are online.
    pub cores: u32,
    /// Frequency governor of the generator's core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The hypervisor, where the processor says that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<String>,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Kernel boot parameters that concern isolation and mitigations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<String>,
    /// Hugepages of 2 MiB: reserved in all.
    pub hugepages: u64,
    /// Version of DPDK.
    pub dpdk: String,
    /// DPDK drivers and devices in use.
    pub devices: Vec<String>,
    /// What runs on which core, by name: `generator` and each system under test.
    pub pinning: BTreeMap<String, u32>,
    /// Version of Sluice.
    pub sluice: String,
    /// SHA-256 of the `sluice` executable, first 16 hex digits: tells builds of a version apart.
    pub build: String,
    /// Versions of other systems, by name, as they print them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, String>,
    /// SHA-256 of each configuration file, first 16 hex digits, by file name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, String>,
    /// What else went on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

impl Fingerprint {
    /// What this machine and process tell, with `dpdk` as its version and `core` as the generator's.
    /// Devices, other pinning, peers, configurations and noise are for the caller to fill in. Reads
    /// files; never fails.
    pub fn of_this_machine(dpdk: &str, core: u32) -> Fingerprint {
        let cpuinfo = read("/proc/cpuinfo");
        Fingerprint {
            cpu: cpu_model(&cpuinfo),
            cores: cpuinfo
                .lines()
                .filter(|line| field(line, "processor").is_some())
                .count() as u32,
            governor: known(&format!(
                "/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
            )),
            virtual_machine: hypervisor(&cpuinfo),
            kernel: format!(
                "{} {}",
                read("/proc/sys/kernel/ostype").trim(),
                read("/proc/sys/kernel/osrelease").trim()
            ),
            boot: boot_parameters(&read("/proc/cmdline")),
            hugepages: read("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
                .trim()
                .parse()
                .unwrap_or_default(),
            dpdk: dpdk.to_owned(),
            devices: Vec::new(),
            pinning: BTreeMap::from([("generator".to_owned(), core)]),
            sluice: env!("CARGO_PKG_VERSION").to_owned(),
            build: fs::read("/proc/self/exe")
                .map(|executable| hash(&executable))
                .unwrap_or_default(),
            peers: BTreeMap::new(),
            configurations: BTreeMap::new(),
            noise: None,
        }
    }

    /// Notes the hash of a configuration under the file's name.
    pub fn add_configuration(&mut self, path: &Path, contents: &[u8]) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        self.configurations
            .insert(name.to_string_lossy().into_owned(), hash(contents));
    }
}

/// The first 16 hex digits of a SHA-256.
pub fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The trimmed contents of a file that is there and not empty.
fn known(path: &str) -> Option<String> {
    let text = read(path).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The value of a line `key : value`.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    (found.trim() == key).then_some(value.trim())
}

/// The model's name; on arm64 the implementer and part, which is all that cpuinfo has.
fn cpu_model(cpuinfo: &str) -> String {
    let first = |key| cpuinfo.lines().find_map(|line| field(line, key));
    if let Some(model) = first("model name") {
        return model.to_owned();
    }
    match (first("CPU implementer"), first("CPU part")) {
        (Some(implementer), Some(part)) => format!("implementer {implementer} part {part}"),
        _ => "unknown".to_owned(),
    }
}

fn hypervisor(cpuinfo: &str) -> Option<String> {
    let flags = cpuinfo.lines().find_map(|line| field(line, "flags"))?;
    flags.split(' ').find(|flag| *flag == "hypervisor")?;
    known("/sys/hypervisor/type")
        .or_else(|| known("/sys/class/dmi/id/sys_vendor"))
        .or_else(|| Some("yes".to_owned()))
}

fn boot_parameters(command_line: &str) -> Vec<String> {
    const TELLING: &[&str] = &[
        "isolcpus",
        "nohz_full",
        "rcu_nocbs",
        "mitigations",
        "idle",
        "intel_idle.max_cstate",
        "processor.max_cstate",
        "nosmt",
        "default_hugepagesz",
        "transparent_hugepage",
    ];
    command_line
        .split_whitespace()
        .filter(|parameter| TELLING.contains(&parameter.split('=').next().unwrap_or_default()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_a_kernel_and_a_build() {
        let here = Fingerprint::of_this_machine("DPDK 1.2.3", 0);
        assert_ne!(here.cpu, "unknown");
        assert!(here.cores > 0);
        assert!(here.kernel.starts_with("Linux "), "{}", here.kernel);
        assert_eq!(here.dpdk, "DPDK 1.2.3");
        assert_eq!(here.build.len(), 16);
        assert_eq!(here.pinning["generator"], 0);
    }

    #[test]
    fn a_hash_is_the_beginning_of_the_sha_256() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn only_telling_boot_parameters_are_kept() {
        let line = "root=/dev/vda ro isolcpus=1-3 quiet nohz_full=1-3 mitigations=off\n";
        let wanted = ["isolcpus=1-3", "nohz_full=1-3", "mitigations=off"];
        assert_eq!(boot_parameters(line), wanted);
    }

    #[test]
    fn a_processor_without_a_model_name_is_told_by_its_part() {
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n";
        assert_eq!(cpu_model(arm), "implementer 0x41 part 0xd4f");
        assert_eq!(cpu_model(""), "unknown");
    }
}
