//! `loadgen`: puts load on a Fanfare broker and tells what a delivery costs.

mod accepted;
mod audience;
mod changes;
mod charts;
mod cli;
mod compare;
mod connect;
mod counts;
mod drain;
mod environment;
mod exhaust;
mod fanout;
mod feed;
mod floor;
mod frame;
mod handshake;
mod idle;
mod latency;
mod memory;
mod metrics;
mod opening;
mod openings;
mod plan;
mod progress;
mod publisher;
mod receiver;
mod receivers;
mod record;
mod replay;
mod replies;
mod report;
mod report_page;
mod resume;
mod rounds;
mod scraping;
mod server;
mod session;
mod slow;
mod stamp;
mod storm;
mod table;
mod under_test;
mod window;
mod worker;

/// One receiver thread allocates little, but a worker's connections all at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
