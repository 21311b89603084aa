//! Numbers that nobody can guess, from the kernel.

use std::fs::File;
use std::io::{self, Read};

use sluice_stack::Secrets;

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
