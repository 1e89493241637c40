//! Changes that want consent: the plan is shown, and what was shown is done, nothing else.

use crate::{
    Context,
    args::{Change, Consent},
    failure::Failure,
};
use patchplane_client::{Error, api::Plan, view::in_commands};
use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
};
use tokio::sync::oneshot;

/// What a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

impl Context {
    /// Says on standard error what a plan's notices say, for commands that do not show the plan.
    pub(crate) fn note(&self, plan: Option<&Plan>) {
        for notice in plan.into_iter().flat_map(|plan| &plan.notices) {
            // News besides the answer: a closed standard error takes nothing from it.
            let _ = writeln!(io::stderr(), "note: {} [{}]", in_commands(&notice.message), notice.code);
        }
    }

    /// Does a change that wants consent. `call` sends the request with this frame, `plan` takes the plan out of the
    /// answer, and `question` ends in a question mark.
    ///
    /// On a terminal the plan is shown and the user asked; what was shown is done, and if the plan is another by then, it
    /// is shown again. With `--yes` nothing is asked; with `--validate-only` the answer is the plan's alone.
    pub(crate) async fn with_consent<R, F>(
        &self,
        consent: Consent,
        call: impl Fn(Change) -> F,
        plan: impl Fn(&R) -> Option<&Plan>,
        question: impl Fn(&R) -> String,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<R, Error>>,
    {
        let Consent { change, yes } = consent;
        if change.validate_only || yes {
            return Ok(call(change).await?);
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage {
                what: "this wants your consent, and standard input is no terminal to ask on".to_owned(),
                next: "look with --validate-only, then add --yes".to_owned(),
            });
        }
        loop {
            let preview = call(Change { validate_only: true, ..change.clone() }).await?;
            let seen = plan(&preview).cloned().unwrap_or_default();
            write!(io::stderr(), "{}", self.out.view.plan(&seen))?;
            if ask(&question(&preview)).await? == Answer::No {
                return Err(Failure::Declined);
            }
            match call(Change { expected_plan: seen.fingerprint, ..change.clone() }).await {
                Err(error) if error.reason() == Some("PLAN_CHANGED") && change.expected_plan.is_empty() => {
                    writeln!(io::stderr(), "\nThe plan has changed meanwhile. It is now:")?;
                }
                done => return Ok(done?),
            }
        }
    }
}

/// Asks on the terminal; anything but yes is no. Ctrl-C is no, too.
async fn ask(question: &str) -> Result<Answer, Failure> {
    Ok(line(&format!("{question} [y/N] ")).await?.map_or(Answer::No, |line| understood(&line)))
}

/// A line from the terminal after this prompt; none at its end or after Ctrl-C.
pub(crate) async fn line(prompt: &str) -> Result<Option<String>, Failure> {
    let mut stderr = io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    // A thread of its own: the runtime would wait at its end for a read that nobody answers.
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let _ = tell.send(read.map(|length| (length > 0).then_some(line)));
    });
    tokio::select! {
        line = told => Ok(line.ok().transpose()?.flatten()),
        _ = tokio::signal::ctrl_c() => {
            writeln!(stderr)?;
            Ok(None)
        }
    }
}

fn understood(line: &str) -> Answer {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (line, answer) in [
            ("y\n", Answer::Yes),
            ("Yes\n", Answer::Yes),
            ("\n", Answer::No),
            ("", Answer::No),
            ("n\n", Answer::No),
            ("yess\n", Answer::No),
        ] {
            assert_eq!(understood(line), answer, "{line:?}");
        }
    }
}
