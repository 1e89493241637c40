//! Baselines of one's own: made, changed, refused, and used by the nodes.

use super::*;

/// A rule as the API takes it.
fn rule(filters: &[(&str, &[&str])], days: u16) -> Value {
    let filters: Vec<_> = filters.iter().map(|(key, values)| json!({ "Key": key, "Values": values })).collect();
    json!({ "PatchFilterGroup": { "PatchFilters": filters }, "ApproveAfterDays": days })
}

fn rules(rules: &[Value]) -> Value {
    json!({ "PatchRules": rules })
}

const CRITICAL: &[(&str, &[&str])] = &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical"])];

impl Wire {
    fn create(&self, mut request: Value) -> String {
        if request["Name"].is_null() {
            request["Name"] = "mine".into();
        }
        self.ok("CreatePatchBaseline", request)["BaselineId"].as_str().unwrap().to_owned()
    }

    /// For Amazon Linux 2.
    fn create_al2(&self, mut request: Value) -> String {
        request["OperatingSystem"] = "AMAZON_LINUX_2".into();
        self.create(request)
    }

    fn baseline(&self, id: &str) -> Value {
        self.ok("GetPatchBaseline", json!({ "BaselineId": id }))
    }

    fn states(&self, id: &str) -> std::collections::BTreeMap<String, String> {
        let patches = self.ok("DescribeInstancePatches", json!({ "InstanceId": id, "MaxResults": 100 }));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        patches["Patches"].as_array().unwrap().iter().map(|p| (text(&p["KBId"]), text(&p["State"]))).collect()
    }

    fn scan(&self, id: &str) {
        self.run(&[id.to_owned()], json!({ "Operation": ["Scan"] }));
        self.pass(60);
    }
}

#[test]
fn what_was_not_said_is_filled_in() {
    // The recorded GetPatchBaseline, less its own values; S 4.1.6, 4.1.10.
    let wire = Wire::new();
    let patch_rules = rules(&[rule(&[("PRODUCT", &["WindowsServer2016"])], 0)]);
    let id = wire.create(json!({ "Name": "WindowsPatching", "ApprovalRules": patch_rules }));
    assert!(id.len() == 20 && id.starts_with("pb-"), "{id}: S 4.1.1");
    let now = wire.0.clock().now().as_second();
    let expected = json!({
        "BaselineId": id,
        "Name": "WindowsPatching",
        "OperatingSystem": "WINDOWS",
        "GlobalFilters": { "PatchFilters": [] },
        "ApprovalRules": { "PatchRules": [{
            "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRODUCT", "Values": ["WindowsServer2016"] }] },
            "ComplianceLevel": "UNSPECIFIED",
            "ApproveAfterDays": 0,
            "EnableNonSecurity": false,
        }] },
        "ApprovedPatches": [],
        "ApprovedPatchesComplianceLevel": "UNSPECIFIED",
        "ApprovedPatchesEnableNonSecurity": false,
        "RejectedPatches": [],
        "RejectedPatchesAction": "ALLOW_AS_DEPENDENCY",
        "PatchGroups": [],
        "CreatedDate": now,
        "ModifiedDate": now,
        "Sources": [],
    });
    assert_eq!(wire.baseline(&id), expected);
    let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:patchbaseline/{id}");
    assert_eq!(wire.baseline(&arn), expected, "an ARN is taken, too (S 4.1.1)");
    let foreign = format!("arn:aws:ssm:{REGION}:444455556666:patchbaseline/{id}");
    assert_eq!(wire.error("GetPatchBaseline", json!({ "BaselineId": foreign })), "DoesNotExistException");
    let malformed = json!({ "BaselineId": "pb-0123456789ABCDEF0" });
    assert_eq!(wire.error("GetPatchBaseline", malformed), "InvalidResourceId", "S 4.6.3");
}

