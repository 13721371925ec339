//! What an operator sees of a broker and may do to it: views of the admin port, and the
//! subcommands over them in processes of their own.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod disconnecting;
mod terminal;
mod top;
mod views;
