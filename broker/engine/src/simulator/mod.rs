//! sim
pub(crate) mod random;
pub(crate) mod wire;
