//! The filters of the chain, a file each.

pub(crate) mod body;
pub(crate) mod destination;
pub(crate) mod fault;
pub(crate) mod hops;
pub(crate) mod lanes;
pub(crate) mod refusals;
pub(crate) mod routing;
