//! What patchplane asks of AWS: one account in one Region behind plain values. The only crate that names the AWS SDK.
//!
//! Values of `patchplane-rules` and of this crate go in and out. Of the SDK, only the three injection points of
//! [`Clock`] and [`Access`] are seen outside. Facts are cited as `S 6.1.4`, a line of the project's reference on AWS
//! semantics (section, number).

mod access;
mod ask;
mod associations;
mod available_patches;
mod baseline_changes;
mod baselines;
mod calls;
mod clock;
mod commands;
mod compliance;
mod connect;
mod dispatch;
mod error;
pub mod iam;
mod instances;
mod network;
mod page;
mod patch_groups;
mod patch_states;
mod probe;
mod reboot;
mod tags;
mod values;
mod window_executions;
mod windows;

pub use access::{Access, Credentials};
pub use ask::{deadline, within};
pub use associations::AssociationRun;
pub use available_patches::{DeploymentStatus, EffectivePatch};
pub use calls::{Call, Effect, calls};
pub use clock::Clock;
pub use commands::{CommandRecord, Invocation, InvocationStatus, PATCH_DOCUMENTS, StepOutput, StepResult};
pub use compliance::PatchItem;
pub use connect::Aws;
pub use dispatch::{Action, PatchCommand, SendFailure, SentCommand};
pub use error::{Error, ErrorKind, Result};
pub use instances::{NodeFilter, VmFilter};
pub use page::{Page, PageOf};
pub use patch_groups::{GroupMapping, GroupState};
pub use probe::{Identity, Seen};
pub use window_executions::ForeseenRun;
pub use windows::TaskChange;

pub use aws_smithy_async::{rt::sleep::SharedAsyncSleep, time::SharedTimeSource};
pub use aws_smithy_runtime_api::client::http::SharedHttpClient;
