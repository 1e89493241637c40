//! How AWS is reached, and with whose credentials.

use crate::Clock;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use std::{fmt, sync::LazyLock};

/// How to reach AWS: the same for every location.
#[derive(Clone, Debug)]
pub struct Access {
    pub clock: Clock,
    /// `None`: real HTTPS, with one connection pool for the process.
    pub http: Option<SharedHttpClient>,
    /// `None`: AWS's own endpoints. Plain http is for loopback alone.
    pub endpoint_url: Option<String>,
}

/// Whose credentials a location is worked with.
#[derive(Clone)]
pub enum Credentials {
    /// The default chain: environment, profile, container, instance.
    Ambient,
    /// A role, assumed with the ambient credentials.
    AssumeRole { role_arn: String, external_id: Option<String>, session_name: String },
    /// Given keys, as for the simulated account.
    Static { access_key_id: String, secret_access_key: String },
}

static HTTPS: LazyLock<SharedHttpClient> =
    LazyLock::new(|| Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https());

impl Access {
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        self.http.clone().unwrap_or_else(|| HTTPS.clone())
    }
}

/// Keys are never printed.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ambient => "Ambient",
            Self::AssumeRole { .. } => "AssumeRole",
            Self::Static { .. } => "Static",
        })
    }
}

/// Whether requests may go there: https anywhere, plain http to this machine only.
pub(crate) fn is_safe_endpoint(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host_and_port = authority.rsplit('@').next().unwrap_or(authority);
    let host = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host_and_port.split(':').next().unwrap_or(host_and_port),
    };
    match scheme.to_ascii_lowercase().as_str() {
        "https" => !host.is_empty(),
        "http" => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_accepted_on_loopback_only() {
        for safe in [
            "https://ssm.eu-central-1.amazonaws.com",
            "http://127.0.0.1:4566",
            "http://127.9.9.9/",
            "http://[::1]:4566/x",
            "HTTP://LocalHost:80",
        ] {
            assert!(is_safe_endpoint(safe), "{safe}");
        }
        for unsafe_url in [
            "http://ssm.eu-central-1.amazonaws.com",
            "http://localhost.example.com",
            "http://127.0.0.1@example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1:4566",
            "http://",
            "https://",
            "ftp://127.0.0.1",
            "127.0.0.1:4566",
            "",
        ] {
            assert!(!is_safe_endpoint(unsafe_url), "{unsafe_url}");
        }
    }
}
