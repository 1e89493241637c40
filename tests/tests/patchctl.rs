//! The command line as people and scripts meet it: the built `patchctl` against a whole server with a simulated account.

use patchplane_client::api::patch_operation::State;
use patchplane_tests::{
    ACCOUNT, PARENT, REGION, World, scan,
    shell::{AMAZON_LINUX_2, User},
};
use serde_json::Value;
use std::process::{Command, Stdio};

// === answers ===

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_a_table_for_people_and_the_same_messages_as_json_and_yaml() {
    let (user, nodes) = User::with_web().await;
    let table = user.gets(&["instances"]).await;
    assert!(table.starts_with("Instance "), "{table}");
    assert!(nodes.iter().all(|node| table.contains(node)), "{table}");
    assert!(table.lines().all(|line| line == line.trim_end()), "{table:?}");

    let json = user.json(&["instances", "-o", "json"]).await;
    let ids: Vec<_> = json["instances"].as_array().unwrap().iter().map(|i| i["instanceId"].as_str().unwrap()).collect();
    assert_eq!(ids, nodes);
    assert_eq!(json["instances"][0]["patchGroup"], "web");
    assert_eq!(json["unreachable"], serde_json::json!([]), "fields with default values are there too");

    let yaml = user.gets(&["instances", "-o", "yaml"]).await;
    assert!(yaml.starts_with("instances:\n- name: "), "{yaml}");
    assert!(yaml.contains(&format!("  instanceId: {}\n", nodes[0])) && yaml.contains("unreachable: []\n"), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_no_colour_and_no_cut_lines_unless_colour_is_demanded() {
    let (user, _) = User::with_web().await;
    let coloured = |text: &str| text.contains('\u{1b}');
    let plain = user.gets(&["instances"]).await;
    assert!(!coloured(&plain));
    assert!(coloured(&user.gets(&["instances", "--color", "always"]).await));

    // A narrow terminal's habits have no say in a pipe, and NO_COLOR none over an explicit wish.
    let mut narrow = user.command(&["instances"]);
    narrow.env("COLUMNS", "20").env("NO_COLOR", "1");
    assert_eq!(user.lets(narrow).await.stdout, plain);
    for (variables, flag, expected) in [
        (&[("FORCE_COLOR", "1")][..], "auto", true),
        (&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")][..], "never", false),
        (&[("NO_COLOR", "1")][..], "always", true),
    ] {
        let mut command = user.command(&["instances", "--color", flag]);
        command.envs(variables.iter().copied());
        assert_eq!(coloured(&user.lets(command).await.stdout), expected, "{variables:?} --color {flag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_in_the_zone_asked_for_with_utc_beside_them() {
    let (user, _) = User::with_web().await;
    let operation = user.world.run(scan("web")).await;
    // The simulated day begins at 00:00 UTC, which is 09:00 in Tokyo.
    let list = user.gets(&["operations", "--tz", "Asia/Tokyo"]).await;
    assert!(list.contains("Created (Asia/Tokyo)") && list.contains("2025-11-24 09:0"), "{list}");
    let one = user.gets(&["operations", "get", &operation.name, "--tz", "Asia/Tokyo"]).await;
    assert!(one.contains("2025-11-24 09:00:00 Asia/Tokyo (00:00:00 UTC)"), "{one}");
    let local = user.gets(&["operations"]).await;
    assert!(local.contains("Created (UTC)") && local.contains("2025-11-24 00:0"), "{local}");
    let wrong = user.runs(&["operations", "--tz", "Asia/Tokio"]).await;
    wrong.refused(2, &["\"Asia/Tokio\" is no time zone; did you mean \"Asia/Tokyo\"?", "next:"]);
}

// === changes ===

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_as_a_difference_and_changes_nothing() {
    let world = World::start().await;
    let ready = world.account().add_nodes(1).in_group("db").create().remove(0);
    let plain = world.account().add_nodes(1).create().remove(0);
    let user = User::new(world).await;
    let before = user.world.fingerprint();
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let attach = user.gets(&["groups", "attach", "web", AMAZON_LINUX_2, "--validate-only"]).await;
    let expected = format!("+ patchGroups/web baselines[AMAZON_LINUX_2]: {AMAZON_LINUX_2} ssm:Register");
    assert!(squeezed(&attach).starts_with(&expected), "{attach}");
    let add = user.gets(&["groups", "add", "web", &ready, &plain, "--move", "--validate-only"]).await;
    let add = squeezed(&add);
    assert!(add.contains(&format!("~ instances/{ready} tags[Patch Group]: db → web ec2:CreateTags")), "{add}");
    assert!(add.contains(&format!("+ instances/{plain} tags[Patch Group]: web ec2:CreateTags")), "{add}");
    let scan = user.gets(&["scan", "--group", "db", "--validate-only"]).await;
    assert!(squeezed(&scan).contains(&format!("> instances/{ready} Scan ssm:SendCommand")), "{scan}");
    assert_eq!(user.world.fingerprint(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_wants_consent_and_the_plan_that_was_seen() {
    let (user, nodes) = User::with_web().await;
    let before = user.world.fingerprint();
    let install = ["install", "--group", "web", "--reboot", "if-needed"];
    user.runs(&install).await.refused(2, &["consent", "next:  look with --validate-only, then add --yes"]);
    let planned = user.json(&[&install[..], &["--validate-only", "-o", "json"]].concat()).await;
    let fingerprint = planned["plan"]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(user.world.fingerprint(), before, "neither of them did anything");

    let stopped = user.world.account().add_nodes(1).in_group("web").create().remove(0);
    let with_plan = [&install[..], &["--yes", "--expected-plan", &fingerprint]].concat();
    user.runs(&with_plan).await.refused(3, &["PLAN_CHANGED"]);
    assert_eq!(user.world.account().installs(&stopped), 0);

    let done = user.runs(&[&install[..], &["--yes"]].concat()).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("SUCCEEDED") && done.stderr.contains("RUNNING: "), "{done:?}");
    assert!(!done.stderr.contains('\u{1b}'), "lines, not a bar: {done:?}");
    for node in nodes {
        assert_eq!((user.world.account().installs(&node), user.world.account().missing(&node)), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_with_the_operation_or_with_ctrl_c_which_leaves_it_running() {
    let (user, _) = User::with_web().await;
    let operation = user.world.create(scan("web")).await;
    // The clock stands still, so that it cannot end before the signal.
    user.world.settle().await;
    let mut watch = user.command(&["operations", "get", &operation.name, "--watch"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        // Once there is progress, the watch has begun, and with it the wait for Ctrl-C.
        let mut told = vec![0; 8];
        stderr.read_exact(&mut told).unwrap();
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let code = child.wait().unwrap().code();
        stderr.read_to_end(&mut told).unwrap();
        (code, String::from_utf8(told).unwrap())
    });
    let (code, told) = ended.await.unwrap();
    assert_eq!(code, Some(130), "{told}");
    assert!(
        told.contains("goes on") && told.contains(&format!("`patchctl operations watch {}`", operation.name)),
        "{told}"
    );
    assert_eq!(user.world.finish(&operation.name).await.state(), State::Succeeded);

    let lines = user.gets(&["operations", "watch", &operation.name, "-o", "json"]).await;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["snapshot"]["patchOperation"]["state"], "STATE_SUCCEEDED", "{lines}");
    let list = user.gets(&["operations", "--watch"]).await;
    assert!(list.contains("SUCCEEDED"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_goes_through_all_its_steps_and_patches_the_instances() {
    let user = User::new(World::showcase().await).await;
    user.runs(&["walk"]).await.refused(2, &["add --yes to run through"]);
    let walk = user.gets(&["walk", "--yes"]).await;
    for step in ["1. ", "2. ", "3. ", "4. ", "5. ", "6. ", "7. ", "8. ", "The history"] {
        assert!(walk.lines().any(|line| line.starts_with(step)), "step {step} is missing: {walk}");
    }
    for command in [
        "readiness",
        "baselines get",
        "baselines preview",
        "baselines clone",
        "groups attach walk",
        "groups add walk",
        "scan --group walk",
        "report",
    ] {
        assert!(walk.contains(&format!("$ patchctl {command}")), "{command} is not told: {walk}");
    }
    // Wrong turns that the fleet holds ready are shown with their names.
    for finding in ["NOT_RUNNING", "NOT_MANAGED", "AGENT_OFFLINE", "TAG_KEY_WRONG"] {
        assert!(walk.contains(finding), "{finding}: {walk}");
    }
    // The copy leaves out what AWS's own approves besides, and says what it cannot know.
    assert!(walk.contains("They differ on 2 patches.") && walk.contains("tells no release dates"), "{walk}");
    let copy = user.json(&["baselines", "get", "walk-after-a-day", "-o", "json"]).await;
    assert_eq!(copy["approvalRules"].as_array().map(Vec::len), Some(1), "{copy}");
    let group = user.json(&["groups", "get", "walk", "-o", "json"]).await;
    assert_eq!(group["baselines"][0]["displayName"], "walk-after-a-day", "{group}");
    // The simulated day is 2025-11-24: 03:00 in Tokyo is 18:00 UTC.
    assert!(walk.contains("2025-11-25 03:00:00 +09:00  2025-11-24 18:00:00"), "{walk}");
    let schedules = user.json(&["schedules", "-o", "json"]).await;
    let schedule = &schedules["patchSchedules"][0];
    assert_eq!(
        (schedule["displayName"].as_str(), schedule["timeZone"].as_str()),
        (Some("walk-nightly"), Some("Asia/Tokyo"))
    );
    let members = user.json(&["instances", "--group", "walk", "-o", "json"]).await;
    let members = members["instances"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    for member in members {
        let id = member["instanceId"].as_str().unwrap();
        assert_eq!((user.world.account().installs(id), user.world.account().missing(id)), (1, 0), "{id}");
    }
}

// === wrong turns ===

#[tokio::test(flavor = "multi_thread")]
async fn wrong_turns_are_told_with_what_to_do_and_an_exit_code() {
    let world = World::start().await;
    let misspelt = world.account().add_nodes(1).tagged("patch group", "web").create().remove(0);
    let stopped = world.account().add_nodes(1).in_group("idle").stopped().create().remove(0);
    world.account().add_nodes(1).in_group("bare").create();
    let user = User::new(world).await;
    let bare = user.runs(&["scan", "--group", "bare"]).await;
    let told =
        "the group `bare` has no baseline for AMAZON_LINUX_2, so that the default applies; `patchctl groups attach`";
    assert!(bare.stderr.contains(told), "{bare:?}");
    user.runs(&["scan", "--group", "web"]).await.refused(
        3,
        &[
            "NO_TARGETS",
            "`patch group` = `web`",
            &misspelt,
            "`patchctl groups findings` lists tags",
            "command that mends it",
        ],
    );
    user.runs(&["scan", "--group", "idle"])
        .await
        .refused(3, &["NOT_RUNNING", "next:  start", &format!("`aws ec2 start-instances --instance-ids {stopped}`")]);
    user.runs(&["baselines", "get", "pb-0123456789abcdef0"]).await.refused(3, &["next:  `patchctl baselines` lists"]);
    let create = ["schedules", "create", "nightly", "--scan", "--group", "bare", "--daily", "03:00", "--yes"];
    user.runs(&create).await.refused(3, &["the time zone is required", "--zone Asia/Tokyo", "say --zone UTC"]);
    let misspelt_zone = [&create[..], &["--zone", "Asia/Tokio"]].concat();
    user.runs(&misspelt_zone).await.refused(3, &["did you mean Asia/Tokyo?", "next:  say --zone Asia/Tokyo"]);
    user.runs(&["operatoins"]).await.refused(2, &["similar subcommand", "'operations'"]);
    let nowhere = user.runs(&["groups", "get", "web", "--region", "-"]).await;
    nowhere.refused(2, &["exactly one location", "--account and --region"]);
    let nobody = user.runs(&["instances", "--server", "http://127.0.0.1:1"]).await;
    nobody.refused(4, &["no patchplane answers at http://127.0.0.1:1", "patchplane serve --simulated"]);
    let unready = user.runs(&["readiness", &stopped]).await;
    assert_eq!(unready.code, 1, "{unready:?}");
    assert!(unready.stdout.contains("NOT_RUNNING"), "{unready:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn baselines_schedules_and_windows_go_by_their_names_and_the_newest_operation_by_last() {
    let (user, nodes) = User::with_web().await;
    user.runs(&["operations", "get", "last"]).await.refused(2, &["no operation", "next:  `patchctl scan"]);
    user.gets(&["baselines", "clone", "AWS-AmazonLinux2DefaultPatchBaseline", "careful"]).await;
    let careful = user.json(&["baselines", "get", "careful", "-o", "json"]).await;
    assert_eq!((careful["displayName"].as_str(), careful["owner"].as_str()), (Some("careful"), Some("OWNER_SELF")));
    let misspelt = user.runs(&["groups", "attach", "web", "carefull", "--replace"]).await;
    misspelt
        .refused(2, &["no baseline is called \"carefull\"; did you mean \"careful\"?", "next:  `patchctl baselines`"]);
    user.gets(&["groups", "attach", "web", "careful", "--replace"]).await;
    // AWS lets two have one name; then an id is wanted.
    user.gets(&["baselines", "clone", "careful", "careful"]).await;
    user.runs(&["baselines", "get", "careful"]).await.refused(2, &["2 baselines are called", "next:  give an id: pb-"]);

    let create =
        ["schedules", "create", "nightly", "--scan", "--group", "web", "--daily", "03:00", "--zone", "UTC", "--yes"];
    user.gets(&create).await;
    user.gets(&["schedules", "pause", "nightly"]).await;
    let schedule = user.json(&["schedules", "get", "nightly", "-o", "json"]).await;
    assert_eq!(schedule["enabled"], false);
    assert!(user.gets(&["windows", "get", "nightly"]).await.contains("nightly"));
    user.runs(&["windows", "get", "nightyl"]).await.refused(2, &["did you mean \"nightly\"?", "`patchctl windows`"]);

    let operation = user.world.run(scan("web")).await;
    let last = user.json(&["operations", "get", "last", "-o", "json"]).await;
    assert_eq!(last["name"], operation.name);
    assert!(user.gets(&["output", "last", &nodes[0]]).await.contains("Scan"));
}

// === without a server ===

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_what_the_command_line_does_not() {
    let (user, nodes) = User::with_web().await;
    let config = format!(
        "[profiles.sim]\nserver = {:?}\naccount = {ACCOUNT:?}\nregion = {REGION:?}\noutput = \"json\"\n\
         [profiles.tokyo]\ntime_zone = \"Asia/Tokyo\"\n",
        user.server
    );
    user.writes_config(&config);
    let bare = |line: &[&str]| {
        let mut command = user.command(line);
        command.env_remove("PATCHPLANE_SERVER").env_remove("PATCHPLANE_ACCOUNT").env_remove("PATCHPLANE_REGION");
        command
    };
    let listed = user.lets(bare(&["instances", "--profile", "sim"])).await;
    let json: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(json["instances"][0]["name"], format!("{PARENT}/instances/{}", nodes[0]));
    let mut by_environment = bare(&["groups", "get", "web", "-o", "table"]);
    by_environment.env("PATCHCTL_PROFILE", "sim");
    assert!(user.lets(by_environment).await.stdout.starts_with("Patch group"));

    let profiles = user.gets(&["profiles", "--profile", "tokyo"]).await;
    let used = profiles.lines().find(|line| line.contains("in use")).unwrap();
    assert!(used.starts_with("tokyo") && used.contains("Asia/Tokyo"), "{profiles}");
    user.runs(&["instances", "--profile", "tokio"]).await.refused(2, &["did you mean \"tokyo\"?"]);
    user.writes_config(&config.replace("time_zone", "timezone"));
    user.runs(&["instances"]).await.refused(2, &["config.toml", "did you mean \"time_zone\"?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_man_pages_and_help_need_no_server() {
    let user = User::new(World::start().await).await;
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef patchctl"), ("fish", "complete -c patchctl")] {
        let script = user.gets(&["completions", shell]).await;
        assert!(script.contains(word) && script.contains("readiness"), "{shell}");
    }
    let page = user.gets(&["man"]).await;
    assert!(page.contains(".TH patchctl 1") && page.contains("130"), "{page}");
    let folder = user.home.path().join("man1");
    user.gets(&["man", "--to", folder.to_str().unwrap()]).await;
    for page in ["patchctl.1", "patchctl-install.1", "patchctl-operations-watch.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
    let help = user.gets(&["--help"]).await;
    assert!(help.contains("Exit codes:") && help.contains("  130  "), "{help}");
    assert!(user.gets(&["install", "--help"]).await.contains("Examples:"));
}
