//! `sluice capture`: the frames of a running gateway as a pcapng file. The gateway makes the file; here
//! it is passed on block by block, and counted.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write, stdout};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::RangedU64ValueParser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::client::{self, ClientError};
use crate::log;

/// How often it is looked whether somebody pressed Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much longer than asked for a capture may take to come to its end.
const GRACE: Duration = Duration::from_secs(10);

/// A block of a capture is never longer: a frame, and what is said about it.
const LONGEST_BLOCK: usize = 128 * 1024;

/// What to capture, and where to write it.
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    /// The gateway's admin address.
    #[arg(long, value_name = "ADDRESS", default_value = client::DEFAULT)]
    admin: SocketAddr,
    /// Only this port of the rules.
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// Only frames from or to this address.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Only TCP segments from or to this port number.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    tcp_port: Option<u16>,
    /// Only frames that go this way.
    #[arg(long)]
    direction: Option<Direction>,
    /// Frames at most.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000_000))]
    packets: u64,
    /// Seconds at most.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    seconds: u64,
    /// Bytes of the file at most.
    #[arg(long, value_name = "N", default_value_t = 64 << 20, value_parser = RangedU64ValueParser::<u64>::new().range(4096..=4 << 30))]
    bytes: u64,
    /// Bytes of each frame at most.
    #[arg(long, value_name = "N", default_value_t = 65_535, value_parser = RangedU64ValueParser::<u64>::new().range(64..=65_535))]
    snaplen: u64,
    /// The file to write, or - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Direction {
    /// Received by the gateway.
    In,
    /// Sent by it.
    Out,
}

/// Why a capture failed.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "standard output is a terminal, and a capture is no text: say --write FILE, or pipe it \
         (sluice capture | wireshark -k -i -)"
    )]
    Terminal,
    #[error("{}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("signals cannot be handled: {0}")]
    Signals(io::Error),
    #[error("the gateway broke off ({0}); what was written is good up to there")]
    BrokenOff(io::Error),
}

/// Captures to the end.
pub(crate) fn command(args: &CaptureArgs) -> ExitCode {
    match capture(args) {
        Ok(counts) => {
            let place = if args.write == Path::new("-") {
                "to standard output".into()
            } else {
                format!("to {}", args.write.display())
            };
            log::info(format_args!("{counts}, written {place}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

fn capture(args: &CaptureArgs) -> Result<Counts, CaptureError> {
    let to_stdout = args.write == Path::new("-");
    if to_stdout && stdout().is_terminal() {
        return Err(CaptureError::Terminal);
    }
    let stop = watch_signals().map_err(CaptureError::Signals)?;
    // The gateway is asked before a file is made or emptied.
    let body = client::ask(args.admin, "GET", &path(args))?;
    let write_error = |error| CaptureError::Write {
        path: args.write.clone(),
        error,
    };
    let output: Box<dyn Write> = if to_stdout {
        Box::new(stdout().lock())
    } else {
        Box::new(File::create(&args.write).map_err(write_error)?)
    };
    let input = Patient::new(body, args, stop).map_err(CaptureError::BrokenOff)?;
    pass_on(BufReader::new(input), BufWriter::new(output), write_error)
}

/// The question to the gateway.
fn path(args: &CaptureArgs) -> String {
    let CaptureArgs {
        packets,
        seconds,
        bytes,
        snaplen,
        ..
    } = args;
    let mut path =
        format!("/capture?packets={packets}&seconds={seconds}&bytes={bytes}&snaplen={snaplen}");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={value}"));
        }
    };
    add("port", args.port.clone());
    add("host", args.host.map(|host| host.to_string()));
    add("tcp-port", args.tcp_port.map(|port| port.to_string()));
    let direction = |direction| match direction {
        Direction::In => "in".to_owned(),
        Direction::Out => "out".to_owned(),
    };
    add("direction", args.direction.map(direction));
    path
}

/// A flag that Ctrl-C and SIGTERM put up; a second one ends the process at once.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// The gateway's answer, read for as long as the capture takes. On Ctrl-C the gateway is asked to bring
/// the file to its end.
struct Patient {
    body: client::Body,
    admin: SocketAddr,
    stop: Arc<AtomicBool>,
    stopped: bool,
    give_up: Instant,
}

impl Patient {
    fn new(body: client::Body, args: &CaptureArgs, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let connection: &TcpStream = body.get_ref();
        connection.set_read_timeout(Some(LOOK_EVERY))?;
        Ok(Patient {
            body,
            admin: args.admin,
            stop,
            stopped: false,
            give_up: Instant::now() + Duration::from_secs(args.seconds) + GRACE,
        })
    }

    fn look(&mut self) {
        if !self.stopped && self.stop.load(Ordering::Relaxed) {
            self.stopped = true;
            self.give_up = self.give_up.min(Instant::now() + GRACE);
            // Fails where the capture has just ended by itself.
            let _ = client::ask(self.admin, "DELETE", "/capture");
        }
    }
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.look();
            match self.body.read(into) {
                Err(error) if is_pause(&error) && Instant::now() < self.give_up => {}
                result => return result,
            }
        }
    }
}

/// Nothing came for a while, or a signal did.
fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// What became of the frames that were chosen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    written: u64,
    lost: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { written, lost } = self;
        write!(
            f,
            "{written} frames captured, {lost} lost because they came too fast"
        )
    }
}

