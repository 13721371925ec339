//! The client against a scripted peer: behaviour that a healthy broker never shows, such as lost
//! connections, refusals, silence and every close code.

mod backpressure;
mod buffering;
mod closing;
mod connecting;
mod draining;
mod keys;
mod newest;
mod patterns;
mod peer;
mod presence;
mod publishing;
mod queries;
mod reconnecting;
mod recovering;
mod repairing;
mod subscribing;
