//! Small pieces that the contract of the framework exposes.

pub mod finished_signal;
pub mod runtime;
