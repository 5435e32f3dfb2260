//! Sealing messages to one recipient.
