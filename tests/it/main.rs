//! The tests on real servers: what a user runs, against what a user has.

mod support;

mod connections;
mod flood;
mod malformed;
mod outages;
mod remote_write;
mod surface;
mod workload;
