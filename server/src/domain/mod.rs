//! patchplane's own nouns: plain values that cannot be built wrong. Names no other room; AWS's nouns are in `patchplane-rules`.

pub mod baseline;
pub mod baseline_choice;
pub mod compliance;
pub mod control;
pub mod event;
pub mod freeze;
pub mod group_tags;
pub mod name;
pub mod operation;
pub mod outcome;
pub mod page;
pub mod patch_schedule;
pub mod plan;
pub mod preview;
pub mod readiness;
pub mod remedy;
pub mod request;
pub mod target;
