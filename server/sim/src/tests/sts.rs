//! The Security Token Service at the wire.

use super::*;

impl Wire {
    fn sts(&self, form: &str, key: &str, token: Option<&str>) -> (u16, String) {
        let date = self.0.clock().now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{key}/{}/us-east-1/sts/aws4_request", &date[..8]);
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        let mut request = Request::post("/").header("authorization", authorization).header("x-amz-date", date);
        if let Some(token) = token {
            request = request.header("x-amz-security-token", token);
        }
        self.send(request.body(Bytes::from(format!("{form}&Version=2011-06-15"))).unwrap())
    }
}

/// What stands between an element's tags.
fn inside<'x>(xml: &'x str, element: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("no {element} in {xml}"));
    rest.split_once(&format!("</{element}>")).unwrap().0
}

#[test]
fn one_is_told_who_one_is_by_the_access_key() {
    let wire = Wire::new();
    for (key, account) in [("AKIA0000111122223333", "111122223333"), ("AKIAIOSFODNN7EXAMPLE", "123456789012")] {
        let (status, xml) = wire.sts("Action=GetCallerIdentity", key, None);
        assert_eq!((status, inside(&xml, "Account")), (200, account));
        assert!(inside(&xml, "Arn").starts_with(&format!("arn:aws:iam::{account}:user/")), "{xml}");
        assert!(
            xml.starts_with("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"),
            "{xml}"
        );
        assert!(xml.contains("<ResponseMetadata><RequestId>"), "{xml}");
    }
}

#[test]
fn a_role_is_assumed_in_its_account_for_an_hour() {
    // The texts and statuses of STS's errors: "AWS common errors", from memory.
    let wire = Wire::new();
    let role = "arn:aws:iam::444455556666:role/service/patching";
    let (status, xml) = wire.sts(&format!("Action=AssumeRole&RoleArn={role}&RoleSessionName=pp-1"), "any", None);
    assert_eq!(status, 200, "{xml}");
    let (key, token) = (inside(&xml, "AccessKeyId"), inside(&xml, "SessionToken").to_owned());
    assert_eq!((key, inside(&xml, "Expiration")), ("ASIA0000444455556666", "2025-11-24T01:00:00Z"));
    let who = |token: &str| wire.sts("Action=GetCallerIdentity", key, Some(token));
    assert_eq!(inside(&who(&token).1, "Arn"), "arn:aws:sts::444455556666:assumed-role/patching/pp-1");
    wire.0.at("444455556666", "us-east-1").add_nodes(1).create();
    let listed = |token: &str| {
        let date = wire.0.clock().now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{key}/{}/us-east-1/ssm/aws4_request", &date[..8]);
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        let request = Request::post("/").header("authorization", authorization).header("x-amz-date", date);
        let request = request.header("x-amz-security-token", token);
        let request = request.header("x-amz-target", "AmazonSSM.DescribeInstanceInformation");
        wire.send(request.body(Bytes::from_static(b"{}")).unwrap())
    };
    let (status, answer) = listed(&token);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, answer["InstanceInformationList"].as_array().unwrap().len()), (200, 1));
    wire.pass(3600);
    assert_eq!(inside(&who(&token).1, "Code"), "ExpiredToken");
    assert!(listed(&token).1.contains("ExpiredTokenException"), "S 1.17");
}

#[test]
fn what_sts_does_not_take_is_refused_in_its_own_form() {
    let wire = Wire::new();
    let role = |arn: &str, rest: &str| format!("Action=AssumeRole&RoleArn={arn}&RoleSessionName=s1{rest}");
    let good = "arn:aws:iam::444455556666:role/patching";
    for (form, code) in [
        ("Action=AssumeRole".to_owned(), "ValidationError"),
        (role("arn:aws:iam::4444:role/patching", ""), "ValidationError"),
        (role("arn:aws:iam::444455556666:user/patching", ""), "ValidationError"),
        (role(good, "&DurationSeconds=899"), "ValidationError"),
        (role(good, "&DurationSeconds=many"), "InvalidParameterValue"),
        (role(good, "&Tags.member.1.Key="), "ValidationError"),
        ("Action=GetSessionToken".to_owned(), "InvalidAction"),
        (String::new(), "InvalidAction"),
    ] {
        let (status, xml) = wire.sts(&form, "any", None);
        assert_eq!((status, inside(&xml, "Code"), inside(&xml, "Type")), (400, code, "Sender"), "{form}: {xml}");
    }
    let unsigned = Request::post("/").body(Bytes::from_static(b"Action=GetCallerIdentity")).unwrap();
    let (status, xml) = wire.send(unsigned);
    assert_eq!((status, inside(&xml, "Code")), (403, "MissingAuthenticationToken"));
    for (kind, status, code) in [
        (FaultKind::Throttle, 400, "Throttling"),
        (FaultKind::Deny, 403, "AccessDenied"),
        (FaultKind::ServerError, 500, "InternalFailure"),
    ] {
        let operation = Some("GetCallerIdentity".to_owned());
        wire.0.inject(Fault { location: None, operation, skip: 0, times: 1, kind });
        let (found, xml) = wire.sts("Action=GetCallerIdentity", "any", None);
        assert_eq!((found, inside(&xml, "Code")), (status, code));
    }
}
