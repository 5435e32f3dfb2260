//! The terminal client, by keys alone.
