//! patchplane for other teams' services: one connection, calls that retry safely, lists as streams, and operations
//! followed to their end.
//!
//! ```no_run
//! use futures::TryStreamExt as _;
//! use patchplane_client::{Client, Listed, Location, api};
//!
//! # async fn run() -> patchplane_client::Result<()> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//! let location: Location = "accounts/111122223333/regions/us-east-1".parse()?;
//!
//! // Lists are streams; a location that cannot be asked is an entry, not silence.
//! let request = api::ListInstancesRequest { parent: Location::all().into(), ..Default::default() };
//! let mut instances = client.list_instances(request);
//! while let Some(entry) = instances.try_next().await? {
//!     match entry {
//!         Listed::Item(instance) => println!("{} {}", instance.instance_id, instance.display_name),
//!         Listed::Unreachable(gap) => eprintln!("{} is missing: {}", gap.location, gap.message),
//!     }
//! }
//!
//! // A scan of a patch group. The request id is set before the first attempt, so a retry never starts a second scan.
//! let scan = api::PatchOperation {
//!     kind: api::patch_operation::Kind::Scan.into(),
//!     targets: Some(api::TargetSelection { patch_groups: vec!["web".to_owned()], ..Default::default() }),
//!     ..Default::default()
//! };
//! let created = client
//!     .create_patch_operation(api::CreatePatchOperationRequest {
//!         parent: location.to_string(),
//!         patch_operation: Some(scan),
//!         ..Default::default()
//!     })
//!     .await?;
//! let operation = client.wait(created.patch_operation.unwrap_or_default().name).await?;
//! println!("{}: {}", operation.state().as_str_name(), operation.explanation);
//! # Ok(())
//! # }
//! ```
//!
//! Errors say what to do next and carry the server's details:
//!
//! ```
//! use patchplane_client::Error;
//! use tonic::{Code, Status};
//! use tonic_types::{ErrorDetails, StatusExt as _};
//!
//! let details = ErrorDetails::with_bad_request_violation("patch_operation.reboot_option", "must be set for INSTALL");
//! let error: Error = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details).into();
//! assert_eq!(error.field_violations()[0].field, "patch_operation.reboot_option");
//! assert_eq!(error.advice(), "correct the request");
//! ```

mod client;
mod error;
mod follow;
mod list;
pub mod name;
mod retry;
#[cfg(feature = "cli")]
pub mod view;

pub use client::{Builder, Client};
pub use error::{Error, Result};
pub use follow::{Followed, has_ended};
pub use list::{Listed, Listing};
pub use name::Location;
pub use patchplane_proto::v1 as api;
pub use retry::Retry;
