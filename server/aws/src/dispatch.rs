//! Sending a patch command: once, and knowing afterwards what is known.

use crate::{
    Aws, Error, ErrorKind,
    calls::{LIST_COMMANDS, SEND_COMMAND},
    commands::DOCUMENT,
    error::{self, is_connection_refused},
    reboot, values,
};
use aws_sdk_ssm::{config, operation::send_command::SendCommandError};
use aws_smithy_async::time::{SharedTimeSource, StaticTimeSource};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef},
        orchestrator::HttpResponse,
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{config_bag::ConfigBag, retry::RetryConfig, timeout::TimeoutConfig};
use jiff::Timestamp;
use patchplane_rules::InstanceId;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How long one send may take in all; no answer by then means that the outcome is unknown.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// One command for a batch of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchCommand {
    /// 1 to 50.
    pub instance_ids: Vec<InstanceId>,
    pub action: Action,
    /// A UUID: the baseline's content is frozen under it for three days (S 7.1.2). A reboot carries it as a mark.
    pub snapshot_id: String,
    /// At most 100 characters (S 6.1.11): the marker by which the command is found again.
    pub comment: String,
    /// For how long AWS tries to deliver it, in seconds: 30 to 2,592,000 (S 6.1.11).
    pub timeout_s: u32,
    /// The time the request is signed with, whenever it leaves: AWS refuses old signatures (S 1.5).
    pub signed_at: Timestamp,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// AWS-RunPatchBaseline.
    Patch {
        /// `Scan` or `Install`.
        operation: &'static str,
        /// `RebootIfNeeded` or `NoReboot`; unset, AWS takes the former.
        reboot_option: Option<&'static str>,
    },
    /// A script that reboots each node once; all of them run Windows, or none.
    Reboot { windows: bool },
}

/// A command that AWS accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCommand {
    pub command_id: String,
    pub requested: Option<Timestamp>,
    /// When what is still running is given up by AWS (S 6.1.17, 6.1.18).
    pub expires_after: Option<Timestamp>,
}

/// Why there is no command, or why nobody knows whether there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// There is none: AWS said so (a 4xx with its request id), or nothing ever left.
    #[error("refused: {0}")]
    Refused(Error),
    /// There may be one: no answer, a server's failure, or an answer that cannot be read.
    #[error("outcome unknown: {0}")]
    Unknown(Error),
}

impl SendFailure {
    pub fn error(&self) -> &Error {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}

impl Aws {
    /// Sends it in one attempt of 20 s. SendCommand has no idempotency token (S 3.1.8), so nothing below repeats it:
    /// no retry of the SDK, and the HTTP client repeats only what it never began to write.
    pub async fn send_patch_command(&self, command: &PatchCommand) -> Result<SentCommand, SendFailure> {
        let PatchCommand { instance_ids, action, snapshot_id, comment, timeout_s, signed_at } = command;
        let ids = instance_ids.iter().map(|id| id.as_str().to_owned()).collect();
        let timeout_s = i32::try_from(*timeout_s)
            .map_err(|_| SendFailure::Refused(SEND_COMMAND.refuse("timeout_s is more than AWS takes")))?;
        let mut request = self
            .ssm()
            .send_command()
            .set_instance_ids(Some(ids))
            .comment(comment)
            .timeout_seconds(timeout_s)
            // All at once, and one node's failure stops no other: thresholds are between batches, and ours.
            .max_concurrency(instance_ids.len().to_string())
            .max_errors("100%");
        match action {
            Action::Patch { operation, reboot_option } => {
                request = request.document_name(DOCUMENT).parameters("Operation", vec![(*operation).to_owned()]);
                request = request.parameters("SnapshotId", vec![snapshot_id.clone()]);
                if let Some(option) = reboot_option {
                    request = request.parameters("RebootOption", vec![(*option).to_owned()]);
                }
            }
            Action::Reboot { windows } => {
                request = request.document_name(reboot::document(*windows));
                for (name, values) in reboot::parameters(*windows, snapshot_id, comment) {
                    request = request.parameters(name, values);
                }
            }
        }
        let left = Arc::new(AtomicBool::new(false));
        let request =
            request.customize().config_override(once(*signed_at)).interceptor(Departure { left: Arc::clone(&left) });
        let answer = async {
            let answer = Box::pin(request.send()).await;
            answer.map_err(|failure| verdict(&failure, left.load(Ordering::SeqCst)))
        };
        let answer = self.observe(&SEND_COMMAND, answer, SendFailure::error).await?;
        let sent = answer.command().and_then(|command| {
            Some(SentCommand {
                command_id: command.command_id().filter(|id| !id.is_empty())?.to_owned(),
                requested: values::timestamp(command.requested_date_time()),
                expires_after: values::timestamp(command.expires_after()),
            })
        });
        sent.ok_or_else(|| SendFailure::Unknown(nameless()))
    }
}

/// The call's own configuration: one attempt, signed at a fixed time. Its timeout runs on the client's clock.
fn once(signed_at: Timestamp) -> config::Builder {
    let timeout = TimeoutConfig::builder().operation_timeout(SEND_TIMEOUT).operation_attempt_timeout(SEND_TIMEOUT);
    config::Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeout.build())
        .time_source(SharedTimeSource::new(StaticTimeSource::new(SystemTime::from(signed_at))))
        .disable_clock_skew_correction(true)
}

fn verdict(failure: &SdkError<SendCommandError, HttpResponse>, left: bool) -> SendFailure {
    let error = error::of_sdk(&SEND_COMMAND, failure);
    let status = failure.raw_response().map(|response| response.status().as_u16());
    let refused = match status {
        Some(status) => (400..500).contains(&status) && error.request_id.is_some(),
        None => !left || is_connection_refused(failure),
    };
    if refused { SendFailure::Refused(error) } else { SendFailure::Unknown(error) }
}

fn nameless() -> Error {
    let message = format!("the answer names no command; {} may find it", LIST_COMMANDS.operation);
    Error { kind: ErrorKind::Unreachable, action: SEND_COMMAND.action, code: None, message, request_id: None }
}

/// Remembers that the request was handed to the HTTP client: up to then no byte can have left.
#[derive(Debug)]
struct Departure {
    left: Arc<AtomicBool>,
}

impl Intercept for Departure {
    fn name(&self) -> &'static str {
        "Departure"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.left.store(true, Ordering::SeqCst);
        Ok(())
    }
}
