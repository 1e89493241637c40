//! What the service tells of patches that are out, and of what nodes lack of them.

use super::*;

fn filters(filters: &[(&str, &[&str])]) -> Value {
    filters.iter().map(|(key, values)| json!({ "Key": key, "Values": values })).collect()
}

impl Wire {
    fn available(&self, wanted: &[(&str, &[&str])]) -> Vec<Value> {
        let request = json!({ "Filters": filters(wanted), "MaxResults": 100 });
        self.ok("DescribeAvailablePatches", request)["Patches"].as_array().unwrap().clone()
    }

    fn items(&self, id: &str, wanted: &Value) -> Vec<Value> {
        let request = json!({ "ResourceIds": [id], "ResourceTypes": ["ManagedInstance"], "Filters": wanted });
        self.ok("ListComplianceItems", request)["ComplianceItems"].as_array().unwrap().clone()
    }
}

#[test]
fn windows_updates_are_shown_as_recorded() {
    // The recorded DescribeAvailablePatches.
    let wire = Wire::new();
    let critical = wire.available(&[("PRODUCT", &["WindowsServer2019"]), ("MSRC_SEVERITY", &["Critical"])]);
    let patch = critical.iter().find(|patch| patch["KbNumber"] == "KB4470788").unwrap();
    let expected = json!({
        "Id": "fe6bd8c2-3752-4c8b-ab3e-1a7ed08767ba",
        "ReleaseDate": 1_544_047_205,
        "Title": "2018-11 Update for Windows Server 2019 for x64-based Systems (KB4470788)",
        "Description": "Install this update to resolve issues in Windows. For a complete listing of the issues that \
                        are included in this update, see the associated Microsoft Knowledge Base article for more \
                        information. After you install this item, you may have to restart your computer.",
        "ContentUrl": "https://support.microsoft.com/en-us/kb/4470788",
        "Vendor": "Microsoft",
        "ProductFamily": "Windows",
        "Product": "WindowsServer2019",
        "Classification": "SecurityUpdates",
        "MsrcSeverity": "Critical",
        "KbNumber": "KB4470788",
        "MsrcNumber": "",
        "Language": "All",
    });
    assert_eq!(*patch, expected);
    assert!(critical.iter().all(|patch| patch["MsrcSeverity"] == "Critical"));
    assert_eq!(wire.available(&[("PATCH_ID", &["KB4487038"])]).len(), 1);
}

#[test]
fn of_linux_only_amazons_older_ones_are_shown_and_a_product_must_be_named() {
    // S 4.8.1–3.
    let wire = Wire::new();
    let curl = wire.available(&[("PRODUCT", &["AmazonLinux2"]), ("NAME", &["curl"])]);
    assert!(!curl.is_empty() && curl.iter().all(|p| p["Name"] == "curl" && p["Epoch"] == 0), "{curl:?}");
    assert!(curl.iter().all(|patch| patch["ReleaseDate"].is_null()), "Linux patches carry no date");
    let cves = curl[0]["CVEIds"].as_array().unwrap();
    let by_cve = wire.available(&[("PRODUCT", &["AmazonLinux2"]), ("CVE_ID", &[cves[0].as_str().unwrap()])]);
    assert!(by_cve.len() > 1 && by_cve.iter().any(|patch| patch["Name"] == "curl"));
    for bad in [&[("CVE_ID", &["CVE-2023-38545"][..])][..], &[("PRODUCT", &["AmazonLinux2"]), ("PATCH_ID", &["KB1"])]] {
        let request = json!({ "Filters": filters(bad) });
        assert_eq!(wire.error("DescribeAvailablePatches", request), "ValidationException");
    }
    assert_eq!(wire.available(&[("PRODUCT", &["AmazonLinux2023"])]), [] as [Value; 0]);
    let first = wire.ok("DescribeAvailablePatches", json!({ "MaxResults": 3 }));
    let next = wire.ok("DescribeAvailablePatches", json!({ "MaxResults": 3, "NextToken": first["NextToken"] }));
    assert_eq!(first["Patches"].as_array().unwrap().len(), 3);
    assert_ne!(first["Patches"], next["Patches"]);
}

