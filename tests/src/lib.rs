//! exchange-tests
