//! exchange-tui