#[test]
fn a_windows_baseline_tells_what_it_approves_and_when() {
    // S 4.8.4, 4.4.2; the replaced update is gone (S 4.4.6): on 24 November the October update would be approved.
    let wire = Wire::new();
    let rule = json!({
        "PatchFilterGroup": { "PatchFilters": filters(&[("CLASSIFICATION", &["SecurityUpdates"])]) },
        "ApproveAfterDays": 20, "ComplianceLevel": "HIGH",
    });
    let request = json!({
        "Name": "windows", "ApprovalRules": { "PatchRules": [rule] },
        "ApprovedPatches": ["KB4589208"], "RejectedPatches": ["KB4487038"],
    });
    let id = wire.ok("CreatePatchBaseline", request)["BaselineId"].clone();
    let answer = wire.ok("DescribeEffectivePatchesForPatchBaseline", json!({ "BaselineId": id }));
    let rows = answer["EffectivePatches"].as_array().unwrap();
    let of = |kb: &str| rows.iter().find(|row| row["Patch"]["KbNumber"] == kb).map(|row| row["PatchStatus"].clone());
    let approved = of("KB4470788").unwrap();
    let expected = json!({
        "DeploymentStatus": "APPROVED", "ComplianceLevel": "HIGH", "ApprovalDate": 1_544_047_205 + 20 * 86_400,
    });
    assert_eq!(approved, expected);
    let pending = of("KB9900002").unwrap();
    let from: Timestamp = "2025-12-01T18:00:00Z".parse().unwrap();
    assert_eq!(pending["DeploymentStatus"], "PENDING_APPROVAL");
    assert_eq!((&pending["ApprovalDate"], &pending["ComplianceLevel"]), (&json!(from.as_second()), &json!("HIGH")));
    assert!(of("KB9900001").is_none());
    assert_eq!(of("KB4589208").unwrap()["DeploymentStatus"], "EXPLICIT_APPROVED");
    assert_eq!(of("KB4487038").unwrap()["DeploymentStatus"], "EXPLICIT_REJECTED");
    let linux = json!({ "BaselineId": AL2_BASELINE });
    assert_eq!(wire.error("DescribeEffectivePatchesForPatchBaseline", linux), "UnsupportedOperatingSystem");
}

#[test]
fn compliance_items_name_the_command_that_found_them() {
    // S 8.3.1–2, 8.3.5–7.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).in_group("web").missing_patches(2).create();
    assert_eq!(wire.items(&ids[0], &json!([])), [] as [Value; 0]);
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    let bad =
        json!([{ "Key": "Status", "Values": ["NON_COMPLIANT"] }, { "Key": "ComplianceType", "Values": ["Patch"] }]);
    let items = wire.items(&ids[0], &bad);
    assert_eq!(items.len(), 2);
    for item in &items {
        assert_eq!((&item["ResourceId"], &item["Severity"]), (&json!(ids[0]), &json!("UNSPECIFIED")));
        let (run, details) = (&item["ExecutionSummary"], &item["Details"]);
        assert_eq!((&run["ExecutionId"], &run["ExecutionType"]), (&json!(command), &json!("Command")));
        assert_eq!((&details["PatchState"], &details["PatchGroup"]), (&json!("Missing"), &json!("web")));
        assert_eq!(details["PatchBaselineId"], "pb-0be8c61cde3be63f3");
    }
    let all = wire.items(&ids[0], &json!([])).len();
    let good = json!([{ "Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "NOT_EQUAL" }]);
    assert_eq!(wire.items(&ids[0], &good).len(), all - 2);
    let of_command = json!([{ "Key": "ExecutionId", "Values": [command], "Type": "EQUAL" }]);
    assert_eq!(wire.items(&ids[0], &of_command).len(), all);
    let resource = json!({ "ResourceIds": ids, "ResourceTypes": ["Weather"] });
    assert_eq!(wire.error("ListComplianceItems", resource), "InvalidResourceType");
    let filter = json!({ "ResourceIds": ids, "Filters": [{ "Key": "Weather", "Values": ["rain"] }] });
    assert_eq!(wire.error("ListComplianceItems", filter), "InvalidFilter");
}

#[test]
fn summaries_count_patches_for_a_node_and_nodes_for_a_type() {
    // S 8.3.3–5; the members as recorded.
    let wire = Wire::new();
    wire.here().add_nodes(2).in_group("db").already_scanned().create();
    let bad = wire.here().add_nodes(1).missing_patches(3).already_scanned().create();
    wire.here().add_nodes(1).create();
    let rows = wire.ok("ListResourceComplianceSummaries", json!({}))["ResourceComplianceSummaryItems"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    let row = rows.as_array().unwrap().iter().find(|row| row["ResourceId"] == bad[0].as_str()).unwrap();
    assert_eq!((&row["Status"], &row["OverallSeverity"]), (&json!("NON_COMPLIANT"), &json!("UNSPECIFIED")));
    let severities = json!({
        "CriticalCount": 0, "HighCount": 0, "MediumCount": 0, "LowCount": 0, "InformationalCount": 0,
        "UnspecifiedCount": 3,
    });
    assert_eq!(row["NonCompliantSummary"], json!({ "NonCompliantCount": 3, "SeveritySummary": severities }));
    let total = wire.ok("ListComplianceSummaries", json!({}))["ComplianceSummaryItems"][0].clone();
    assert_eq!(total["CompliantSummary"]["CompliantCount"], 2);
    assert_eq!(total["NonCompliantSummary"]["SeveritySummary"]["UnspecifiedCount"], 1);
    let group = json!({ "Filters": [{ "Key": "PatchGroup", "Values": ["db"] }] });
    let of_group = wire.ok("ListResourceComplianceSummaries", group)["ResourceComplianceSummaryItems"].clone();
    assert_eq!(of_group.as_array().unwrap().len(), 2);
}
