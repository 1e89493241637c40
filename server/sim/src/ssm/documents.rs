//! Documents by description and content (S 7).

use super::{Answer, Call, epoch};
use crate::{
    dice::Dice,
    documents::{self, Document, Parameter},
    error::AwsError,
};
use serde_json::{Value, json};

/// When AWS's documents were made, here.
const CREATED: &str = "2024-01-01T00:00:00Z";

impl Call<'_> {
    /// Its hash is as opaque as AWS's: another content, another hash.
    pub(super) fn describe_document(&self) -> Answer {
        let document = self.document()?;
        let parameter = |parameter: &Parameter| {
            let mut json = json!({ "Name": parameter.name, "Type": parameter.kind });
            if let Some(default) = parameter.default {
                json["DefaultValue"] = default.into();
            }
            json
        };
        let mut description = json!({
            "Name": document.name,
            "Owner": "Amazon",
            "CreatedDate": created(),
            "Status": "Active",
            "DocumentVersion": "1",
            "LatestVersion": "1",
            "DefaultVersion": "1",
            "Description": document.description,
            "PlatformTypes": document.platforms,
            "DocumentType": document.kind,
            "DocumentFormat": "JSON",
            "SchemaVersion": document.schema,
            "Hash": Dice::new(0, &["document", &document.content().to_string()]).hex(64),
            "HashType": "Sha256",
            "Tags": [],
        });
        if !document.parameters.is_empty() {
            description["Parameters"] = document.parameters.iter().map(parameter).collect();
        }
        Ok(json!({ "Document": description }))
    }

    pub(super) fn get_document(&self) -> Answer {
        let document = self.document()?;
        let content = document.content();
        let format = self.request["DocumentFormat"].as_str().unwrap_or("JSON");
        // JSON is YAML.
        let content = if format == "TEXT" { content.to_string() } else { format!("{content:#}") };
        Ok(json!({
            "Name": document.name,
            "CreatedDate": created(),
            "DocumentVersion": "1",
            "Status": "Active",
            "Content": content,
            "DocumentType": document.kind,
            "DocumentFormat": format,
        }))
    }

    fn document(&self) -> Result<&'static Document, AwsError> {
        let name = self.text("Name");
        let text = format!("Document with name {name} does not exist.");
        let document = documents::find(name).ok_or_else(|| AwsError::new("InvalidDocument", text))?;
        if !Document::has_version(self.text("DocumentVersion")) || !self.text("VersionName").is_empty() {
            return Err(AwsError::new("InvalidDocumentVersion", "The document version is not valid."));
        }
        Ok(document)
    }
}

fn created() -> Value {
    CREATED.parse().map_or(Value::Null, epoch)
}
