//! The sans-IO core of Fanfare.
