//! The terminal client: a client of the local API and nothing else.
//!
//! [`app::App`] holds all that is known and decides; [`view::draw`] shows it; [`runtime`] acts. Only the runtime and what
//! it uses ([`connect`], [`terminal`]) know a clock, a terminal, a process or a socket.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
pub mod app;
pub mod connect;
pub mod form;
mod format;
pub mod message;
mod perform;
mod process;
pub mod runtime;
pub mod terminal;
pub mod theme;
pub mod view;
mod words;
