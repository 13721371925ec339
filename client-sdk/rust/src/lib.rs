//! The async Rust client of the Fanfare pub/sub broker.
