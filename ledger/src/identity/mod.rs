//! Identity: keys from an email and a password.
