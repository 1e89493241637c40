//! The patchplane control plane: gRPC in front, AWS behind, a durable store beside.
//!
//! ```text
//! request -> grpc (who, parse) -> app (may they? what follows?) -> aws | operation -> store
//!                 └─────────────── domain (pure; names no room) ───────────────┘
//! ```

pub mod app;
pub mod auth;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod domain;
pub mod error;
mod grpc;
pub mod iam;
pub mod operation;
pub mod server;
pub mod store;
pub mod telemetry;

pub use error::{Error, Result};
