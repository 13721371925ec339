//! Delivery that can be trusted, on real sockets: what slow, returning and selective readers get,
//! and that nobody else notices them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

#[path = "../support/mod.rs"]
mod support;

mod admin_view;
mod fast_publishers;
mod heads;
mod history;
mod patterns;
mod presence;
mod rates;
mod returning;
mod slow_readers;
mod stopping;
