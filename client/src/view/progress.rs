//! Progress of an operation while it is watched: a bar on a terminal, else a line for each change.

use super::{operations::counts, word};
use crate::{
    Followed,
    api::{PatchOperation, TargetCounts, patch_operation_target::State},
    has_ended,
};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::{OwoColorize as _, Stream::Stderr};
use std::{
    cmp::Ordering,
    io::{self, Write as _},
    time::Duration,
};

/// Characters of the bar.
const BAR: usize = 24;

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
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {pos}/{len}  {wide_msg} {elapsed}") {
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
            self.bar.set_prefix(coloured(&segments(&counts_of(followed))));
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
    let state = state(operation);
    let rebooting: Vec<&str> = followed
        .targets
        .values()
        .filter(|target| target.state() == State::Rebooting)
        .map(|target| target.instance_id.as_str())
        .collect();
    match (counts(operation), rebooting.as_slice()) {
        (none, _) if none.is_empty() => state,
        (counts, []) => format!("{state}: {counts}"),
        (counts, [one]) => format!("{state}: {counts} ({one} reboots)"),
        (counts, [first, rest @ ..]) => format!("{state}: {counts} ({first} and {} more reboot)", rest.len()),
    }
}

/// How far it is, and what it waits for: `RUNNING`, `RUNNING (PAUSED)`.
pub(super) fn state(operation: &PatchOperation) -> String {
    let state = word(operation.state().as_str_name(), "STATE_");
    match operation.state_reason.as_str() {
        reason if reason.is_empty() || has_ended(operation) => state.to_owned(),
        reason => format!("{state} ({reason})"),
    }
}

fn counts_of(followed: &Followed) -> TargetCounts {
    followed.operation.as_ref().and_then(|operation| operation.counts).unwrap_or_default()
}

/// Targets that have ended, and all of them.
fn done(followed: &Followed) -> (u64, u64) {
    let counts = counts_of(followed);
    let done = counts.succeeded + counts.failed + counts.timed_out + counts.cancelled + counts.skipped + counts.unknown;
    let open = counts.pending + counts.dispatched + counts.running + counts.rebooting + counts.verifying;
    (u64::try_from(done).unwrap_or(0), u64::try_from(done + open).unwrap_or(0).max(1))
}

/// The bar, a character for each share of the targets: `█` well, `x` not, `·` left out, `▒` under way, `░` to come. What
/// there is at all, is seen.
fn segments(counts: &TargetCounts) -> String {
    let parts = [
        ('█', counts.succeeded),
        ('x', counts.failed + counts.timed_out + counts.cancelled + counts.unknown),
        ('·', counts.skipped),
        ('▒', counts.dispatched + counts.running + counts.rebooting + counts.verifying),
        ('░', counts.pending),
    ];
    let all: i32 = parts.iter().map(|(_, number)| number).sum();
    if all == 0 {
        return "░".repeat(BAR);
    }
    let share = |number: i32| usize::try_from(number).unwrap_or(0) * BAR / usize::try_from(all).unwrap_or(1);
    let mut widths = parts.map(|(_, number)| if number > 0 { share(number).max(1) } else { 0 });
    // What rounding lost or gained falls to the widest.
    while let (used, Some(widest)) = (widths.iter().sum::<usize>(), widths.iter_mut().max()) {
        match used.cmp(&BAR) {
            Ordering::Less => *widest += 1,
            Ordering::Greater => *widest -= 1,
            Ordering::Equal => break,
        }
    }
    parts.iter().zip(widths).map(|((sign, _), width)| sign.to_string().repeat(width)).collect()
}

/// The same in colours, if standard error shows them.
fn coloured(bar: &str) -> String {
    let colour = |sign: char| {
        let text = sign.to_string();
        match sign {
            '█' => text.if_supports_color(Stderr, |text| text.green()).to_string(),
            'x' => text.if_supports_color(Stderr, |text| text.red()).to_string(),
            '▒' => text.if_supports_color(Stderr, |text| text.yellow()).to_string(),
            _ => text,
        }
    };
    bar.chars().map(colour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PatchOperationTarget, patch_operation};

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
        let paused = PatchOperation {
            state: patch_operation::State::Running.into(),
            state_reason: "PAUSED".to_owned(),
            counts: Some(TargetCounts { pending: 1, ..Default::default() }),
            ..Default::default()
        };
        let followed = Followed { operation: Some(paused), ..Default::default() };
        assert_eq!(progress_line(&followed), "RUNNING (PAUSED): 1 pending");
    }

    #[test]
    fn the_bar_is_always_as_wide_and_shows_even_one_failure_of_many() {
        let bar = |counts: TargetCounts| segments(&counts);
        assert_eq!(bar(TargetCounts::default()), "░".repeat(BAR));
        assert_eq!(bar(TargetCounts { succeeded: 3, ..Default::default() }), "█".repeat(BAR));
        let half = TargetCounts { succeeded: 1, running: 1, ..Default::default() };
        assert_eq!(bar(half), format!("{}{}", "█".repeat(BAR / 2), "▒".repeat(BAR / 2)));
        let many = TargetCounts { succeeded: 498, failed: 1, skipped: 1, pending: 1, ..Default::default() };
        assert_eq!(bar(many), format!("{}x·░", "█".repeat(BAR - 3)));
    }
}
