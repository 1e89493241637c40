//! Service settings, as far as patching looks at them (S 10.2, 11.5.1).

use super::{Answer, Call, epoch};
use crate::error::AwsError;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Paths and their values by default. `$None` for no default host management is unverified (S 10.2, line 4).
const SETTINGS: [(&str, &str); 8] = [
    (HOST_MANAGEMENT, "$None"),
    ("/ssm/managed-instance/activation-tier", "standard"),
    ("/ssm/automation/customer-script-log-destination", "$None"),
    ("/ssm/automation/customer-script-log-group-name", "/aws/ssm/automation/customer-script"),
    ("/ssm/documents/console/public-sharing-permission", "Enable"),
    ("/ssm/parameter-store/default-parameter-tier", "Standard"),
    ("/ssm/parameter-store/high-throughput-enabled", "false"),
    ("/ssm/opsinsights/opscenter", "Disabled"),
];
const HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

impl Call<'_> {
    /// By path or ARN.
    pub(super) fn get_service_setting(&self) -> Answer {
        let (path, default) = self.setting()?;
        Ok(json!({ "ServiceSetting": self.setting_json(path, default) }))
    }

    pub(super) fn update_service_setting(&mut self) -> Answer {
        let (path, _) = self.setting()?;
        let value = self.text("SettingValue").to_owned();
        if path == HOST_MANAGEMENT {
            self.place.host_management = Some(value.clone()).filter(|value| value != "$None");
        }
        self.place.settings.insert(path.to_owned(), (value, self.now));
        Ok(json!({}))
    }

    pub(super) fn reset_service_setting(&mut self) -> Answer {
        let (path, default) = self.setting()?;
        self.place.settings.remove(path);
        if path == HOST_MANAGEMENT {
            self.place.host_management = None;
        }
        Ok(json!({ "ServiceSetting": self.setting_json(path, default) }))
    }

    fn setting(&self) -> Result<(&'static str, &'static str), AwsError> {
        let id = self.text("SettingId");
        let path = id.split_once(":servicesetting").map_or(id, |(_, path)| path);
        let known = SETTINGS.into_iter().find(|(known, _)| *known == path);
        known.ok_or_else(|| AwsError::new("ServiceSettingNotFound", format!("Setting not found: {id}")))
    }

    fn setting_json(&self, path: &str, default: &str) -> Value {
        let (account, region) = (&self.place.account, &self.place.region);
        let told = self.place.host_management.clone().filter(|_| path == HOST_MANAGEMENT);
        let told = told.map(|role| (role, Timestamp::UNIX_EPOCH));
        let changed = self.place.settings.get(path).cloned().or(told);
        let user = format!("arn:aws:iam::{account}:user/simulated");
        json!({
            "SettingId": path,
            "SettingValue": changed.as_ref().map_or(default, |(value, _)| value),
            "LastModifiedDate": epoch(changed.as_ref().map_or(Timestamp::UNIX_EPOCH, |(_, at)| *at)),
            "LastModifiedUser": if changed.is_some() { &user } else { "System" },
            "ARN": format!("arn:aws:ssm:{region}:{account}:servicesetting{path}"),
            "Status": if changed.is_some() { "Customized" } else { "Default" },
        })
    }
}
