//! The tests on real servers: what a user runs, against what a user has.

mod support;

mod workload;
