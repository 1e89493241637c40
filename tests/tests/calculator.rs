//! Writes down when schedules run, for `.ci/compare-schedules` to hold against an independent calculator.

use patchplane_rules::{TimeZoneName, Timetable};
use std::{fmt::Write, fs, path::Path};

/// How many runs of each are compared.
const RUNS: usize = 12;

#[test]
fn schedules_are_written_down_for_an_independent_calculator() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".ci/schedules.txt");
    let table = fs::read_to_string(table).unwrap();
    let zones: Vec<(TimeZoneName, &str)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("zone ")?.split_once(' '))
        .map(|(zone, moment)| (zone.parse().unwrap(), moment))
        .collect();
    let mut written = String::new();
    for expression in table.lines().filter(|line| line.starts_with("cron(")) {
        for (zone, moment) in &zones {
            let timetable = Timetable {
                schedule: expression.parse().unwrap(),
                time_zone: zone.clone(),
                offset_days: None,
                start: None,
                end: None,
                anchor: moment.parse().unwrap(),
            };
            write!(written, "{expression}\t{zone}\t{moment}\t{RUNS}").unwrap();
            for run in timetable.runs_after(timetable.anchor).take(RUNS) {
                write!(written, "\t{}", run.time).unwrap();
            }
            writeln!(written).unwrap();
        }
    }
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("schedules.txt"), written).unwrap();
}
