//! A configuration as processes take it: file, environment and options together.

use patchplane_tests::{
    processes::{Home, patchplane},
    shell::Ended,
};

#[test]
fn what_counts_is_shown_with_who_says_it_and_without_secrets() {
    let home = Home::new(None, None);
    let config = home.config();
    let mut show = patchplane(&["config", "show", "--config", &config, "--set", "drain.timeout=9s"]);
    show.env("PATCHPLANE_LIMITS__MAX_DEADLINE", "7m").env("PATCHPLANE_STORE", "postgres://me:hush@db/patchplane");
    // As Kubernetes makes it for a service of our name.
    show.env("PATCHPLANE_PORT_50051_TCP_ADDR", "10.0.0.1");
    let shown = Ended::of(show.output().unwrap());
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in [
        "max_deadline = \"7m\"  # PATCHPLANE_LIMITS__MAX_DEADLINE".to_owned(),
        "store = \"postgres://me@db/patchplane\"  # PATCHPLANE_STORE".to_owned(),
        "timeout = \"9s\"  # --set".to_owned(),
        format!("lease = \"10s\"  # {config}:3"),
        "retention = \"400d\"  # default".to_owned(),
    ] {
        assert!(shown.stdout.lines().any(|shown| *shown == line), "{line}\n{}", shown.stdout);
    }
    assert!(!format!("{shown:?}").contains("hush"));
}

#[test]
fn nothing_is_served_by_a_configuration_that_is_wrong_anywhere() {
    let config = Home::new(None, None);
    let config = config.config();
    for (variable, value, told) in [
        ("PATCHPLANE_LISTN", "127.0.0.1:0", "did you mean PATCHPLANE_LISTEN?"),
        ("PATCHPLANE_DRAIN__LAME_DUCK", "6m", "PATCHPLANE_DRAIN__LAME_DUCK: `drain.lame_duck` is \"6m\", and must be"),
        ("PATCHPLANE_LISTEN", "0.0.0.0:0", "unauthenticated_network = true"),
    ] {
        for command in [vec!["serve", "--config", &config], vec!["config", "check", &config]] {
            let ended = Ended::of(patchplane(&command).env(variable, value).output().unwrap());
            assert!(ended.code == 1 && ended.stderr.contains(told), "{command:?} with {variable}: {ended:?}");
        }
    }
}
