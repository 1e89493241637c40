//! The fleets of the demonstration. Same seed, same nodes.

use crate::{Simulation, dice::Dice};

/// The main stage is 111122223333/us-east-1; the account 444455556666 holds one node of every kind, well and unwell.
pub(crate) fn build(simulation: &Simulation) {
    let mut dice = Dice::new(simulation.lock().seed, &["showcase"]);
    let mut some = || usize::try_from(dice.between(2, 6)).unwrap_or(2);

    let main = simulation.at("111122223333", "us-east-1");
    for number in 1..=6 {
        main.add_nodes(1).named(&format!("web-{number}")).missing_patches(some()).create();
    }
    for number in 1..=3 {
        let name = format!("db-{number}");
        main.add_nodes(1).named(&name).in_group("db").missing_patches(some()).already_scanned().create();
    }
    main.add_nodes(1).named("win-1").windows_2019().in_group("win").missing_patches(3).already_scanned().create();
    main.add_nodes(1).named("win-2").windows_2019().in_group("win").missing_patches(2).create();
    main.add_nodes(1).named("api-1").amazon_linux_2023().missing_patches(some()).create();
    main.add_nodes(1).named("batch-1").in_group("db").missing_patches(some()).stopped().create();
    main.add_nodes(1).named("legacy-1").in_group("db").missing_patches(some()).unmanaged().create();
    main.add_nodes(1).named("edge-1").in_group("db").missing_patches(some()).offline().create();
    main.add_nodes(1).named("web-7").tagged("patch group", "web").missing_patches(some()).create();
    main.add_nodes(1).named("cache-1").metadata_tags().missing_patches(some()).create();

    let frankfurt = simulation.at("111122223333", "eu-central-1");
    frankfurt.add_nodes(2).named("shop").in_group("shop").missing_patches(some()).already_scanned().create();
    frankfurt.add_nodes(1).named("shop-win").windows_2019().in_group("shop").missing_patches(2).create();

    let other = simulation.at("444455556666", "us-east-1");
    other.add_nodes(2).named("lab").missing_patches(some()).create();

    let other_frankfurt = simulation.at("444455556666", "eu-central-1");
    other_frankfurt.add_nodes(2).named("data").amazon_linux_2023().in_group("data").missing_patches(some()).create();
    other_frankfurt.add_nodes(1).named("data-edge").in_group("data").offline().create();

    // Appended, so that the dice above fall as they always did.
    other.add_nodes(2).named("lab-auto").in_auto_scaling_group("lab-auto").missing_patches(some()).create();
    other.add_nodes(1).named("lab-dark").in_group("lab").without_route().missing_patches(some()).create();
    other.add_nodes(1).named("lab-bare").in_group("lab").without_profile().missing_patches(some()).create();
    other.add_nodes(1).named("lab-old").in_group("lab").agent_version("2.0.822.0").scanned_days_ago(40).create();
    other.add_nodes(1).named("lab-rocket").unsupported_os().create();
    other.add_nodes(1).named("lab-office").hybrid().in_group("lab").missing_patches(some()).create();
    other.add_nodes(1).named("lab-failed").in_group("lab").missing_patches(some()).last_run_failed().create();
    other.add_nodes(1).named("lab-waits").in_group("lab").pending_reboot().create();

    let data = || other_frankfurt.add_nodes(1).in_group("data");
    data().named("data-ubuntu").ubuntu().metadata_tags().missing_patches(some()).already_scanned().create();
    data().named("data-rhel").rhel().missing_patches(some()).create();
    data().named("data-win").windows_2022().missing_patches(1).already_scanned().create();
    data().named("data-both").tagged("PatchGroup", "shop").behind_endpoints().missing_patches(some()).create();
}
