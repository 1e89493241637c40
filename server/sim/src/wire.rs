//! From an HTTP request to an HTTP response: which service and operation it is for, what goes wrong on the way, who answers.

use crate::{
    SeenRequest, World, ec2,
    error::AwsError,
    fault::FaultKind,
    model::SSM,
    query,
    signature::{self, Caller, text},
    ssm, sts, throttle,
    validation::validate,
    xml,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ssm,
    Ec2,
    Sts,
}

type Answer = Result<Value, AwsError>;

impl World {
    /// The fault that a request meets, if any; each look counts.
    pub(crate) fn meet_fault(&mut self, request: &Request<Bytes>) -> Option<FaultKind> {
        let service = Service::of(request);
        let caller = signature::caller(service, request.headers()).ok()?;
        let operation = service.operation(request).0;
        self.faults.take(self.seed, &caller.account, &caller.region, &operation)
    }

    /// Carries a request out that arrives at this time.
    pub(crate) fn respond(
        &mut self,
        request: &Request<Bytes>,
        fault: Option<FaultKind>,
        now: Timestamp,
    ) -> Response<Bytes> {
        let service = Service::of(request);
        let (operation, parameters) = service.operation(request);
        let request_id = self.next_request_id();
        let mut answer = self.judge(service, &operation, &parameters, request, fault, now);
        if fault == Some(FaultKind::ServerErrorAfterEffect) {
            answer = answer.and_then(|_| Err(server_error(service)));
        }
        let (content_type, body) = match (service, &answer) {
            (Service::Ssm, Ok(answer)) => (JSON, answer.to_string()),
            (Service::Ssm, Err(error)) => (JSON, error_json(error).to_string()),
            (Service::Ec2, Ok(answer)) => (XML, xml::ec2_answer(&operation, &request_id, answer)),
            (Service::Ec2, Err(error)) => (XML, xml::ec2_error(&request_id, error)),
            (Service::Sts, Ok(answer)) => (XML, xml::sts_answer(&operation, &request_id, answer)),
            (Service::Sts, Err(error)) => (XML, xml::sts_error(&request_id, error)),
        };
        let status = answer.map_or_else(|error| error.status, |_| 200);
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
        let headers = request.headers();
        let caller = signature::caller(service, headers)?;
        // A signature is good that is fresh by the account's clock or by its callers'.
        let theirs = self.callers.as_ref().map_or(now, crate::SimClock::now);
        signature::check_time(service, &caller, headers, now)
            .or_else(|_| signature::check_time(service, &caller, headers, theirs))?;
        let mutating = ssm::MUTATING.contains(&operation) || ec2::MUTATING.contains(&operation);
        self.log.push(SeenRequest {
            time: now,
            account: caller.account.clone(),
            region: caller.region.clone(),
            service: service.name().to_owned(),
            operation: operation.to_owned(),
            mutating,
        });
        fault.and_then(|kind| refusal(kind, service, operation, &caller)).map_or(Ok(()), Err)?;
        let rate = throttle::rate(service, operation, throttle::is_unbounded(parameters));
        if self.throttle.refuses(&caller.account, &caller.region, rate, now) {
            return Err(throttled(service));
        }
        let answer = match service {
            Service::Sts => sts::answer(&caller, operation, parameters, self.seed, theirs),
            Service::Ec2 => ec2::answer(self.place_at(&caller, now), now, operation, parameters),
            Service::Ssm => {
                let input = SSM.operations.get(operation).and_then(|o| o.input.as_ref());
                input.and_then(|input| {
                    let request = match body_json(request.body()) {
                        Ok(request) => request,
                        Err(error) => return Some(Err(error)),
                    };
                    if let Err(error) = validate(&SSM, input, &request) {
                        return Some(Err(error));
                    }
                    let place = self.place_at(&caller, now);
                    ssm::answer(ssm::Call { place, now, operation, request: &request })
                })
            }
        };
        answer.unwrap_or_else(|| Err(unknown_operation(service, operation)))
    }

    fn place_at(&mut self, caller: &Caller, now: Timestamp) -> &mut crate::account::Place {
        let place = self.place(&caller.account, &caller.region);
        place.play(now);
        place
    }
}

// === impl Service ===

impl Service {
    /// A signature's scope names the service. Without one, the header X-Amz-Target is Systems Manager's alone, and the form's
    /// action or the host tells the others.
    fn of(request: &Request<Bytes>) -> Self {
        let headers = request.headers();
        let host = text(headers, "host").unwrap_or_default();
        match signature::scope(headers).map(|[_, _, _, service, _]| service) {
            Some("ssm") => Self::Ssm,
            Some("ec2") => Self::Ec2,
            Some("sts") => Self::Sts,
            _ if headers.contains_key("x-amz-target") => Self::Ssm,
            _ => match query::parameters(request.body()).get("Action").map(String::as_str) {
                Some("AssumeRole" | "GetCallerIdentity") => Self::Sts,
                Some(_) if host.starts_with("sts.") => Self::Sts,
                Some(_) => Self::Ec2,
                None => Self::Ssm,
            },
        }
    }

    /// The operation's name, and the parameters of a form.
    fn operation(self, request: &Request<Bytes>) -> (String, BTreeMap<String, String>) {
        if self == Self::Ssm {
            let target = text(request.headers(), "x-amz-target").unwrap_or_default();
            return (target.strip_prefix("AmazonSSM.").unwrap_or_default().to_owned(), BTreeMap::new());
        }
        let parameters = query::parameters(request.body());
        (parameters.get("Action").cloned().unwrap_or_default(), parameters)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
        }
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml;charset=UTF-8";

/// The error of an injected fault that answers.
fn refusal(kind: FaultKind, service: Service, operation: &str, caller: &Caller) -> Option<AwsError> {
    Some(match (kind, service) {
        (FaultKind::Throttle, _) => throttled(service),
        (FaultKind::Deny, Service::Ssm) => {
            let Caller { account, region, .. } = caller;
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
        (FaultKind::Deny, Service::Sts) => {
            let account = &caller.account;
            let text =
                format!("User: arn:aws:iam::{account}:user/simulated is not authorized to perform: sts:{operation}");
            AwsError::new("AccessDenied", text).with_status(403)
        }
        (FaultKind::ServerError, _) => server_error(service),
        _ => return None,
    })
}

/// S 3.1.1–2.
fn throttled(service: Service) -> AwsError {
    match service {
        Service::Ssm => AwsError::new("ThrottlingException", "Rate exceeded"),
        Service::Ec2 => AwsError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
        Service::Sts => AwsError::new("Throttling", "Rate exceeded"),
    }
}

fn server_error(service: Service) -> AwsError {
    let error = match service {
        Service::Ssm => AwsError::new("InternalServerError", "An error occurred on the server side."),
        Service::Ec2 => AwsError::new("InternalError", "An internal error has occurred"),
        Service::Sts => AwsError::new("InternalFailure", "An internal error has occurred"),
    };
    error.with_status(500)
}

fn unknown_operation(service: Service, operation: &str) -> AwsError {
    match service {
        Service::Ssm => AwsError::bare("UnknownOperationException"),
        Service::Ec2 | Service::Sts => {
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
