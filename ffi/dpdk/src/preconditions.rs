//! What must hold before EAL starts or a device is opened, checked first because DPDK's own messages
//! about it help nobody.

use std::fs;
use std::path::Path;

use crate::device::PciAddress;
use crate::error::{EalError, PortError};

/// Where the kernel lists its hugepage pools, one directory per page size.
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Kernel drivers that leave a PCI device to user space, or (Mellanox, Microsoft) share it.
const USER_SPACE_DRIVERS: [&str; 6] = [
    "vfio-pci",
    "uio_pci_generic",
    "igb_uio",
    "mlx4_core",
    "mlx5_core",
    "uio_hv_generic",
];

/// Hugepages of all sizes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Hugepages {
    free_kib: u64,
    /// Pages of the smallest size, and that size: what a shortage is mended with.
    small_total: u64,
    small_kib: u64,
}

/// That `memory_mib` MiB of hugepages are free. Nothing needs to be mounted: `--in-memory` takes
/// anonymous ones.
pub(crate) fn hugepages_free(memory_mib: u32) -> Result<(), EalError> {
    enough(read_hugepages(Path::new(HUGEPAGES)), u64::from(memory_mib))
}

fn enough(pages: Hugepages, needed_mib: u64) -> Result<(), EalError> {
    if pages.small_kib == 0 {
        return Err(EalError::NoHugepageSupport);
    }
    let missing_kib = (needed_mib * 1024).saturating_sub(pages.free_kib);
    if missing_kib == 0 {
        return Ok(());
    }
    Err(EalError::Hugepages {
        needed_mib,
        free_mib: pages.free_kib / 1024,
        page_kib: pages.small_kib,
        reserve: pages.small_total + missing_kib.div_ceil(pages.small_kib),
    })
}

/// What cannot be read counts as absent.
fn read_hugepages(root: &Path) -> Hugepages {
    let mut pages = Hugepages::default();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size = name
            .to_str()
            .and_then(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB"));
        let Some(kib) = size.and_then(|size| size.parse::<u64>().ok()) else {
            continue;
        };
        let count = |file: &str| -> u64 {
            fs::read_to_string(entry.path().join(file))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0)
        };
        pages.free_kib += count("free_hugepages") * kib;
        if pages.small_kib == 0 || kib < pages.small_kib {
            pages.small_kib = kib;
            pages.small_total = count("nr_hugepages");
        }
    }
    pages
}

/// That the PCI device exists and is bound to a driver DPDK can use.
pub(crate) fn pci_usable(address: PciAddress) -> Result<(), PortError> {
    let device = Path::new("/sys/bus/pci/devices").join(address.to_string());
    if !device.exists() {
        return Err(PortError::PciMissing(address));
    }
    let driver = fs::read_link(device.join("driver"))
        .ok()
        .and_then(|link| Some(link.file_name()?.to_str()?.to_owned()))
        .unwrap_or_else(|| "none".to_owned());
    if USER_SPACE_DRIVERS.contains(&driver.as_str()) {
        return Ok(());
    }
    Err(PortError::PciDriver { address, driver })
}

/// That a network interface of this name exists in the process's network namespace.
pub(crate) fn interface_exists(interface: &str) -> Result<(), PortError> {
    let missing = || PortError::InterfaceMissing(interface.to_owned());
    let name = std::ffi::CString::new(interface).map_err(|_| missing())?;
    // SAFETY: `name` is a C string for the duration of the call.
    if unsafe { libc::if_nametoindex(name.as_ptr()) } == 0 {
        Err(missing())
    } else {
        Ok(())
    }
}

/// Whether the process runs as root, which is what a refusal is most often about.
pub(crate) fn is_root() -> bool {
    // SAFETY: has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_hugepages_names_the_count_that_mends_it() {
        let pages = Hugepages {
            free_kib: 20 * 2048,
            small_total: 32,
            small_kib: 2048,
        };
        assert!(enough(pages, 40).is_ok());
        let error = enough(pages, 64).unwrap_err().to_string();
        assert!(error.contains("64 MiB"), "{error}");
        assert!(error.contains("40 MiB"), "{error}");
        assert!(error.contains("echo 44 > "), "{error}");
    }

    #[test]
    fn a_kernel_without_hugepages_is_said_so() {
        let pages = read_hugepages(Path::new("/nonexistent"));
        assert!(matches!(enough(pages, 1), Err(EalError::NoHugepageSupport)));
    }

    #[test]
    fn missing_interfaces_and_pci_devices_are_named() {
        let error = interface_exists("sluice-none0").unwrap_err().to_string();
        assert!(
            error.contains("sluice-none0") && error.contains("ip link"),
            "{error}"
        );
        assert!(interface_exists("lo").is_ok());
        let error = pci_usable("ffff:ff:1f.7".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("ffff:ff:1f.7"), "{error}");
    }
}