#[test]
fn every_recorded_request_is_accepted() {
    // aws-cli, create-patch-baseline, and the user guide on Windows applications.
    let wire = Wire::new();
    let severe = &[("MSRC_SEVERITY", &["Critical", "Important", "Moderate"][..])];
    let classes = &["SecurityUpdates", "Updates", "UpdateRollups", "CriticalUpdates"][..];
    let windows = [severe[0], ("CLASSIFICATION", classes)];
    let mut until = rule(&windows, 0);
    until.as_object_mut().unwrap().remove("ApproveAfterDays");
    until["ApproveUntilDate"] = "2020-07-07".into();
    let linux = [
        ("SEVERITY", &["Important", "Critical"][..]),
        ("CLASSIFICATION", &["Security", "Bugfix"]),
        ("PRODUCT", &["AmazonLinux2017.09"]),
    ];
    let office = [("PRODUCT", &["Office 2016"][..]), ("PATCH_SET", &["APPLICATION"])];
    let directory = [
        ("PRODUCT_FAMILY", &["Active Directory"][..]),
        ("PRODUCT", &["Active Directory Rights Management Services Client 2.0"]),
        ("PATCH_SET", &["APPLICATION"]),
    ];
    for request in [
        json!({ "OperatingSystem": "WINDOWS", "ApprovalRules": rules(&[rule(&windows, 7)]) }),
        json!({ "OperatingSystem": "WINDOWS", "ApprovalRules": rules(&[until]) }),
        json!({
            "OperatingSystem": "AMAZON_LINUX",
            "Tags": [{ "Key": "Environment", "Value": "Production" }],
            "ApprovalRules": rules(&[rule(&linux, 7)]),
            "Sources": [{
                "Name": "My-AL2017.09",
                "Products": ["AmazonLinux2017.09"],
                "Configuration": "[amzn-main] \nname=amzn-main-Base",
            }],
        }),
        json!({
            "OperatingSystem": "AMAZON_LINUX",
            "ApprovedPatches": ["CVE-2018-1234567,example-pkg-EE-2018*.amzn1.noarch"],
            "ApprovedPatchesComplianceLevel": "HIGH",
            "ApprovedPatchesEnableNonSecurity": true,
        }),
        json!({ "ApprovalRules": rules(&[rule(&office, 5)]) }),
        json!({ "ApprovalRules": rules(&[rule(&directory, 5)]) }),
    ] {
        let id = wire.create(request.clone());
        let baseline = wire.baseline(&id);
        for (member, value) in request.as_object().unwrap() {
            match (member.as_str(), value) {
                ("Tags", tags) => {
                    let request = json!({ "ResourceType": "PatchBaseline", "ResourceId": id });
                    assert_eq!(wire.ok("ListTagsForResource", request)["TagList"], *tags);
                }
                ("ApprovalRules", _) => {
                    let (said, kept) = (&value["PatchRules"][0], &baseline[member]["PatchRules"][0]);
                    for member in ["PatchFilterGroup", "ApproveAfterDays", "ApproveUntilDate"] {
                        assert_eq!(said[member], kept[member]);
                    }
                }
                _ => assert_eq!(baseline[member], *value, "{member}"),
            }
        }
    }
}

