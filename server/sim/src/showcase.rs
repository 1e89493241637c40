//! The fleets of the demonstration. Same seed, same nodes.

use crate::{Simulation, dice::Dice};

/// The main stage is 111122223333/us-east-1; the other three locations hold two or three nodes each.
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
}
