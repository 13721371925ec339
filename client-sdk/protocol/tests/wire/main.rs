//! The wire, byte for byte: golden vectors, what bad input gets, properties, and `SPEC.md` itself.

mod errors;
mod event_stream;
mod hostile;
mod properties;
mod spec;
mod topics;
mod values;
mod vectors;
