//! What a device says about the way in which it spreads flows over its queues.

use dpdk_sys as ffi;

use crate::port::{RSS_KEY_MAX, Rss};

/// Places of the table in each group that it is asked for by.
const GROUP: usize = 64;

/// The longest table, as the ethdev interface has it (`RTE_ETH_RSS_RETA_SIZE_512`).
const TABLE_MAX: u16 = 512;

/// Bytes of the key where a device says nothing of it, as everybody assumes (net_null does so).
const KEY_LEN: usize = 40;

/// Key and table of a started port; `None` where it does not tell, or hashes by more or less than
/// addresses and TCP ports.
pub(crate) fn read(id: u16) -> Option<Rss> {
    let mut info = ffi::rte_eth_dev_info::default();
    // SAFETY: the port exists, and `info` lives for the call.
    if unsafe { ffi::rte_eth_dev_info_get(id, &mut info) } != 0 {
        return None;
    }
    Some(Rss {
        key: key(id, info.hash_key_size)?,
        table: table(id, info.reta_size)?,
    })
}

fn key(id: u16, len: u8) -> Option<Vec<u8>> {
    let len = match len {
        0 => KEY_LEN,
        len => usize::from(len),
    };
    let mut key = [0; RSS_KEY_MAX];
    key.get(..len)?;
    let mut conf = ffi::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: len as u8,
        ..Default::default()
    };
    // SAFETY: the port is started; `conf` and the bytes it points to live for the call, more than the
    // longest key there is.
    if unsafe { ffi::rte_eth_dev_rss_hash_conf_get(id, &mut conf) } != 0
        || conf.rss_hf & ffi::SLUICE_RSS_TCP == 0
    {
        return None;
    }
    key.get(..len).map(<[u8]>::to_vec)
}

fn table(id: u16, size: u16) -> Option<Vec<u16>> {
    if !size.is_power_of_two() || size > TABLE_MAX {
        return None;
    }
    let groups = usize::from(size).div_ceil(GROUP);
    let mut table = vec![ffi::rte_eth_rss_reta_entry64::default(); groups];
    for group in &mut table {
        group.mask = u64::MAX;
    }
    // SAFETY: the port is started, and there is room for `size` places in groups of 64.
    if unsafe { ffi::rte_eth_dev_rss_reta_query(id, table.as_mut_ptr(), size) } != 0 {
        return None;
    }
    let places = table.iter().flat_map(|group| group.reta);
    Some(places.take(usize::from(size)).collect())
}