#[test]
fn what_the_service_would_refuse_is_refused_with_a_reason() {
    // S 4.3.1–2, 4.4.1; the words about values are recorded (S 4.3.2).
    let wire = Wire::new();
    let create = |system: &str, rule: Value| {
        let request = json!({ "Name": "mine", "OperatingSystem": system, "ApprovalRules": rules(&[rule]) });
        let (status, answer) = wire.ssm("CreatePatchBaseline", &request);
        assert_eq!(status, 400, "{request}");
        assert_eq!(answer["__type"], "ValidationException", "{answer}");
        answer["message"].as_str().unwrap().to_owned()
    };
    let error = create("AMAZON_LINUX", rule(&[("PRODUCT", &["All"])], 7));
    let expected = "Invalid Filter Value: All for Key: PRODUCT, valid values are: AmazonLinux2012.03, ";
    assert!(error.starts_with(expected), "{error}");
    for (system, key) in [
        ("AMAZON_LINUX_2", "MSRC_SEVERITY"),
        ("AMAZON_LINUX_2", "SECTION"),
        ("WINDOWS", "SEVERITY"),
        ("UBUNTU", "CLASSIFICATION"),
        ("MACOS", "SEVERITY"),
    ] {
        let error = create(system, rule(&[(key, &["*"])], 7));
        assert!(error.contains(key) && error.contains("valid keys are"), "{system} {key}: {error}");
    }
    let mut dates = rule(CRITICAL, 7);
    dates["ApproveUntilDate"] = "2025-11-30".into();
    assert!(create("AMAZON_LINUX_2", dates.clone()).contains("Exactly one"), "both");
    dates.as_object_mut().unwrap().remove("ApproveAfterDays");
    dates["ApproveUntilDate"] = "2025-11-31".into();
    assert!(create("AMAZON_LINUX_2", dates.clone()).contains("ApproveUntilDate"));
    dates.as_object_mut().unwrap().remove("ApproveUntilDate");
    assert!(create("AMAZON_LINUX_2", dates).contains("Exactly one"), "neither");
    create("AMAZON_LINUX_2", rule(CRITICAL, 361));
    create("AMAZON_LINUX_2", rule(&[("CLASSIFICATION", &[])], 7));
    let five = [("CLASSIFICATION", &["*"][..]); 5];
    create("AMAZON_LINUX_2", rule(&five, 7));
    let spaced = json!({ "Name": "my baseline" });
    assert_eq!(wire.error("CreatePatchBaseline", spaced), "ValidationException", "S 4.1.5");
    let reserved = json!({ "Name": "mine", "Tags": [{ "Key": "aws:x", "Value": "" }] });
    assert_eq!(wire.error("CreatePatchBaseline", reserved), "ValidationException");
    let own = json!({ "Filters": [{ "Key": "OWNER", "Values": ["Self"] }] });
    assert_eq!(wire.ok("DescribePatchBaselines", own)["BaselineIdentities"], json!([]));
}

