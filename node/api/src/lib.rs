//! exchange-api
