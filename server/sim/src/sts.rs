//! The Security Token Service behind the Query protocol: who one is, and credentials of a role.

use crate::{dice::Dice, error::AwsError, model::STS, query, signature::Caller, validation::validate};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) type Answer = Result<Value, AwsError>;

/// What a session token says: nothing is kept of the sessions themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) expires: Timestamp,
    role: String,
    name: String,
}

const TOKEN: &str = "SimulatedSession";

/// Reads the request by the model and carries it out. `None`: this account does not know the operation.
pub(crate) fn answer(
    caller: &Caller,
    operation: &str,
    parameters: &BTreeMap<String, String>,
    seed: u64,
    now: Timestamp,
) -> Option<Answer> {
    let input = STS.operations.get(operation)?.input.as_ref()?;
    Some(query::decode(&STS, input, parameters, query::Lists::Wrapped).and_then(|request| {
        let refused = |error: AwsError| AwsError::new("ValidationError", error.message);
        validate(&STS, input, &request).map_err(refused)?;
        match operation {
            "AssumeRole" => assume_role(&request, seed, now),
            _ => Ok(get_caller_identity(caller, seed)),
        }
    }))
}

fn get_caller_identity(caller: &Caller, seed: u64) -> Value {
    let Caller { account, access_key, session, .. } = caller;
    let (id, arn) = match session {
        Some(session) => session.identity(account, seed),
        None => {
            let id = format!("AIDA{}", Dice::new(seed, &["user", account]).hex(16).to_uppercase());
            (id, format!("arn:aws:iam::{account}:user/{}", access_key.to_lowercase()))
        }
    };
    json!({ "UserId": id, "Account": account, "Arn": arn })
}

/// Any role of any account can be assumed: trust is not simulated.
fn assume_role(request: &Value, seed: u64, now: Timestamp) -> Answer {
    let arn = request["RoleArn"].as_str().unwrap_or_default();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let (account, role) = match parts[..] {
        ["arn", partition, "iam", "", account, resource]
            if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (account, resource.strip_prefix("role/").filter(|role| !role.is_empty()))
        }
        _ => ("", None),
    };
    let role = role.ok_or_else(|| AwsError::new("ValidationError", format!("{arn} is invalid")))?;
    let seconds = request["DurationSeconds"].as_i64().unwrap_or(3600);
    let expires = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let session = Session {
        // Whole seconds, as they travel.
        expires: Timestamp::from_second(expires.as_second()).unwrap_or(expires),
        role: role.to_owned(),
        name: request["RoleSessionName"].as_str().unwrap_or_default().to_owned(),
    };
    let (id, user_arn) = session.identity(account, seed);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": format!("ASIA0000{account}"),
            "SecretAccessKey": Dice::new(seed, &["secret", arn, &session.name]).hex(32),
            "SessionToken": session.token(),
            "Expiration": session.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
        "AssumedRoleUser": { "AssumedRoleId": id, "Arn": user_arn },
        "PackedPolicySize": 0,
    }))
}

impl Session {
    /// A token that is none of ours says nothing.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let mut parts = token.strip_prefix(TOKEN)?.split('.').map(|part| percent_decode_str(part).decode_utf8_lossy());
        let expires = parts.next()?.parse().ok().and_then(|second| Timestamp::from_second(second).ok())?;
        Some(Self { expires, role: parts.next()?.into_owned(), name: parts.next()?.into_owned() })
    }

    fn token(&self) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("{TOKEN}{}.{}.{}", self.expires.as_second(), escaped(&self.role), escaped(&self.name))
    }

    /// UserId and ARN; a role's path is left out of the latter (documentation of GetCallerIdentity).
    fn identity(&self, account: &str, seed: u64) -> (String, String) {
        let role = self.role.rsplit('/').next().unwrap_or(&self.role);
        let id = format!("AROA{}", Dice::new(seed, &["role", account, &self.role]).hex(16).to_uppercase());
        (format!("{id}:{}", self.name), format!("arn:aws:sts::{account}:assumed-role/{role}/{}", self.name))
    }
}
