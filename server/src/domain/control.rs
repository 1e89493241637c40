//! What callers ask of an operation that is under way: the engine reads it and never writes it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All that callers ask of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    #[serde(default)]
    pub cancel: Option<Cancel>,
    #[serde(default)]
    pub pause: Option<Pause>,
    /// When a new snapshot of the baselines was asked for.
    #[serde(default)]
    pub renew_snapshot: Option<Timestamp>,
}

/// Nothing more is to be started; there is no way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub mode: CancelMode,
    pub at: Timestamp,
    /// Who asked, as a principal.
    pub by: String,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelMode {
    /// What runs on instances may finish.
    StopNew,
    /// What runs on instances is cancelled, too.
    InterruptRunning,
}

/// Nothing more is to be started until somebody resumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub at: Timestamp,
    /// Who asked, as a principal.
    pub by: String,
    /// A stable code, or empty.
    pub reason: String,
    pub note: String,
}

impl CancelMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StopNew => "STOP_NEW",
            Self::InterruptRunning => "INTERRUPT_RUNNING",
        }
    }
}

impl Cancel {
    /// The sentence for people.
    pub fn explanation(&self) -> String {
        format!("{} has cancelled it{}", self.by, said(&self.note))
    }
}

impl Pause {
    /// The sentence for people.
    pub fn explanation(&self) -> String {
        format!("{} has paused it{}", self.by, said(&self.note))
    }
}

fn said(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(": {note}") }
}
