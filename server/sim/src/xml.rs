//! Writes the answers of the Query services. EC2's element names are the model's `locationName`s (S 2.5–2.8); STS wraps
//! a result and names its members as they are.

use crate::{
    error::AwsError,
    model::{EC2, Member, Model, STS},
};
use quick_xml::escape::escape;
use serde_json::Value;

/// `answer` holds API member names; a void operation answers `<return>true</return>`.
pub(crate) fn ec2_answer(operation: &str, request_id: &str, answer: &Value) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{request_id}</requestId>"
    );
    match EC2.operations.get(operation).and_then(|o| o.output.as_ref()) {
        Some(output) => write(&EC2, &mut xml, output, answer),
        None => xml.push_str("<return>true</return>"),
    }
    xml.push_str(&format!("</{operation}Response>"));
    xml
}

pub(crate) fn ec2_error(request_id: &str, error: &AwsError) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message>\
         </Error></Errors><RequestID>{request_id}</RequestID></Response>",
        error.code,
        escape(&error.message)
    )
}

const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(crate) fn sts_answer(operation: &str, request_id: &str, answer: &Value) -> String {
    let mut result = String::new();
    if let Some(output) = STS.operations.get(operation).and_then(|o| o.output.as_ref()) {
        write(&STS, &mut result, output, answer);
    }
    format!(
        "<{operation}Response xmlns=\"{STS_NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

pub(crate) fn sts_error(request_id: &str, error: &AwsError) -> String {
    let fault = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{STS_NAMESPACE}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        error.code,
        escape(&error.message)
    )
}

fn write(model: &Model, xml: &mut String, member: &Member, value: &Value) {
    let Some(shape) = model.shape(member) else { return };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                if let Some(member) = shape.members.get(name) {
                    let element = member.element(name);
                    xml.push_str(&format!("<{element}>"));
                    write(model, xml, member, value);
                    xml.push_str(&format!("</{element}>"));
                }
            }
        }
        Value::Array(items) => {
            if let Some(member) = &shape.member {
                let element = member.element("item");
                for item in items {
                    xml.push_str(&format!("<{element}>"));
                    write(model, xml, member, item);
                    xml.push_str(&format!("</{element}>"));
                }
            }
        }
        Value::String(text) => xml.push_str(&escape(text)),
        other => xml.push_str(&other.to_string()),
    }
}
