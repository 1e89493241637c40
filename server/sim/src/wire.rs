//! From an HTTP request to an HTTP response: who signed it, which operation it is, what goes wrong on the way.

use crate::{
    SeenRequest, World, ec2,
    error::AwsError,
    fault::FaultKind,
    model::SSM,
    ssm::{self, Answer},
    validation::validate,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How far a signature's time may be off (S 1.5).
const SIGNATURE_AGE: SignedDuration = SignedDuration::from_mins(15);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Ssm,
    Ec2,
}

/// What can be told of a request before it is carried out.
struct Caller {
    account: String,
    region: String,
}

impl World {
    /// The fault that a request meets, if any; each look counts.
    pub(crate) fn meet_fault(&mut self, request: &Request<Bytes>) -> Option<FaultKind> {
        let service = service_of(request.headers());
        let caller = caller(service, request.headers()).ok()?;
        let operation = operation_of(service, request).0;
        self.faults.take(self.seed, &caller.account, &caller.region, &operation)
    }

    /// Carries a request out that arrives at this time.
    pub(crate) fn respond(
        &mut self,
        request: &Request<Bytes>,
        fault: Option<FaultKind>,
        now: Timestamp,
    ) -> Response<Bytes> {
        let service = service_of(request.headers());
        let (operation, parameters) = operation_of(service, request);
        let request_id = self.next_request_id();
        let mut answer = self.judge(service, &operation, &parameters, request, fault, now);
        if fault == Some(FaultKind::ServerErrorAfterEffect) {
            answer = answer.and_then(|_| Err(server_error(service)));
        }
        let (status, content_type, body) = match (service, answer) {
            (Service::Ssm, Ok(answer)) => (200, JSON, answer.to_string()),
            (Service::Ssm, Err(error)) => (error.status, JSON, error_json(&error).to_string()),
            (Service::Ec2, Ok(answer)) => (200, XML, ec2::answer_xml(&operation, &request_id, &answer)),
            (Service::Ec2, Err(error)) => (error.status, XML, ec2::error_xml(&request_id, &error)),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        if let Ok(id) = http::HeaderValue::from_str(&request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }

    fn judge(
        &mut self,
        service: Service,
        operation: &str,
        parameters: &BTreeMap<String, String>,
        request: &Request<Bytes>,
        fault: Option<FaultKind>,
        now: Timestamp,
    ) -> Answer {
        if request.method() != Method::POST {
            return Err(unknown_operation(service, operation));
        }
        let caller = caller(service, request.headers())?;
        check_date(request.headers(), now)?;
        let mutating = ssm::MUTATING.contains(&operation) || ec2::MUTATING.contains(&operation);
        self.log.push(SeenRequest {
            time: now,
            account: caller.account.clone(),
            region: caller.region.clone(),
            service: if service == Service::Ssm { "ssm" } else { "ec2" }.to_owned(),
            operation: operation.to_owned(),
            mutating,
        });
        fault.and_then(|kind| refusal(kind, service, operation, &caller)).map_or(Ok(()), Err)?;
        let place = self.place(&caller.account, &caller.region);
        place.play(now);
        let answer = match service {
            Service::Ec2 => ec2::answer(place, operation, parameters),
            Service::Ssm => {
                let request = body_json(request.body());
                let input = SSM.operations.get(operation).and_then(|o| o.input.as_ref());
                match (input, request) {
                    (None, _) => None,
                    (Some(_), Err(error)) => Some(Err(error)),
                    (Some(input), Ok(request)) => match validate(&SSM, input, &request) {
                        Err(error) => Some(Err(error)),
                        Ok(()) => ssm::answer(ssm::Call { place, now, operation, request: &request }),
                    },
                }
            }
        };
        answer.unwrap_or_else(|| Err(unknown_operation(service, operation)))
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml;charset=UTF-8";

/// EC2 knows no X-Amz-Target; a signature's scope names its service.
fn service_of(headers: &HeaderMap) -> Service {
    let scoped = text(headers, "authorization").is_some_and(|header| header.contains("/ec2/aws4_request"));
    let ec2_host = text(headers, "host").is_some_and(|host| host.starts_with("ec2."));
    if scoped || (ec2_host && !headers.contains_key("x-amz-target")) { Service::Ec2 } else { Service::Ssm }
}

/// The operation's name, and EC2's parameters.
fn operation_of(service: Service, request: &Request<Bytes>) -> (String, BTreeMap<String, String>) {
    match service {
        Service::Ssm => {
            let target = text(request.headers(), "x-amz-target").unwrap_or_default();
            (target.strip_prefix("AmazonSSM.").unwrap_or_default().to_owned(), BTreeMap::new())
        }
        Service::Ec2 => {
            let parameters = ec2::parameters(request.body());
            (parameters.get("Action").cloned().unwrap_or_default(), parameters)
        }
    }
}

/// Reads account and Region back from the signature's credential: `AKIA0000<account>/<date>/<region>/<service>/…`.
fn caller(service: Service, headers: &HeaderMap) -> Result<Caller, AwsError> {
    let Some(header) = text(headers, "authorization") else {
        let error = AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token");
        return Err(if service == Service::Ssm { error } else { auth_failure() });
    };
    let unrecognized = || match service {
        Service::Ssm => {
            AwsError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        Service::Ec2 => auth_failure(),
    };
    let credential = header.split_once("Credential=").map(|(_, rest)| rest.split(',').next().unwrap_or(rest));
    let parts: Vec<&str> = credential.unwrap_or_default().trim().split('/').collect();
    let [key, _date, region, _service, "aws4_request"] = parts[..] else {
        return Err(AwsError::new("IncompleteSignature", "Credential must have exactly 5 slash-delimited elements"));
    };
    let account = key.strip_prefix("AKIA0000").unwrap_or_default();
    let location = patchplane_rules::Location::new(account, region).map_err(|_| unrecognized())?;
    Ok(Caller { account: location.account.to_string(), region: location.region.to_string() })
}

fn auth_failure() -> AwsError {
    let text = "AWS was not able to validate the provided access credentials";
    AwsError::new("AuthFailure", text).with_status(401)
}

/// Refuses signatures of another time (S 1.5).
fn check_date(headers: &HeaderMap, now: Timestamp) -> Result<(), AwsError> {
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

/// The error of an injected fault that answers.
fn refusal(kind: FaultKind, service: Service, operation: &str, caller: &Caller) -> Option<AwsError> {
    Some(match (kind, service) {
        (FaultKind::Throttle, Service::Ssm) => AwsError::new("ThrottlingException", "Rate exceeded"),
        (FaultKind::Throttle, Service::Ec2) => {
            AwsError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503)
        }
        (FaultKind::Deny, Service::Ssm) => {
            let Caller { account, region } = caller;
            let text = format!(
                "User: arn:aws:iam::{account}:user/simulated is not authorized to perform: ssm:{operation} on \
                 resource: arn:aws:ssm:{region}:{account}:* because no identity-based policy allows the \
                 ssm:{operation} action"
            );
            AwsError::new("AccessDeniedException", text)
        }
        (FaultKind::Deny, Service::Ec2) => {
            AwsError::new("UnauthorizedOperation", "You are not authorized to perform this operation.").with_status(403)
        }
        (FaultKind::ServerError, _) => server_error(service),
        _ => return None,
    })
}

fn server_error(service: Service) -> AwsError {
    let error = match service {
        Service::Ssm => AwsError::new("InternalServerError", "An error occurred on the server side."),
        Service::Ec2 => AwsError::new("InternalError", "An internal error has occurred"),
    };
    error.with_status(500)
}

fn unknown_operation(service: Service, operation: &str) -> AwsError {
    match service {
        Service::Ssm => AwsError::bare("UnknownOperationException"),
        Service::Ec2 => {
            let text = format!("The action {operation} is not valid for this web service.");
            AwsError::new("InvalidAction", text)
        }
    }
}

/// `{}` for an empty body.
fn body_json(body: &Bytes) -> Result<Value, AwsError> {
    let bad = || AwsError::new("SerializationException", "The body is not a JSON object");
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).ok().filter(Value::is_object).ok_or_else(bad)
}

/// Errors whose shape has no member carry no message (S 1.14); modelled ones spell it `Message`, the others `message`.
fn error_json(error: &AwsError) -> Value {
    let mut json = json!({ "__type": error.code });
    if SSM.error_has_message(&error.code) {
        let modelled = SSM.shapes.get(&error.code).is_some_and(|shape| shape.members.contains_key("Message"));
        json[if modelled { "Message" } else { "message" }] = error.message.clone().into();
    }
    json
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
