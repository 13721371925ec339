//! Fanfare broker.
