//! How the command ends: exit codes, and two lines for what went wrong.

use owo_colors::{OwoColorize as _, Stream::Stderr};
use patchplane_client::{
    Error,
    api::{PatchOperation, patch_operation::State},
    has_ended,
    view::in_commands,
};
use std::{
    io::{self, Write as _},
    process::ExitCode,
};
use tonic::Code;

/// How a command ends that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Well,
    /// The operation ended other than SUCCEEDED, an instance is not ready, or one was refused.
    NotWell,
    /// A list lacks a location.
    Incomplete,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something impossible.
    Usage { what: String, next: String },
    /// The call did not succeed.
    Call(Error),
    /// The answer could not be written.
    Output(io::Error),
    /// Stopped by the user while operations went on; `again` is the command to look again.
    Interrupted { again: String },
    /// The user was asked and did not say yes.
    Declined,
    /// A defect of this program or of the server.
    Internal(String),
}

impl Exit {
    pub(crate) fn of(operation: &PatchOperation) -> Self {
        match operation.state() {
            State::Succeeded => Self::Well,
            _ if has_ended(operation) => Self::NotWell,
            _ => Self::Well,
        }
    }

    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Well => 0,
            Self::NotWell => 1,
            Self::Incomplete => 4,
        })
    }
}

impl Failure {
    /// Says on standard error what happened and what to do next.
    pub(crate) fn tell(&self) -> ExitCode {
        let (what, next) = match self {
            // Whoever reads us has had enough: no news.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Output(error) => (format!("cannot write the answer: {error}"), String::new()),
            Self::Usage { what, next } => (what.clone(), next.clone()),
            Self::Call(error) => (what_happened(error), what_next(error)),
            Self::Interrupted { again } => {
                ("no longer watching; what was started goes on".to_owned(), format!("look again with `{again}`"))
            }
            Self::Declined => ("nothing was done".to_owned(), String::new()),
            Self::Internal(what) => (what.clone(), "report it with the command that you ran".to_owned()),
        };
        // Nothing can be told if standard error is closed.
        let mut stderr = io::stderr();
        let word = match self {
            Self::Interrupted { .. } | Self::Declined => {
                "stopped:".if_supports_color(Stderr, |text| text.yellow()).to_string()
            }
            _ => "error:".if_supports_color(Stderr, |text| text.red()).to_string(),
        };
        let _ = writeln!(stderr, "{word} {what}");
        if !next.is_empty() {
            let _ = writeln!(stderr, "{}  {next}", "next:".if_supports_color(Stderr, |text| text.green()));
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Declined => 1,
            Self::Interrupted { .. } => 130,
            Self::Output(_) | Self::Internal(_) => 5,
            Self::Call(error) => match error.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => 4,
                Code::Internal | Code::Unknown | Code::DataLoss => 5,
                _ => 3,
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn what_happened(error: &Error) -> String {
    let text = error.to_string();
    // The advice has a line of its own.
    in_commands(text.strip_suffix(&format!("; {}", error.advice())).unwrap_or(&text))
}

/// What to type next, where this program has something to offer, else the library's advice.
fn what_next(error: &Error) -> String {
    let offer = match error.reason() {
        Some("BASELINE_NOT_FOUND") => "`patchctl baselines` lists those there are",
        Some("INSTANCE_NOT_FOUND") => "`patchctl instances` lists those there are",
        Some("PATCH_GROUP_NOT_FOUND") => "`patchctl groups` lists those there are; `patchctl groups add` makes one",
        Some("PATCH_OPERATION_NOT_FOUND") => "`patchctl operations` lists those there are",
        Some("LOCATION_NOT_CONFIGURED") => {
            "`patchctl instances --account - --region -` shows every location configured"
        }
        Some("OTHER_BASELINE_ATTACHED") => "add --replace to take the other baseline off first",
        Some("NO_TARGETS") if error.message().contains("NOT_RUNNING") => return start(error.message()),
        Some("NO_TARGETS") if error.message().contains("near misses") => {
            "name the group as its tag does; `patchctl groups findings` lists tags that AWS does not read, each with the \
             command that mends it"
        }
        Some("NO_TARGETS") => "`patchctl instances` shows groups; `patchctl readiness ID` says what is in the way",
        Some("PATCH_SCHEDULE_NOT_FOUND") => "`patchctl schedules` lists those there are",
        Some("MAINTENANCE_WINDOW_NOT_FOUND") => "`patchctl windows` lists those there are",
        Some("SCHEDULE_DIVERGED") => {
            "`patchctl windows get ID` shows what it does; --allow-diverged deletes it all the same"
        }
        Some("OPERATION_ENDED") => "`patchctl retry OPERATION` tries what did not succeed again",
        Some("OPERATION_NOT_ENDED") => {
            "`patchctl operations watch OPERATION` follows it to its end; `patchctl cancel OPERATION` stops it"
        }
        Some("OPERATION_CANCELLED") => "begin a new one, or `patchctl retry OPERATION` once it has ended",
        Some("OPERATION_READ_ONLY") => {
            "stop it where it was started; a schedule of yours with `patchctl schedules pause SCHEDULE`"
        }
        Some("NOTHING_TO_RETRY") => {
            "`patchctl operations targets OPERATION` shows what became of each; --include-unknown takes in those of which nobody \
             knows"
        }
        Some("FREEZE_NOT_FOUND") => "`patchctl freezes` lists those there are",
        Some("NO_RUN_TO_SKIP") => "`patchctl schedules get ID` shows what is left",
        Some("ETAG_MISMATCH") => "somebody has changed it meanwhile: look again, then decide again",
        Some("TOO_MANY_TARGETS") => "select fewer with --group, --tag or --exclude",
        Some("PLAN_CHANGED") => "look again with --validate-only, and give its new fingerprint as --expected-plan",
        Some("REQUEST_ID_REUSED") => "leave --request-id out, or give a new UUID: this one belongs to another change",
        Some("OUTPUT_NOT_READY") => "try again when the step has ended: `patchctl operations targets` shows its state",
        None if error.code() == Code::Unavailable => {
            "start one with `patchplane serve --simulated`, or name another with --server or PATCHPLANE_SERVER"
        }
        _ if error.field_violations().iter().any(|violation| violation.field.ends_with("time_zone")) => {
            match error.message().split_once("did you mean ").map(|(_, zone)| zone.trim_end_matches('?')) {
                Some(zone) => return format!("say --zone {zone}, if that is meant"),
                None => "say whose clocks are meant, such as --zone Asia/Tokyo; if UTC is, say --zone UTC",
            }
        }
        _ => return error.advice(),
    };
    offer.to_owned()
}

/// How to start the instances that a message names.
fn start(message: &str) -> String {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let ids: Vec<&str> = words.filter(|word| word.starts_with("i-")).collect();
    let ids = ids.join(" ");
    format!(
        "start what is stopped: `aws ec2 start-instances --instance-ids {ids}`; when `patchctl readiness {ids}` finds nothing \
         in the way, run this again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    #[test]
    fn an_error_is_told_in_two_lines_and_an_exit_code() {
        let details = ErrorDetails::with_error_info("BASELINE_NOT_FOUND", "patchplane.v1", HashMap::new());
        let error: Error = Status::with_error_details(Code::NotFound, "no baseline pb-1 here", details).into();
        assert_eq!(what_happened(&error), "no baseline pb-1 here [NotFound BASELINE_NOT_FOUND]");
        assert_eq!(what_next(&error), "`patchctl baselines` lists those there are");
        assert_eq!(Failure::Call(error).code(), 3);
    }

    #[test]
    fn exit_codes_follow_the_kind_of_failure() {
        let cases = [
            (Code::InvalidArgument, 3),
            (Code::FailedPrecondition, 3),
            (Code::PermissionDenied, 3),
            (Code::Unavailable, 4),
            (Code::DeadlineExceeded, 4),
            (Code::Internal, 5),
            (Code::Unknown, 5),
        ];
        for (code, exit) in cases {
            assert_eq!(Failure::Call(Status::new(code, "x").into()).code(), exit, "{code:?}");
        }
    }
}
