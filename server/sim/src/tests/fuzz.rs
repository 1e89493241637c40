//! Requests made of the models' shapes and of chance: each gets a documented answer, none a crash.

use super::*;
use crate::{
    dice::Dice,
    model::{EC2, Member, Model, SSM, STS},
};

/// A value of a shape, mostly of its type.
fn made_up(model: &Model, member: &Member, words: &[String], dice: &mut Dice) -> Value {
    let Some(shape) = model.shape(member) else { return Value::Null };
    if dice.between(0, 99) == 0 {
        return json!({ "odd": [1, null] });
    }
    let some = |dice: &mut Dice| dice.between(0, 2);
    match shape.kind.as_str() {
        "structure" => {
            let mut fields = serde_json::Map::new();
            for (name, member) in &shape.members {
                let required = shape.required.contains(name);
                if dice.between(0, 9) < if required { 9 } else { 3 } {
                    fields.insert(name.clone(), made_up(model, member, words, dice));
                }
            }
            Value::Object(fields)
        }
        "list" => {
            let member = shape.member.as_ref().unwrap();
            (0..some(dice)).map(|_| made_up(model, member, words, dice)).collect()
        }
        "map" => {
            let names = ["Operation", "RebootOption", "SnapshotId", "BaselineOverride", "Nonsense"];
            let value = shape.value.as_ref().unwrap();
            let entry = |dice: &mut Dice| {
                let name = names[usize::try_from(dice.between(0, 4)).unwrap()];
                (name.to_owned(), made_up(model, value, words, dice))
            };
            Value::Object((0..some(dice)).map(|_| entry(dice)).collect())
        }
        "string" if !shape.values.is_empty() => {
            let last = shape.values.len() as u64 - 1;
            shape.values[usize::try_from(dice.between(0, last)).unwrap()].clone().into()
        }
        "integer" | "long" => dice.between(0, 60).into(),
        "boolean" => (dice.between(0, 1) == 1).into(),
        _ => words[usize::try_from(dice.between(0, words.len() as u64 - 1)).unwrap()].clone().into(),
    }
}

#[test]
fn whatever_is_asked_is_answered_or_refused_with_a_documented_error() {
    let wire = Wire(Simulation::showcase(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 7));
    let id = wire.here().add_nodes(1).missing_patches(2).create().remove(0);
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Scan"] }));
    let association = wire.here().patch_now("Scan", std::slice::from_ref(&id)).unwrap();
    let window = wire.window(json!({ "AllowUnassociatedTargets": true }));
    let target = wire.window_target(&window, "InstanceIds", &id);
    let task = wire.window_task(&window, &target, json!({}));
    let mut words: Vec<String> = vec![id, command, AL2_BASELINE.to_owned(), window, target, task, association];
    words.extend(
        ["", "web", "db", "Scan", "Install", "*", "State", "Missing", "tag:Patch Group", "InstanceIds", "PatchLinux"]
            .map(str::to_owned),
    );
    words.extend(
        [
            "AWS-RunPatchBaseline",
            "NAME_PREFIX",
            "rate(1 day)",
            "WindowTargetIds",
            "größe",
            "10%",
            "PRODUCT",
            "AmazonLinux2",
            "ManagedInstance",
            "AWS-RestartEC2Instance",
            "AWS-UpdateSSMAgent",
            "/ssm/managed-instance/activation-tier",
            "AWS:InstanceInformation.PlatformType",
            "Custom:ours",
            "100",
            "x\u{0}\u{1F980}",
        ]
        .map(str::to_owned),
    );
    let mut dice = Dice::new(1, &["fuzz"]);
    let mut accepted = std::collections::BTreeSet::new();
    for (round, (operation, described)) in SSM.operations.iter().cycle().take(9600).enumerate() {
        let request = made_up(&SSM, described.input.as_ref().unwrap(), &words, &mut dice);
        let (status, answer) = wire.ssm(operation, &request);
        if status == 200 {
            accepted.insert(operation.as_str());
            continue;
        }
        let code = answer["__type"].as_str().unwrap();
        let usual = ["ValidationException", "SerializationException"].contains(&code);
        // S 5.7: deregistering an unknown pair answers an error that the model does not list.
        let known = usual || SSM.models_error(operation, code) || code == "DoesNotExistException";
        assert!(status == 400 && known, "{operation} {request}: {status} {answer}");
        wire.pass(if round % 50 == 0 { dice.between(0, 200) } else { 0 });
    }
    assert!(accepted.len() >= 40, "chance gets past the checks often enough: {accepted:?}");
}

