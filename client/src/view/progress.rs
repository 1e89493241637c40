//! Progress of an operation while it is watched: a bar on a terminal, else a line for each change.

use super::{operations::counts, word};
use crate::{
    Followed,
    api::{TargetCounts, patch_operation_target::State},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Shows an operation's progress on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// The last line written where there is no terminal.
    written: String,
}

// === impl Progress ===

impl Progress {
    /// A bar if standard error is a terminal, else lines.
    pub fn stderr() -> Self {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len}  {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, written: String::new() }
    }

    /// Whether a bar is shown, so that lines need not be.
    pub fn is_live(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows what is known now.
    pub fn show(&mut self, followed: &Followed) {
        let line = progress_line(followed);
        if self.is_live() {
            let (done, all) = done(followed);
            self.bar.set_length(all);
            self.bar.set_position(done);
            self.bar.set_message(line);
        } else if line != self.written {
            // A closed standard error is no reason to stop watching.
            let _ = writeln!(io::stderr(), "{line}");
            self.written = line;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The state, the targets by state, and which instances reboot: `RUNNING: 2 running, 1 rebooting (web-1), 3 succeeded`.
pub fn progress_line(followed: &Followed) -> String {
    let Some(operation) = &followed.operation else { return "waiting for the operation".to_owned() };
    let state = word(operation.state().as_str_name(), "STATE_");
    let rebooting: Vec<&str> = followed
        .targets
        .values()
        .filter(|target| target.state() == State::Rebooting)
        .map(|target| target.instance_id.as_str())
        .collect();
    match (counts(operation), rebooting.as_slice()) {
        (none, _) if none.is_empty() => state.to_owned(),
        (counts, []) => format!("{state}: {counts}"),
        (counts, [one]) => format!("{state}: {counts} ({one} reboots)"),
        (counts, [first, rest @ ..]) => format!("{state}: {counts} ({first} and {} more reboot)", rest.len()),
    }
}

/// Targets that have ended, and all of them.
fn done(followed: &Followed) -> (u64, u64) {
    let counts: TargetCounts = followed.operation.as_ref().and_then(|operation| operation.counts).unwrap_or_default();
    let done = counts.succeeded + counts.failed + counts.timed_out + counts.cancelled + counts.skipped + counts.unknown;
    let open = counts.pending + counts.dispatched + counts.running + counts.rebooting + counts.verifying;
    (u64::try_from(done).unwrap_or(0), u64::try_from(done + open).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PatchOperation, PatchOperationTarget, patch_operation};

    #[test]
    fn a_reboot_is_named() {
        let target = PatchOperationTarget {
            instance_id: "i-1".to_owned(),
            state: State::Rebooting.into(),
            ..Default::default()
        };
        let followed = Followed {
            operation: Some(PatchOperation {
                state: patch_operation::State::Running.into(),
                counts: Some(TargetCounts { rebooting: 1, succeeded: 2, ..Default::default() }),
                ..Default::default()
            }),
            targets: [(target.instance_id.clone(), target)].into(),
        };
        assert_eq!(progress_line(&followed), "RUNNING: 1 rebooting, 2 succeeded (i-1 reboots)");
        assert_eq!(done(&followed), (2, 3));
    }
}
