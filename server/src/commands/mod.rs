//! The commands of the binary, a file each: its options, and what it does.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod iam;
pub(crate) mod serve;
#[cfg(feature = "simulated")]
pub(crate) mod sim;
pub(crate) mod store;
