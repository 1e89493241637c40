//! The clients of one location, configured the same way everywhere.

use crate::{Access, Clock, Credentials, Error, ErrorKind, Result, access::is_safe_endpoint, ask::Retries};
use aws_config::{AppName, BehaviorVersion, SdkConfig, identity::IdentityCache, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use patchplane_rules::Location;
use std::{fmt, sync::Arc, time::Duration};

const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// AWS as seen from one account in one Region. Make one for the life of the process; clones share its connections.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    location: Location,
    ssm: aws_sdk_ssm::Client,
    ec2: aws_sdk_ec2::Client,
    sts: aws_sdk_sts::Client,
}

impl Aws {
    /// Prepares to work in a location; asks nothing of AWS yet, so wrong credentials show with the first call.
    ///
    /// Endpoints come from `access` alone, never from the environment.
    /// `Invalid`: an endpoint of plain http that is not on this machine.
    pub async fn connect(access: &Access, location: Location, credentials: &Credentials) -> Result<Self> {
        if let Some(url) = access.endpoint_url.as_deref().filter(|url| !is_safe_endpoint(url)) {
            let message = format!("endpoint {url}: must be https, or http on loopback");
            let kind = ErrorKind::Invalid;
            return Err(Error { kind, action: "connect", code: None, message, request_id: None });
        }
        let config = config(access, &location, credentials).await;
        let ssm = aws_sdk_ssm::config::Builder::from(&config).interceptor(Retries).build();
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(Retries).build();
        let (ssm, ec2) = (aws_sdk_ssm::Client::from_conf(ssm), aws_sdk_ec2::Client::from_conf(ec2));
        let sts = aws_sdk_sts::Client::new(&config);
        Ok(Self { inner: Arc::new(Inner { location, ssm, ec2, sts }) })
    }

    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    pub(crate) fn ssm(&self) -> &aws_sdk_ssm::Client {
        &self.inner.ssm
    }

    pub(crate) fn ec2(&self) -> &aws_sdk_ec2::Client {
        &self.inner.ec2
    }

    pub(crate) fn sts(&self) -> &aws_sdk_sts::Client {
        &self.inner.sts
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aws({})", self.inner.location)
    }
}

async fn config(access: &Access, location: &Location, credentials: &Credentials) -> SdkConfig {
    let base = base(access, location);
    match credentials {
        Credentials::Static { access_key_id, secret_access_key } => {
            let keys = aws_credential_types::Credentials::from_keys(access_key_id, secret_access_key, None);
            with_credentials(&base, SharedCredentialsProvider::new(keys))
        }
        Credentials::Ambient => ambient(access, &base).await,
        Credentials::AssumeRole { role_arn, external_id, session_name } => {
            let ambient = ambient(access, &base).await;
            let mut role = AssumeRoleProvider::builder(role_arn).session_name(session_name).configure(&ambient);
            if let Some(id) = external_id {
                role = role.external_id(id);
            }
            with_credentials(&ambient, SharedCredentialsProvider::new(role.build().await))
        }
    }
}

/// Everything but credentials. All of it is said here, so that an update of the SDK changes nothing unseen.
fn base(access: &Access, location: &Location) -> SdkConfig {
    let Clock { time, sleep } = access.clock.clone();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(aws_config::Region::new(location.region.as_str().to_owned()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(CALL_TIMEOUT)
                .build(),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .identity_cache(IdentityCache::lazy().build())
        .http_client(access.http_client())
        .time_source(time)
        .sleep_impl(sleep);
    config.set_endpoint_url(access.endpoint_url.clone());
    config.set_app_name(AppName::new("patchplane").ok());
    config.build()
}

/// The default chain's credentials, and the environment's word on FIPS and dual-stack endpoints.
async fn ambient(access: &Access, base: &SdkConfig) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(base.region().cloned())
        .http_client(access.http_client())
        .time_source(access.clock.time.clone())
        .sleep_impl(access.clock.sleep.clone());
    if let Some(retry) = base.retry_config() {
        loader = loader.retry_config(retry.clone());
    }
    if let Some(timeout) = base.timeout_config() {
        loader = loader.timeout_config(timeout.clone());
    }
    let loaded = loader.load().await;
    let mut config = base.clone().into_builder();
    config.set_credentials_provider(loaded.credentials_provider());
    config.set_use_fips(loaded.use_fips());
    config.set_use_dual_stack(loaded.use_dual_stack());
    config.build()
}

fn with_credentials(config: &SdkConfig, credentials: SharedCredentialsProvider) -> SdkConfig {
    config.clone().into_builder().credentials_provider(credentials).build()
}

/// Calls that take so many values at most are made once for each chunk; no values, no call.
pub(crate) fn chunks_of_ids(ids: &[patchplane_rules::InstanceId], at_most: usize) -> impl Iterator<Item = Vec<String>> {
    ids.chunks(at_most).map(|chunk| chunk.iter().map(|id| id.as_str().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(endpoint_url: Option<&str>) -> Access {
        Access { clock: Clock::system(), http: None, endpoint_url: endpoint_url.map(str::to_owned) }
    }

    #[tokio::test]
    async fn plain_http_off_loopback_is_refused() {
        let location = Location::new("123456789012", "eu-central-1").unwrap();
        let keys = Credentials::Static { access_key_id: "AKID".to_owned(), secret_access_key: "secret".to_owned() };
        let refused = Aws::connect(&access(Some("http://aws.example.com")), location.clone(), &keys).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        assert!(Aws::connect(&access(Some("http://127.0.0.1:1")), location, &keys).await.is_ok());
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = Credentials::Static { access_key_id: "AKID".to_owned(), secret_access_key: "secret".to_owned() };
        assert_eq!(format!("{keys:?}"), "Static");
    }
}