#[test]
fn a_client_token_creates_once_and_is_not_for_something_else() {
    // S 3.1.9; the limit: S 3.2.
    let wire = Wire::new();
    let request = json!({ "Name": "mine", "ClientToken": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    let id = wire.create(request.clone());
    assert_eq!(wire.create(request.clone()), id);
    let mut other = request;
    other["Name"] = "yours".into();
    assert_eq!(wire.error("CreatePatchBaseline", other), "IdempotentParameterMismatch");
    for _ in 1..50 {
        wire.create(json!({}));
    }
    assert_eq!(wire.error("CreatePatchBaseline", json!({ "Name": "mine" })), "ResourceLimitExceededException");
    wire.ok("DeletePatchBaseline", json!({ "BaselineId": id }));
    wire.create(json!({}));
}

#[test]
fn an_update_keeps_what_it_does_not_name_unless_it_replaces() {
    // The recorded UpdatePatchBaseline; S 4.6.1–3.
    let wire = Wire::new();
    let critical = rules(&[rule(&[("PRODUCT", &["WindowsServer2016"])], 0)]);
    let id = wire.create(json!({ "Description": "Patches for Windows Servers", "ApprovalRules": critical }));
    let before = wire.baseline(&id);
    wire.pass(60);
    let lists = json!({
        "BaselineId": id, "ApprovedPatches": ["KB2124261"], "RejectedPatches": ["KB2032276", "MS10-048"],
    });
    let answer = wire.ok("UpdatePatchBaseline", lists);
    assert!(answer.get("PatchGroups").is_none());
    let mut expected = before.clone();
    expected["ApprovedPatches"] = json!(["KB2124261"]);
    expected["RejectedPatches"] = json!(["KB2032276", "MS10-048"]);
    expected["ModifiedDate"] = (before["CreatedDate"].as_i64().unwrap() + 60).into();
    assert_eq!(wire.baseline(&id), expected);
    let replace = json!({ "BaselineId": id, "Replace": true, "Name": "renamed" });
    wire.ok("UpdatePatchBaseline", replace);
    let replaced = wire.baseline(&id);
    assert!(replaced.get("Description").is_none());
    assert_eq!((&replaced["Name"], &replaced["ApprovalRules"]), (&json!("renamed"), &rules(&[])));
    assert_eq!((&replaced["ApprovedPatches"], &replaced["CreatedDate"]), (&json!([]), &before["CreatedDate"]));
    let nameless = json!({ "BaselineId": id, "Replace": true });
    assert_eq!(wire.error("UpdatePatchBaseline", nameless), "ValidationException");
    for unknown in ["pb-00000000000000000", AL2_BASELINE, "pb-0be8c61cde3be63f3"] {
        let rename = json!({ "BaselineId": unknown, "Name": "renamed" });
        assert_eq!(wire.error("UpdatePatchBaseline", rename), "DoesNotExistException", "{unknown}");
    }
}

#[test]
fn what_is_in_use_cannot_be_deleted() {
    // S 4.6.4–8; the words about groups are recorded.
    let wire = Wire::new();
    let id = wire.create_al2(json!({}));
    let pair = json!({ "BaselineId": id, "PatchGroup": "web" });
    wire.ok("RegisterPatchBaselineForPatchGroup", pair.clone());
    let delete = json!({ "BaselineId": id });
    let (_, answer) = wire.ssm("DeletePatchBaseline", &delete);
    assert_eq!(answer["__type"], "ResourceInUseException");
    assert_eq!(answer["Message"], "PatchBaseline to be deleted is used for Patch Group: web");
    wire.ok("DeregisterPatchBaselineForPatchGroup", pair);
    assert_eq!(wire.ok("RegisterDefaultPatchBaseline", delete.clone()), delete);
    assert_eq!(wire.error("DeletePatchBaseline", delete.clone()), "ResourceInUseException");
    let linux = json!({ "OperatingSystem": "AMAZON_LINUX_2" });
    assert_eq!(wire.ok("GetDefaultPatchBaseline", linux.clone())["BaselineId"], id);
    let filters = json!([{ "Key": "OPERATING_SYSTEM", "Values": ["AMAZON_LINUX_2"] }]);
    let rows = wire.ok("DescribePatchBaselines", json!({ "Filters": filters }))["BaselineIdentities"].clone();
    let of_row = |row: &Value| (row["BaselineId"].as_str().unwrap().to_owned(), row["DefaultBaseline"] == true);
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(of_row).collect();
    assert_eq!(rows, [(AL2_BASELINE.to_owned(), false), (id.clone(), true)]);
    let back = wire.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": AL2_BASELINE }));
    assert_eq!(back["BaselineId"], "pb-0be8c61cde3be63f3", "the bare id, as recorded");
    assert_eq!(wire.ok("GetDefaultPatchBaseline", linux)["BaselineId"], AL2_BASELINE);
    assert_eq!(wire.ok("DeletePatchBaseline", delete.clone()), delete);
    assert_eq!(wire.ok("DeletePatchBaseline", delete.clone()), delete, "an unknown one counts as deleted");
    assert_eq!(wire.error("GetPatchBaseline", delete), "DoesNotExistException");
    assert_eq!(wire.error("DeletePatchBaseline", json!({ "BaselineId": AL2_BASELINE })), "DoesNotExistException");
}

#[test]
fn own_baselines_are_tagged_and_found_by_their_name() {
    // S 4.6.10, 11.1.
    let wire = Wire::new();
    let id = wire.create_al2(json!({ "Name": "web-baseline" }));
    let tagged = |tags: Value| json!({ "ResourceType": "PatchBaseline", "ResourceId": id, "Tags": tags });
    wire.ok("AddTagsToResource", tagged(json!([{ "Key": "team", "Value": "a" }, { "Key": "env", "Value": "x" }])));
    wire.ok("AddTagsToResource", tagged(json!([{ "Key": "team", "Value": "b" }])));
    let remove = json!({ "ResourceType": "PatchBaseline", "ResourceId": id, "TagKeys": ["env", "nothing"] });
    wire.ok("RemoveTagsFromResource", remove);
    let list = |id: &str| {
        wire.ok("ListTagsForResource", json!({ "ResourceType": "PatchBaseline", "ResourceId": id }))["TagList"].clone()
    };
    assert_eq!(list(&id), json!([{ "Key": "team", "Value": "b" }]));
    assert_eq!(list(AL2_BASELINE), json!([]));
    let too_many: Vec<_> = (0..50).map(|n| json!({ "Key": format!("k{n}"), "Value": "" })).collect();
    assert_eq!(wire.error("AddTagsToResource", tagged(json!(too_many))), "TooManyTagsError");
    let foreign = json!({ "ResourceType": "PatchBaseline", "ResourceId": AL2_BASELINE, "Tags": [] });
    assert_eq!(wire.error("AddTagsToResource", foreign), "InvalidResourceId");
    let filters = json!([{ "Key": "NAME_PREFIX", "Values": ["web"] }, { "Key": "OWNER", "Values": ["All"] }]);
    let found = wire.ok("DescribePatchBaselines", json!({ "Filters": filters }))["BaselineIdentities"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["BaselineId"], &found[0]["DefaultBaseline"]), (&json!(id), &json!(false)));
}

#[test]
fn a_node_uses_its_groups_baseline_else_the_accounts_default() {
    // S 5.8, 5.10: evaluated when the operation runs on the node.
    let wire = Wire::new();
    let strict = wire.create_al2(json!({}));
    let lenient = wire.create_al2(json!({ "Name": "lenient" }));
    let id = wire.here().add_nodes(1).in_group("web").missing_patches(3).create().remove(0);
    let used = || {
        wire.scan(&id);
        let state = wire.state(&id);
        (state["BaselineId"].as_str().unwrap().to_owned(), state["MissingCount"].as_u64().unwrap())
    };
    assert_eq!(used(), ("pb-0be8c61cde3be63f3".to_owned(), 3));
    wire.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": lenient }));
    assert_eq!(used(), (lenient.clone(), 0), "no rules, nothing approved");
    let group = json!({ "PatchGroup": "web", "OperatingSystem": "AMAZON_LINUX_2" });
    assert_eq!(wire.ok("GetPatchBaselineForPatchGroup", group.clone())["BaselineId"], lenient);
    wire.ok("RegisterPatchBaselineForPatchGroup", json!({ "BaselineId": strict, "PatchGroup": "web" }));
    assert_eq!(wire.ok("GetPatchBaselineForPatchGroup", group)["BaselineId"], strict);
    assert_eq!(wire.baseline(&strict)["PatchGroups"], json!(["web"]));
    assert_eq!(used().0, strict);
}

#[test]
fn rules_and_lists_decide_what_is_missing_and_how_grave_it_is() {
    // S 4.4.8, 4.5.5–6, 8.2.4.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).missing_updates(&["curl.x86_64", "openssl.x86_64", "bind.x86_64"]).create();
    let id = &id[0];
    let mut all = rule(&[("CLASSIFICATION", &["Security"])], 0);
    all["ComplianceLevel"] = "CRITICAL".into();
    let baseline = wire.create_al2(json!({ "ApprovalRules": rules(&[all.clone()]), "RejectedPatches": ["bind-9*"] }));
    wire.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": baseline }));
    wire.scan(id);
    let states = wire.states(id);
    assert_eq!((states["curl.x86_64"].as_str(), states["openssl.x86_64"].as_str()), ("Missing", "Missing"));
    assert_eq!(states["bind.x86_64"], "InstalledOther", "the old build is there, and rejected as a dependency only");
    let state = wire.state(id);
    assert_eq!(state["CriticalNonCompliantCount"], state["MissingCount"], "the rule makes them critical");
    // Nothing but what the list names, although the global filters admit nothing.
    let listed = json!({
        "BaselineId": baseline, "Replace": true, "Name": "listed", "ApprovedPatches": ["curl-*"],
        "ApprovedPatchesComplianceLevel": "HIGH",
        "GlobalFilters": { "PatchFilters": [{ "Key": "SEVERITY", "Values": ["Low"] }] },
        "ApprovalRules": rules(&[all]),
    });
    wire.ok("UpdatePatchBaseline", listed);
    wire.scan(id);
    let missing: Vec<_> = wire.states(id).into_iter().filter(|(_, state)| state == "Missing").collect();
    assert_eq!(missing, [("curl.x86_64".to_owned(), "Missing".to_owned())]);
    assert_eq!(wire.state(id)["CriticalNonCompliantCount"], 0);
}

#[test]
fn a_blocked_update_and_what_needs_it_are_not_installed() {
    // S 4.5.7–9: missing on Scan, failed on Install; an installed one is InstalledRejected.
    for action in ["BLOCK", "ALLOW_AS_DEPENDENCY"] {
        let wire = Wire::new();
        let missing = ["curl.x86_64", "libcurl.x86_64"];
        let id = wire.here().add_nodes(1).missing_updates(&missing).create().remove(0);
        let baseline = wire.create_al2(json!({
            "ApprovalRules": rules(&[rule(&[("CLASSIFICATION", &["*"])], 0)]),
            "RejectedPatches": ["libcurl-*"], "RejectedPatchesAction": action,
        }));
        wire.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": baseline }));
        wire.scan(&id);
        assert_eq!(wire.states(&id)["curl.x86_64"], "Missing", "{action}");
        wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Install"] }));
        wire.pass(900);
        let (states, state) = (wire.states(&id), wire.state(&id));
        let (curl, library, rejected) = match action {
            "BLOCK" => ("Failed", "InstalledRejected", 1),
            _ => ("Installed", "InstalledOther", 0),
        };
        assert_eq!((states["curl.x86_64"].as_str(), states["libcurl.x86_64"].as_str()), (curl, library));
        assert_eq!(state["InstalledRejectedCount"], rejected);
    }
}

#[test]
fn unapproved_security_updates_of_windows_count_as_the_baseline_says() {
    // S 8.2.5.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).windows_2019().missing_patches(3).create().remove(0);
    for (status, expected) in [("COMPLIANT", false), ("NON_COMPLIANT", true)] {
        let baseline = wire.create(json!({ "AvailableSecurityUpdatesComplianceStatus": status }));
        assert_eq!(wire.baseline(&baseline)["AvailableSecurityUpdatesComplianceStatus"], status);
        wire.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": baseline }));
        wire.scan(&id);
        let state = wire.state(&id);
        let available = state["AvailableSecurityUpdateCount"].as_u64().unwrap();
        assert!(available >= 3, "{state}");
        assert_eq!(state["SecurityNonCompliantCount"], if expected { available } else { 0 });
    }
}

#[test]
fn the_properties_of_a_system_are_listed_as_maps_of_one_entry() {
    // S 4.8.5, the table of S 4.3.4.
    let wire = Wire::new();
    let list = |request: Value| wire.ok("DescribePatchProperties", request)["Properties"].clone();
    let products = list(json!({ "OperatingSystem": "AMAZON_LINUX", "Property": "PRODUCT" }));
    assert!(products.as_array().unwrap().contains(&json!({ "Name": "AmazonLinux2018.03" })), "{products}");
    let severities = list(json!({ "OperatingSystem": "SUSE", "Property": "SEVERITY" }));
    assert_eq!(severities, json!(["Critical", "Important", "Moderate", "Low"].map(|name| json!({ "Name": name }))));
    let families = json!({ "OperatingSystem": "WINDOWS", "Property": "PRODUCT_FAMILY", "PatchSet": "APPLICATION" });
    assert!(list(families).as_array().unwrap().contains(&json!({ "Name": "Office" })));
    let none = json!({ "OperatingSystem": "UBUNTU", "Property": "CLASSIFICATION" });
    assert_eq!(wire.error("DescribePatchProperties", none), "ValidationException");
}
