//! Plans: what a mutation does or would do, named by a fingerprint.

use aws_lc_rs::digest;

/// What a mutation does or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub notices: Vec<Notice>,
    pub target_count: usize,
}

/// One change of one field of one resource; empty texts mean "none".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub resource: String,
    pub action: ChangeAction,
    pub field: String,
    pub before: String,
    pub after: String,
    pub aws_operation: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeAction {
    Create,
    Update,
    Delete,
    Run,
    Skip,
}

/// Something worth knowing that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub code: &'static str,
    pub message: String,
}

impl From<patchplane_rules::Lint> for Notice {
    fn from(lint: patchplane_rules::Lint) -> Self {
        let patchplane_rules::Lint { code, message } = lint;
        Self { code, message }
    }
}

impl Plan {
    /// The same for equal plans, whatever the order in which AWS listed things; 32 hex digits.
    pub fn fingerprint(&self) -> String {
        let mut lines: Vec<String> = self
            .changes
            .iter()
            .map(|c| format!("{:?}\u{1f}{}\u{1f}{}\u{1f}{}\u{1f}{}", c.action, c.resource, c.field, c.before, c.after))
            .collect();
        lines.sort();
        hex(&lines.join("\u{1e}"))[..32].to_owned()
    }
}

/// SHA-256 in lower-case hex.
pub fn hex(text: &str) -> String {
    hex_bytes(text.as_bytes())
}

/// SHA-256 in lower-case hex.
pub fn hex_bytes(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(resource: &str, after: &str) -> Change {
        Change {
            resource: resource.into(),
            action: ChangeAction::Update,
            field: "tags".into(),
            before: String::new(),
            after: after.into(),
            aws_operation: "ec2:CreateTags",
        }
    }

    #[test]
    fn a_fingerprint_ignores_order_and_notices_but_no_change() {
        let one = Plan { changes: vec![change("a", "x"), change("b", "y")], ..Plan::default() };
        let mut other = Plan { changes: vec![change("b", "y"), change("a", "x")], ..Plan::default() };
        other.notices.push(Notice { code: "N", message: String::new() });
        assert_eq!(one.fingerprint(), other.fingerprint());
        other.changes[0].after = "z".into();
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
