//! Why a patch run failed on a node, told from its exit code and its words by one table ([`table`]), and what to do.
//!
//! The first row that matches decides. A row may ask for the step, for the exit code, and for words that stand together in
//! one line; each carries its source and a sample.

mod class;
mod table;

pub use class::{FailureClass, Retry};

/// The part of a patch document that ran, which also tells the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchStep {
    Linux,
    Windows,
    MacOs,
    /// A hook's document.
    Hook,
    Other,
}

/// What a failed run is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    pub class: FailureClass,
    /// The line of the output that tells it, at most 300 characters; empty when nothing was printed.
    pub evidence: String,
}

/// A line that is longer is cut.
const LONGEST_EVIDENCE: usize = 300;
/// How the agent ends the output of a script that failed (S 6.3.8).
const EXIT_STATUS: &str = "failed to run commands: exit status ";
/// Lines that Run Command puts between or after what the script printed (S 6.3.3, 6.3.7).
const MARKS: [&str; 4] =
    ["----------ERROR-------", "---Output truncated---", "---Error truncated----", "--output truncated--"];

/// Finds out why a step failed. `exit_code` is -1 where AWS does not know it (S 6.3.5): then the agent's words tell it.
/// Where both streams are one text, as ListCommandInvocations gives them, it goes into `stdout`.
pub fn classify(step: PatchStep, exit_code: i32, stdout: &str, stderr: &str) -> Classified {
    let lines = || stderr.lines().rev().chain(stdout.lines().rev()).map(str::trim).filter(|line| is_said(line));
    let exit_code = if exit_code > 0 { exit_code } else { lines().find_map(exit_status).unwrap_or(exit_code) };
    let found = table::ROWS.iter().find_map(|row| Some((row, row.evidence(step, exit_code, lines())?)));
    let (class, evidence) = match found {
        Some((row, evidence)) => (row.class, evidence),
        None => (FailureClass::Unclassified, last_words(lines())),
    };
    Classified { class, evidence: evidence.chars().take(LONGEST_EVIDENCE).collect() }
}

// === impl PatchStep ===

impl PatchStep {
    /// By the step's name in the document (S 7.1.3). That the steps of AWS-RunPatchBaselineWithHooks which run hooks have
    /// `Hook` in their names, as its parameters do (S 7.3.1), is unverified.
    pub fn named(name: &str) -> Self {
        match name {
            "PatchLinux" => Self::Linux,
            "PatchWindows" => Self::Windows,
            "PatchMacOS" => Self::MacOs,
            _ if name.contains("Hook") => Self::Hook,
            _ => Self::Other,
        }
    }
}

// === Reading output ===

fn is_said(line: &str) -> bool {
    !line.is_empty() && !MARKS.contains(&line)
}

/// The code that the agent's last words name, `0xffffffff` of Windows not counted.
fn exit_status(line: &str) -> Option<i32> {
    let (_, code) = line.rsplit_once(EXIT_STATUS)?;
    code.trim().parse().ok()
}

/// The last line that says more than the exit status; else that; else nothing. Takes the lines from the last to the first.
fn last_words<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> &'a str {
    lines.clone().find(|line| !line.starts_with(EXIT_STATUS)).or_else(|| lines.clone().next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{table::ROWS, *};

    /// Which row of the table decides.
    fn row(step: PatchStep, exit_code: i32, text: &str) -> Option<usize> {
        let lines = || text.lines().rev().map(str::trim).filter(|line| is_said(line));
        ROWS.iter().position(|row| row.evidence(step, exit_code, lines()).is_some())
    }

    #[test]
    fn each_rows_sample_is_told_by_that_row_and_by_no_earlier_one() {
        for (at, expected) in ROWS.iter().enumerate() {
            let (step, exit_code, text) = expected.sample;
            let found = row(step, exit_code, text);
            assert_eq!(found, Some(at), "{:?} by {}: {text}", expected.class, expected.source);
            let told = classify(step, exit_code, text, "");
            assert_eq!(told.class, expected.class);
            assert!(text.contains(&told.evidence) && !told.evidence.is_empty(), "{told:?}");
            assert_eq!(told, classify(step, exit_code, "", text), "both streams are read alike");
        }
    }

    #[test]
    fn each_row_has_a_source_and_asks_for_something() {
        for row in ROWS {
            assert!(!row.source.is_empty(), "{:?}", row.class);
            assert!(
                !row.codes.is_empty() || !row.words.is_empty() || row.steps == [PatchStep::Hook],
                "{:?}",
                row.class
            );
            assert_eq!(row.words.iter().map(|word| word.to_lowercase()).collect::<Vec<_>>(), row.words, "lower case");
        }
    }

    #[test]
    fn each_class_that_output_can_tell_has_a_row() {
        for class in FailureClass::ALL {
            let told = ROWS.iter().any(|row| row.class == *class);
            assert_eq!(told, class.is_told_by_output(), "{class:?}");
        }
    }

    #[test]
    fn a_failure_nobody_knows_keeps_the_last_line_that_says_anything() {
        // S 6.3.8 for the agent's own last line; S 6.3.7 for the marks.
        for (text, evidence) in [
            ("one\ntwo\nfailed to run commands: exit status 1", "two"),
            ("one\n\n----------ERROR-------\n\nfailed to run commands: exit status 1\n---Error truncated----", "one"),
            ("failed to run commands: exit status 1", "failed to run commands: exit status 1"),
            ("", ""),
        ] {
            let told = classify(PatchStep::Linux, 1, text, "");
            assert_eq!((told.class, told.evidence.as_str()), (FailureClass::Unclassified, evidence));
        }
        let long = "x".repeat(1000);
        assert_eq!(classify(PatchStep::Linux, 1, &long, "").evidence.len(), LONGEST_EVIDENCE);
    }

    #[test]
    fn an_exit_code_that_aws_does_not_know_is_read_from_the_agents_words() {
        let words = "something\nfailed to run commands: exit status 146";
        assert_eq!(classify(PatchStep::Linux, -1, words, "").class, FailureClass::UnsupportedOs);
        // The one that AWS knows counts: words may be of a command within the script.
        assert_eq!(classify(PatchStep::Linux, 1, words, "").class, FailureClass::Unclassified);
    }

    #[test]
    fn codes_of_the_linux_payload_mean_nothing_on_windows() {
        // S 7.1.9 against 7.1.10.
        assert_eq!(classify(PatchStep::Linux, 156, "", "").class, FailureClass::PayloadDownloadFailed);
        assert_eq!(classify(PatchStep::MacOs, 156, "", "").class, FailureClass::PayloadDownloadFailed);
        assert_eq!(classify(PatchStep::Windows, 156, "", "").class, FailureClass::Unclassified);
    }

    #[test]
    fn a_wait_for_the_lock_is_not_the_reason_where_the_output_names_another() {
        // The payload goes on when it gets the lock (S 7.1.11): what it says later is the reason.
        let text = "another process has acquired yum lock, waiting 2 s and retry.\n[Errno 256] No more mirrors to try.";
        assert_eq!(classify(PatchStep::Linux, 1, text, "").class, FailureClass::NoSource);
    }
}
