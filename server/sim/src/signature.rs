//! Who signed a request, and when. The signature itself is not checked: any secret key will do.
//!
//! An access key that ends in twelve digits names its account, as [`Simulation::access_key`](crate::Simulation::access_key)
//! makes them; any other belongs to [`DEFAULT_ACCOUNT`]. The Region is that of the signature's scope.

use crate::{error::AwsError, sts, wire::Service};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// The account of access keys that name none.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// How far a signature's time may be off (S 1.5).
const SIGNATURE_AGE: SignedDuration = SignedDuration::from_mins(15);

/// What can be told of a request before it is carried out.
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    /// With credentials of an assumed role.
    pub(crate) session: Option<sts::Session>,
}

/// The five parts of a signature's scope: access key, date, Region, service, `aws4_request`.
pub(crate) fn scope(headers: &HeaderMap) -> Option<[&str; 5]> {
    let header = text(headers, "authorization")?;
    let (_, credential) = header.split_once("Credential=")?;
    let parts: Vec<&str> = credential.split(',').next().unwrap_or(credential).trim().split('/').collect();
    parts.try_into().ok()
}

/// Reads the caller back from the signature's scope.
pub(crate) fn caller(service: Service, headers: &HeaderMap) -> Result<Caller, AwsError> {
    if text(headers, "authorization").is_none() {
        let error = |code: &str| AwsError::new(code, "Missing Authentication Token");
        return Err(match service {
            Service::Ssm => error("MissingAuthenticationTokenException"),
            Service::Ec2 => auth_failure(),
            Service::Sts => error("MissingAuthenticationToken").with_status(403),
        });
    }
    let Some([key, _date, region, _service, "aws4_request"]) = scope(headers) else {
        return Err(AwsError::new("IncompleteSignature", "Credential must have exactly 5 slash-delimited elements"));
    };
    let unknown = || {
        let text = "The security token included in the request is invalid.";
        match service {
            Service::Ssm => AwsError::new("UnrecognizedClientException", text),
            Service::Ec2 => auth_failure(),
            Service::Sts => AwsError::new("InvalidClientTokenId", text).with_status(403),
        }
    };
    let location = patchplane_rules::Location::new(account_of(key), region).map_err(|_| unknown())?;
    let token = text(headers, "x-amz-security-token").filter(|token| !token.is_empty());
    Ok(Caller {
        account: location.account.to_string(),
        region: location.region.to_string(),
        access_key: key.to_owned(),
        session: token.map(sts::Session::read).unwrap_or_default(),
    })
}

/// The last twelve characters, if they are digits.
fn account_of(key: &str) -> &str {
    let named = key.len().checked_sub(12).and_then(|start| key.get(start..));
    named.filter(|end| end.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or(DEFAULT_ACCOUNT)
}

fn auth_failure() -> AwsError {
    let text = "AWS was not able to validate the provided access credentials";
    AwsError::new("AuthFailure", text).with_status(401)
}

/// Refuses signatures of another time (S 1.5), and credentials whose time is over (S 1.17).
pub(crate) fn check_time(
    service: Service,
    caller: &Caller,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(), AwsError> {
    if caller.session.as_ref().is_some_and(|session| session.expires <= now) {
        let text = "The security token included in the request is expired";
        return Err(match service {
            Service::Ssm => AwsError::new("ExpiredTokenException", text),
            Service::Ec2 => AwsError::new("RequestExpired", "Request has expired."),
            Service::Sts => AwsError::new("ExpiredToken", text).with_status(403),
        });
    }
    let signed = text(headers, "x-amz-date").unwrap_or_default();
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", signed).and_then(|at| at.to_zoned(TimeZone::UTC));
    let Ok(at) = at.map(|at| at.timestamp()) else {
        return Err(AwsError::new("IncompleteSignature", "Date must be in ISO-8601 'basic format'"));
    };
    let basic = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let text = if now.duration_since(at) > SIGNATURE_AGE {
        let oldest = now.saturating_sub(SIGNATURE_AGE).unwrap_or(now);
        let (oldest, now) = (basic(oldest), basic(now));
        format!("Signature expired: {signed} is now earlier than {oldest} ({now} - 15 min.)")
    } else if at.duration_since(now) > SIGNATURE_AGE {
        let newest = now.saturating_add(SIGNATURE_AGE).unwrap_or(now);
        let (newest, now) = (basic(newest), basic(now));
        format!("Signature not yet current: {signed} is still later than {newest} ({now} + 15 min.)")
    } else {
        return Ok(());
    };
    Err(AwsError::new("InvalidSignatureException", text))
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_that_ends_in_twelve_digits_names_its_account() {
        for (key, account) in [
            ("AKIA0000111122223333", "111122223333"),
            ("ASIA0000444455556666", "444455556666"),
            ("111122223333", "111122223333"),
            ("AKIAIOSFODNN7EXAMPLE", DEFAULT_ACCOUNT),
            ("test", DEFAULT_ACCOUNT),
            ("", DEFAULT_ACCOUNT),
            ("größe", DEFAULT_ACCOUNT),
        ] {
            assert_eq!(account_of(key), account, "{key}");
        }
    }
}
