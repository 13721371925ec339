//! Fanfare: a pub/sub broker over WebSocket. This is the broker as a library; `main.rs` makes a
//! program of it.
//!
//! Owns all input and output: sockets, threads, HTTP, metrics and the command line. What a broker
//! does between bytes read and bytes written is in `fanfare-engine`.

mod admin;
mod admission;
pub mod cli;
mod clock;
pub mod config;
pub mod demo;
mod descriptors;
mod http;
mod logs;
mod memory;
mod net;
mod reload;
mod server;
mod shard;

pub use fanfare_engine::{
    Limits, LimitsError, MemoryBudget, NamespaceOptions, Namespaces, SlowConsumer,
};
pub use logs::{
    LogControl, LogControlError, LogFormat, LogLevel, LogLevelError, LogOptions, LogOutput,
};
pub use reload::{Change, ReloadError, Reloaded};
pub use server::{Publisher, Server, ServerConfig, StartError};
