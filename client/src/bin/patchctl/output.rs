//! What goes to standard output: a table for people, or the API's messages in Protobuf's JSON mapping, as JSON or YAML.

use crate::failure::{Exit, Failure};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use patchplane_client::{api::Unreachable, view::View};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write as _};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// The API's messages in Protobuf's JSON mapping.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Decides for standard output and standard error.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => {}
            Self::Always => owo_colors::set_override(true),
            Self::Never => owo_colors::set_override(false),
        }
    }
}

/// Standard output in the format that was asked for.
pub(crate) struct Out {
    pub(crate) view: View,
    format: Format,
    /// Set for JSON and YAML.
    descriptors: Option<DescriptorPool>,
    /// The zone that was given on this command line, for commands that can do with it.
    pub(crate) tz: Option<String>,
}

impl Out {
    /// Times in tables are shown in this zone.
    pub(crate) fn new(format: Format, zone: TimeZone) -> Result<Self, Failure> {
        let descriptors = match format {
            Format::Table => None,
            Format::Json | Format::Yaml => {
                Some(DescriptorPool::decode(patchplane_proto::FILE_DESCRIPTOR_SET).map_err(internal)?)
            }
        };
        Ok(Self { view: View::for_stdout().in_zone(zone), format, descriptors, tz: None })
    }

    pub(crate) fn told_in(self, tz: Option<String>) -> Self {
        Self { tz, ..self }
    }

    /// Whether messages are asked for and not tables: JSON, or YAML.
    pub(crate) fn is_json(&self) -> bool {
        self.descriptors.is_some()
    }

    /// Writes `message`, of the type `patchplane.v1.{kind}`, or the text that stands for it.
    pub(crate) fn show<M: Message>(
        &self,
        kind: &str,
        message: &M,
        text: impl FnOnce(&View) -> String,
    ) -> Result<(), Failure> {
        match self.json(kind, message)? {
            Some(value) => self.write_json(&value),
            None => self.write(&text(&self.view)),
        }
    }

    /// The message in Protobuf's JSON mapping; none if tables were asked for.
    pub(crate) fn json<M: Message>(&self, kind: &str, message: &M) -> Result<Option<Value>, Failure> {
        let Some(descriptors) = &self.descriptors else { return Ok(None) };
        let kind = format!("patchplane.v1.{kind}");
        let descriptor =
            descriptors.get_message_by_name(&kind).ok_or_else(|| internal(format!("no message {kind}")))?;
        let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(internal)?;
        // Scripts find every field, also when it has its default value.
        let options = SerializeOptions::new().skip_default_fields(false);
        let value = message.serialize_with_options(serde_json::value::Serializer, &options).map_err(internal)?;
        Ok(Some(value))
    }

    /// Writes one document, as JSON or YAML.
    pub(crate) fn write_json(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.write(&yaml(value)?),
            Format::Table | Format::Json => self.write(&format!("{value:#}\n")),
        }
    }

    /// Writes one of many documents: JSON on a line of its own, YAML after a separator.
    pub(crate) fn write_line(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.write(&format!("---\n{}", yaml(value)?)),
            Format::Table | Format::Json => self.write(&format!("{value}\n")),
        }
    }

    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// Says on standard error which locations a list lacks; the command ends accordingly.
    pub(crate) fn warn(&self, unreachable: &[Unreachable]) -> Exit {
        if unreachable.is_empty() {
            return Exit::Well;
        }
        // The list itself was written: a closed standard error takes nothing from it.
        let _ = io::stderr().write_all(self.view.unreachable(unreachable).as_bytes());
        Exit::Incomplete
    }
}

fn yaml(value: &Value) -> Result<String, Failure> {
    let mut text = serde_saphyr::to_string(value).map_err(internal)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(format!("cannot write the answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchplane_client::api;

    #[test]
    fn json_follows_protobuf_s_mapping_and_leaves_no_field_out() {
        let target = api::PatchOperationTarget {
            name: "t".to_owned(),
            state: api::patch_operation_target::State::Succeeded.into(),
            end_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let json =
            Out::new(Format::Json, TimeZone::UTC).unwrap().json("PatchOperationTarget", &target).unwrap().unwrap();
        assert_eq!(json["state"], "STATE_SUCCEEDED");
        assert_eq!(json["endTime"], "1970-01-01T00:00:00Z");
        assert_eq!(json["rebooted"], false);
        assert_eq!(json["steps"], serde_json::json!([]));
    }

    #[test]
    fn yaml_keeps_what_json_says_and_quotes_what_would_be_read_as_something_else() {
        let value = serde_json::json!({
            "name": "accounts/111122223333/regions/us-east-1", "account": "111122223333", "state": "no", "steps": [],
            "note": "two\nlines", "counts": { "failed": 0 }, "ids": ["i-1", "~"], "end": null, "time": "03:00", "empty": "",
        });
        let text = yaml(&value).unwrap();
        assert!(text.starts_with("name: accounts/111122223333/regions/us-east-1\n"), "{text}");
        for (key, quoted) in [("account", "111122223333"), ("state", "no"), ("empty", "")] {
            let forms = [format!("{key}: \"{quoted}\"\n"), format!("{key}: '{quoted}'\n")];
            assert!(forms.iter().any(|form| text.contains(form)), "{key} must be quoted:\n{text}");
        }
        assert!(text.contains("counts:\n  failed: 0\n") && text.contains("steps: []\n"), "{text}");
    }
}
