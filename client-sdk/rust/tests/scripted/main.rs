//! The client against a scripted peer: behaviour that a healthy broker never shows, such as lost
//! connections, refusals, silence and every close code.

mod backpressure;
mod buffering;
mod closing;
mod connecting;
mod draining;
mod falling_back;
mod keys;
mod newest;
mod patterns;
mod peer;
mod polling;
mod posting;
mod presence;
mod publishing;
mod queries;
mod reconnecting;
mod recovering;
mod repairing;
mod streaming;
mod subscribing;
mod tunneling;
mod web;
