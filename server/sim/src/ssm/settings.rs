//! Service settings, as far as patching looks at them (S 10.2, 11.5.1).

use super::{Answer, Call, epoch};
use crate::error::AwsError;
use jiff::Timestamp;
use serde_json::json;

impl Call<'_> {
    /// By path or ARN. `$None` for no default host management is unverified (S 10.2, line 4).
    pub(super) fn get_service_setting(&self) -> Answer {
        let id = self.text("SettingId");
        let path = id.split_once(":servicesetting").map_or(id, |(_, path)| path);
        let (value, default) = match path {
            "/ssm/managed-instance/default-ec2-instance-management-role" => {
                (self.place.host_management.as_deref(), "$None")
            }
            "/ssm/managed-instance/activation-tier" => (None, "standard"),
            _ => return Err(AwsError::new("ServiceSettingNotFound", format!("Setting not found: {id}"))),
        };
        let (account, region) = (&self.place.account, &self.place.region);
        let user = if value.is_some() { format!("arn:aws:iam::{account}:user/simulated") } else { "System".to_owned() };
        Ok(json!({ "ServiceSetting": {
            "SettingId": path,
            "SettingValue": value.unwrap_or(default),
            "LastModifiedDate": epoch(Timestamp::UNIX_EPOCH),
            "LastModifiedUser": user,
            "ARN": format!("arn:aws:ssm:{region}:{account}:servicesetting{path}"),
            "Status": if value.is_some() { "Customized" } else { "Default" },
        } }))
    }
}
