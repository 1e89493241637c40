//! The public API models: what a request must look like. Read once from the copies in this crate.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

/// The models that the simulated account speaks.
pub(crate) static SSM: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../aws/ssm-patch.json")));
pub(crate) static EC2: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../aws/ec2-patch.json")));
pub(crate) static STS: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../aws/sts-patch.json")));

#[derive(Default, Deserialize)]
pub(crate) struct Model {
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    pub(crate) input: Option<Member>,
    pub(crate) output: Option<Member>,
    #[serde(default)]
    pub(crate) errors: Vec<String>,
}

#[derive(Default, Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    #[serde(default)]
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) member: Option<Member>,
    pub(crate) value: Option<Member>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) pattern: Option<String>,
    #[serde(default, rename = "enum")]
    pub(crate) values: Vec<String>,
}

/// A reference to a shape: its name, or an object with wire names.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Member {
    Plain(String),
    #[serde(rename_all = "camelCase")]
    Traits {
        shape: String,
        location_name: Option<String>,
        query_name: Option<String>,
    },
}

// === impl Model ===

impl Model {
    /// The models are part of this crate; a test reads both, so that a broken one cannot go unseen.
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(crate) fn shape(&self, member: &Member) -> Option<&Shape> {
        self.shapes.get(member.shape())
    }

    /// Whether the model gives an operation this error.
    pub(crate) fn models_error(&self, operation: &str, code: &str) -> bool {
        self.operations.get(operation).is_some_and(|o| o.errors.iter().any(|e| e == code))
    }

    /// Whether an error's shape has a member for a message (S 1.14).
    pub(crate) fn error_has_message(&self, code: &str) -> bool {
        self.shapes.get(code).is_none_or(|shape| !shape.members.is_empty())
    }
}

impl Member {
    pub(crate) fn shape(&self) -> &str {
        match self {
            Self::Plain(shape) | Self::Traits { shape, .. } => shape,
        }
    }

    /// The element's name in an EC2 answer (S 2.5).
    pub(crate) fn element<'a>(&'a self, name: &'a str) -> &'a str {
        match self {
            Self::Traits { location_name: Some(location), .. } => location,
            _ => name,
        }
    }

    /// The parameter's name in an EC2 request (S 2.2).
    pub(crate) fn parameter(&self, name: &str) -> String {
        match self {
            Self::Traits { query_name: Some(query), .. } => query.clone(),
            Self::Traits { location_name: Some(location), .. } => {
                let (first, rest) = location.split_at(location.chars().next().map_or(0, char::len_utf8));
                format!("{}{rest}", first.to_uppercase())
            }
            _ => name.to_owned(),
        }
    }
}

// === patterns ===

/// Whether the whole text matches a pattern of the model. Patterns are Java's: `\w` and `\d` mean ASCII. One that this
/// engine cannot express (look-ahead, back-references) admits everything.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<BTreeMap<String, Option<regex::Regex>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| {
        let ascii = pattern.replace(r"\w", "[0-9A-Za-z_]").replace(r"\d", "[0-9]").replace(r"\s", r"[ \t\r\n]");
        regex::Regex::new(&format!("^(?:{ascii})$")).ok()
    });
    regex.as_ref().is_none_or(|regex| regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_models_are_read() {
        assert_eq!(SSM.operations.len(), 80);
        assert_eq!(EC2.operations.len(), 25);
        assert_eq!(STS.operations.len(), 2);
    }

    #[test]
    fn patterns_bind_the_whole_text() {
        for (pattern, text, expected) in [
            (r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)", "i-0123456789abcdef0", true),
            (r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)", "i-0123", false),
            (r"([$]LATEST|[$]DEFAULT|^[1-9][0-9]*$)", "$LATEST", true),
            (r"([$]LATEST|[$]DEFAULT|^[1-9][0-9]*$)", "$LATESTX", false),
            (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "größe 1", true),
            (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "a,b", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{text}");
        }
    }

    #[test]
    fn every_pattern_of_the_simulated_requests_can_be_expressed() {
        let shapes =
            ["BaselineId", "PatchGroup", "InstanceId", "DocumentARN", "MaxConcurrency", "MaxErrors", "TargetKey"];
        for shape in shapes {
            let pattern = SSM.shapes[shape].pattern.as_ref().unwrap();
            assert!(!matches_pattern(pattern, "\u{0}"), "{shape}: {pattern}");
        }
    }
}
