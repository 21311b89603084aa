//! Numbers that nobody can guess, from the kernel.

use std::fs::File;
use std::io::{self, Read};

use dpdk::RSS_KEY_MAX;
use sluice_stack::Secrets;

/// A key for the hash by which flows are spread over workers, new at every call: nobody outside can aim
/// connections at one worker.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn steering_key() -> io::Result<[u8; RSS_KEY_MAX]> {
    let mut key = [0; RSS_KEY_MAX];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Secrets for a stack, new at every call.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn secrets() -> io::Result<Secrets> {
    let mut bytes = [0; 40];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().copied().map(u64::from_ne_bytes);
    let mut word = || words.next().unwrap_or_default();
    Ok(Secrets {
        isn: (word(), word()),
        tables: (word(), word()),
        ports: word(),
    })
}