/// Copies a capture, and says what its blocks say.
fn pass_on(
    mut input: BufReader<impl Read>,
    mut output: impl Write,
    write_error: impl Fn(io::Error) -> CaptureError,
) -> Result<Counts, CaptureError> {
    const INTERFACE_STATISTICS: u32 = 5;
    const ENHANCED_PACKET: u32 = 6;
    let (mut counts, mut complete) = (Counts::default(), false);
    let mut block = Vec::new();
    while read_block(&mut input, &mut block).map_err(CaptureError::BrokenOff)? {
        output.write_all(&block).map_err(&write_error)?;
        match word(&block, 0) {
            ENHANCED_PACKET => counts.written += 1,
            INTERFACE_STATISTICS => {
                complete = true;
                counts.lost += lost(&block);
            }
            _ => {}
        }
        // Whoever follows the file sees what there is so far.
        if input.buffer().is_empty() {
            output.flush().map_err(&write_error)?;
        }
    }
    output.flush().map_err(&write_error)?;
    if complete {
        Ok(counts)
    } else {
        let early = io::ErrorKind::UnexpectedEof;
        Err(CaptureError::BrokenOff(early.into()))
    }
}

/// Reads the next block whole; false at the end of the file.
fn read_block(input: &mut impl Read, block: &mut Vec<u8>) -> io::Result<bool> {
    block.resize(8, 0);
    match input.read(&mut block[..1])? {
        0 => return Ok(false),
        _ => input.read_exact(&mut block[1..])?,
    }
    let length = word(block, 4) as usize;
    if !(12..=LONGEST_BLOCK).contains(&length) {
        let what = format!("a block of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    block.resize(length, 0);
    input.read_exact(&mut block[8..])?;
    Ok(true)
}

/// The frames that an interface statistics block counts as lost (`isb_ifdrop`).
fn lost(block: &[u8]) -> u64 {
    const IF_DROP: u32 = 5;
    let mut at = 20;
    while at + 12 < block.len() {
        let header = word(block, at);
        let (code, length) = (header & 0xffff, (header >> 16) as usize);
        if code == IF_DROP {
            return u64::from(word(block, at + 8)) << 32 | u64::from(word(block, at + 4));
        }
        at += 4 + length.next_multiple_of(4);
    }
    0
}

/// A number of a block; 0 behind its end.
fn word(block: &[u8], at: usize) -> u32 {
    let bytes = block.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
