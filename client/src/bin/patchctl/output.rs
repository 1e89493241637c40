//! What goes to standard output: a table for people, or the API's messages in Protobuf's JSON mapping.

use crate::failure::{Exit, Failure};
use clap::ValueEnum;
use patchplane_client::{api::Unreachable, view::View};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use std::io::{self, Write as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Standard output in the format that was asked for.
pub(crate) struct Out {
    pub(crate) view: View,
    /// Set for JSON.
    descriptors: Option<DescriptorPool>,
}

impl Out {
    pub(crate) fn new(format: Format) -> Result<Self, Failure> {
        let descriptors = match format {
            Format::Table => None,
            Format::Json => Some(DescriptorPool::decode(patchplane_proto::FILE_DESCRIPTOR_SET).map_err(internal)?),
        };
        Ok(Self { view: View::for_stdout(), descriptors })
    }

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

    /// The message as JSON; none if tables were asked for.
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

    pub(crate) fn write_json(&self, value: &Value) -> Result<(), Failure> {
        self.write(&format!("{value:#}\n"))
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

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(format!("cannot write JSON: {error}"))
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
        let json = Out::new(Format::Json).unwrap().json("PatchOperationTarget", &target).unwrap().unwrap();
        assert_eq!(json["state"], "STATE_SUCCEEDED");
        assert_eq!(json["endTime"], "1970-01-01T00:00:00Z");
        assert_eq!(json["rebooted"], false);
        assert_eq!(json["steps"], serde_json::json!([]));
    }
}
