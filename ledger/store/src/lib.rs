//! exchange-store
