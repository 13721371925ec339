//! The client against a scripted peer: behaviour that a healthy broker never shows, such as lost
//! connections, refusals, silence and every close code.

mod backpressure;
mod closing;
mod connecting;
mod peer;
mod publishing;
mod reconnecting;
mod recovering;
mod subscribing;
