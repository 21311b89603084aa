//! What is asked, and what must come back: requests of a file or of the command line, encoded once.

pub(crate) mod http1;
mod spec;
pub(crate) mod ttheader;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::rng::Rng;
use sluice_wire::http1::RequestKind;

pub use self::spec::{Common, LARGEST_BODY, PlanError, Protocol, RequestFile, RequestSpec};
use super::message::Message;
use super::pattern::Pattern;

/// Requests ready to be sent.
#[derive(Debug, Clone)]
pub struct Plan {
    protocol: Protocol,
    requests: Box<[Planned]>,
    /// Sums of the weights up to each request.
    sums: Box<[u64]>,
    pub(crate) pattern: Arc<Pattern>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) message: Message,
    /// What the answer's framing depends on; of HTTP.
    pub(crate) kind: RequestKind,
    /// The method, which the answer repeats; of TTHeader.
    pub(crate) method: Box<[u8]>,
    /// There will be no answer.
    pub(crate) oneway: bool,
    /// `None`: any below 400.
    pub(crate) status: Option<u16>,
    /// `None`: any.
    pub(crate) length: Option<u64>,
    /// Where in the pattern the answer's body begins; `None` where it is not ours.
    pub(crate) phase: Option<u32>,
    pub(crate) think: Duration,
}

impl Plan {
    /// Encodes requests.
    ///
    /// # Errors
    /// The first request that cannot be sent.
    pub fn new(file: &RequestFile, common: &Common) -> Result<Plan, PlanError> {
        if file.requests.is_empty() {
            return Err(PlanError::Empty);
        }
        let pattern = Arc::new(Pattern::default());
        let shared = http1::shared_paths(file);
        let numbered = file.requests.iter().zip(1..);
        let requests = numbered
            .clone()
            .map(|(spec, number)| planned(spec, number, common, &shared, &pattern))
            .collect::<Result<Box<[_]>, _>>()?;
        let mut sum = 0u64;
        let sums = numbered
            .map(|(spec, _)| {
                sum = sum.saturating_add(spec.weight);
                sum
            })
            .collect();
        Ok(Plan {
            protocol: common.protocol,
            requests,
            sums,
            pattern,
        })
    }

    /// Draws a request.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        let [.., total] = &*self.sums else { return 0 };
        if self.sums.len() == 1 {
            return 0;
        }
        let point = rng.below(*total);
        self.sums.partition_point(|sum| *sum <= point) as u32
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&Planned> {
        self.requests.get(number as usize)
    }

    /// What is spoken.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How many different requests there are.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of a request with its head, by weight.
    pub(crate) fn mean_bytes(&self) -> u64 {
        let total = self.sums.last().copied().unwrap_or(0).max(1);
        let mut before = 0;
        let bytes: u128 = self
            .requests
            .iter()
            .zip(&self.sums)
            .map(|(request, sum)| {
                let weight = sum - std::mem::replace(&mut before, *sum);
                u128::from(weight) * u128::from(request.message.len())
            })
            .sum();
        (bytes / u128::from(total)) as u64
    }
}

fn planned(
    spec: &RequestSpec,
    number: usize,
    common: &Common,
    shared: &HashSet<&str>,
    pattern: &Pattern,
) -> Result<Planned, PlanError> {
    if spec.weight == 0 {
        return Err(PlanError::NoWeight(number));
    }
    if spec.body.is_some() && spec.text.is_some() {
        return Err(PlanError::TwoBodies(number));
    }
    let sizes = [spec.body, spec.response];
    if sizes.iter().flatten().any(|size| size.0 > LARGEST_BODY) {
        return Err(PlanError::TooLarge { number });
    }
    if spec.echo && (spec.response.is_some() || spec.text.is_some()) {
        return Err(PlanError::TwoAnswers(number));
    }
    if spec.echo && spec.body.is_none() {
        return Err(PlanError::NoEcho(number));
    }
    match common.protocol {
        Protocol::Http1 => http1::planned(spec, number, common, shared, pattern),
        Protocol::TtHeader(encoding) => ttheader::planned(spec, number, common, encoding, pattern),
    }
}

#[cfg(test)]
mod tests;