/// The parameters of a value, as a form has them.
fn form(model: &Model, member: &Member, value: &Value, at: &str, wrapped: bool, found: &mut Vec<(String, String)>) {
    let Some(shape) = model.shape(member) else { return };
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match shape.members.get(name) {
                    Some(member) => form(model, member, value, &below(&member.parameter(name)), wrapped, found),
                    None => found.push((below(name), "odd".to_owned())),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let part = if wrapped { format!("member.{}", index + 1) } else { (index + 1).to_string() };
                if let Some(member) = &shape.member {
                    form(model, member, item, &below(&part), wrapped, found);
                }
            }
        }
        Value::String(text) => found.push((at.to_owned(), text.clone())),
        other => found.push((at.to_owned(), other.to_string())),
    }
}

#[test]
fn whatever_a_form_asks_is_answered_or_refused_and_never_fails() {
    let wire = Wire::new();
    let ids = wire.here().add_nodes(3).create();
    let mut words: Vec<String> = ids;
    let some =
        ["", "web", "tag:Name", "ami-0123456789abcdef0", "vol-0123456789abcdef0", "i-0", "größe", "x\u{0}\u{1F980}"];
    words.extend(some.map(str::to_owned));
    let more = ["instance-id", "arn:aws:iam::123456789012:role/ours", "us-east-1", "*", "running", "/dev/xvda", "5"];
    words.extend(more.map(str::to_owned));
    let mut dice = Dice::new(2, &["fuzz"]);
    let mut accepted = std::collections::BTreeSet::new();
    let mut met = std::collections::BTreeSet::new();
    let all = EC2.operations.iter().map(|o| ("ec2", &*EC2, o)).chain(STS.operations.iter().map(|o| ("sts", &*STS, o)));
    let all: Vec<_> = all.collect();
    for (service, model, (operation, described)) in all.iter().cycle().take(8000) {
        let input = described.input.as_ref().unwrap();
        let mut parameters = Vec::new();
        form(model, input, &made_up(model, input, &words, &mut dice), "", *service == "sts", &mut parameters);
        let mut body = format!("Action={operation}&Version=1");
        for (name, value) in &parameters {
            let escaped = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            body.push_str(&format!("&{name}={escaped}"));
        }
        let request = wire.signed(service, wire.0.clock().now()).body(Bytes::from(body.clone())).unwrap();
        let (status, answer) = wire.send(request);
        match status {
            200 => drop(accepted.insert(operation.as_str())),
            400..500 if answer.contains("<Code>") => drop(met.insert(operation.as_str())),
            _ => panic!("{body}: {status} {answer}"),
        }
        wire.pass(if dice.between(0, 50) == 0 { 60 } else { 0 });
    }
    assert!(accepted.len() >= 20 && met.len() >= 20, "chance gets past the checks often enough: {accepted:?} {met:?}");
}

#[test]
fn odd_forms_and_headers_never_crash() {
    let wire = Wire::new();
    for form in [
        "",
        "&&&=",
        "Action=",
        "Action=DescribeInstances&Filter.1.Name=&Filter.1.Value.1=%FF",
        "Action=DescribeInstances&Filter.99999999999.Name=x",
        "Action=DescribeInstances&Filter=1",
        "Action=DescribeInstances&InstanceId.1=%F0%9F%A6%80",
        "Action=CreateTags&ResourceId.1=&Tag.1.Key=&Tag.1.Value=",
        "Action=DescribeTags&NextToken=%00&MaxResults=5",
        "Action=DescribeInstances&MaxResults=-1",
    ] {
        let (status, body) = wire.ec2(form);
        assert!(status == 200 || (status == 400 && body.contains("<Code>")), "{form}: {status} {body}");
    }
    for authorization in ["", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", "Basic Og=="] {
        let request = Request::post("/").header("authorization", authorization).body(Bytes::new()).unwrap();
        assert_eq!(wire.send(request).0, 400, "{authorization}");
    }
    for (date, body) in [("20251124T000000Z", "[1]"), ("20251124T000000Z", "{"), ("yesterday", "{}"), ("", "{}")] {
        let signed = wire.signed("ssm", wire.0.clock().now()).header("x-amz-target", "AmazonSSM.ListCommands");
        let mut request = signed.body(Bytes::from(body)).unwrap();
        request.headers_mut().insert("x-amz-date", date.parse().unwrap());
        assert_eq!(wire.send(request).0, 400, "{date} {body}");
    }
}
