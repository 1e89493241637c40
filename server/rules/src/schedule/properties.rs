//! What holds for every timetable, tried on random ones.

use super::{Form, Schedule, Shift, Timetable, cron::Values};
use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::collections::BTreeMap;

/// Zones with changes of the clocks of an hour, of half an hour, at midnight, and with none.
const ZONES: [&str; 8] = [
    "UTC",
    "Asia/Tokyo",
    "Europe/Berlin",
    "America/Los_Angeles",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kathmandu",
];

fn field(random: &mut StdRng, least: i16, most: i16, wide: bool) -> String {
    let number = |random: &mut StdRng| random.random_range(least..=most);
    match random.random_range(0..6) {
        0 | 1 if wide => "*".to_owned(),
        2 => format!("{}/{}", number(random), random.random_range(1..=most - least)),
        3 => {
            let (a, b) = (number(random), number(random));
            format!("{}-{}", a.min(b), a.max(b))
        }
        4 => format!("{},{}", number(random), number(random)),
        _ => number(random).to_string(),
    }
}

/// Expressions without seconds, mostly of one year.
fn cron(random: &mut StdRng) -> String {
    let (of_month, of_week) = match random.random_range(0..8) {
        0 => ("L".to_owned(), "?".to_owned()),
        1 => (format!("{}W", random.random_range(1..=31)), "?".to_owned()),
        2 => ("?".to_owned(), format!("{}L", random.random_range(1..=7))),
        3 => ("?".to_owned(), format!("{}#{}", random.random_range(1..=7), random.random_range(1..=5))),
        4 => ("?".to_owned(), field(random, 1, 7, true)),
        5 => ("?".to_owned(), "*".to_owned()),
        _ => (field(random, 1, 31, true), "?".to_owned()),
    };
    // Clocks are changed at night.
    let latest = if random.random_bool(0.5) { 3 } else { 23 };
    let (minutes, hours) = (field(random, 0, 59, true), field(random, 0, latest, true));
    let months = if random.random_bool(0.7) { "*".to_owned() } else { field(random, 1, 12, true) };
    format!("cron({minutes} {hours} {of_month} {months} {of_week} *)")
}

fn timetable(random: &mut StdRng, schedule: &str) -> Timetable {
    let zone = ZONES.choose(random).unwrap();
    Timetable {
        schedule: schedule.parse().unwrap(),
        time_zone: zone.parse().unwrap(),
        offset_days: random.random_bool(0.2).then(|| random.random_range(1..=6)),
        start: None,
        end: None,
        anchor: "2020-01-01T00:00:00Z".parse().unwrap(),
    }
}

/// A moment of 2026, often near a change of the clocks.
fn moment(random: &mut StdRng, zone: &TimeZone) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let day = random.random_range(0..365);
    let any = begin + (day * 24 * 60 + random.random_range(0..24 * 60)).minutes();
    let change = zone.following(any).next().map(|change| change.timestamp()).filter(|_| random.random_bool(0.8));
    change.map_or(any, |change| change - random.random_range(0..12 * 60).minutes())
}

/// Whether the expression's fields admit a local time: told by each field for itself, without the search.
fn admits(schedule: &Schedule, local: DateTime) -> bool {
    let Form::Cron(cron) = &schedule.1 else { return false };
    let has = |values: &Values, number: i8| values.as_slice().contains(&number.into());
    has(&cron.minutes, local.minute())
        && has(&cron.hours, local.hour())
        && has(&cron.months, local.month())
        && local.second() == 0
        && cron.years.as_slice().contains(&local.year())
        && cron.days.of(local.date().first_of_month()).contains(&local.date())
}

#[test]
fn each_run_is_on_schedule_and_none_is_missed() {
    let mut random = StdRng::seed_from_u64(92);
    let mut runs_seen = 0;
    let mut shifts_seen = (0, 0);
    for _ in 0..400 {
        let expression = cron(&mut random);
        let timetable = timetable(&mut random, &expression);
        let zone = timetable.time_zone.zone();
        let begin = moment(&mut random, &zone);
        let end = begin + 24.hours();
        let said = format!("{expression} {:?} {} from {begin}", timetable.offset_days, timetable.time_zone);
        let found: Vec<_> = timetable.runs_after(begin).take_while(|run| run.time <= end).collect();
        let delay = i64::from(timetable.offset_days.unwrap_or(0)).days();

        // By brute force: all minutes in turn, each local time counted where it is seen first.
        let mut expected = BTreeMap::new();
        let mut shown = zone.to_datetime(begin - 4.hours());
        let mut minute = begin - 4.hours();
        let mut latest = shown;
        while minute <= end {
            let local = zone.to_datetime(minute);
            let gap = local > shown + 1.minute();
            if local > latest || minute == begin - 4.hours() {
                let mut asked = if gap { latest + 1.minute() } else { local };
                while asked <= local {
                    if admits(&timetable.schedule, asked - delay) {
                        expected.insert(minute, asked);
                    }
                    asked += 1.minute();
                }
                latest = local;
            }
            shown = local;
            minute += 1.minute();
        }
        let expected: Vec<(Timestamp, DateTime)> = expected.into_iter().filter(|(time, _)| *time > begin).collect();

        assert_eq!(
            found.iter().map(|run| run.time).collect::<Vec<_>>(),
            expected.iter().map(|run| run.0).collect::<Vec<_>>(),
            "{said}"
        );
        assert!(found.is_sorted_by(|a, b| a.time < b.time), "{said}");
        for run in &found {
            let local = zone.to_datetime(run.time);
            assert!(admits(&timetable.schedule, run.local - delay), "{said}: {run:?}");
            assert_eq!(local == run.local, run.shift != Some(Shift::Skipped), "{said}: {run:?}");
            shifts_seen.0 += usize::from(run.shift == Some(Shift::Skipped));
            shifts_seen.1 += usize::from(run.shift == Some(Shift::Doubled));
        }
        runs_seen += found.len();
    }
    assert!(runs_seen > 5_000 && shifts_seen.0 > 5 && shifts_seen.1 > 100, "{runs_seen} {shifts_seen:?}");
}

#[test]
fn no_text_makes_the_parser_or_the_search_fail() {
    let mut random = StdRng::seed_from_u64(93);
    let pieces: Vec<char> = "cron(rate(at()0123456789 ,-*/?LW#SUNMONminutesT:é".chars().collect();
    let far = [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH];
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut text: Vec<char> = cron(&mut random).chars().collect();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..text.len());
            text[at] = *pieces.choose(&mut random).unwrap();
        }
        let text: String = text.into_iter().collect();
        let Ok(schedule) = text.parse::<Schedule>() else { continue };
        taken += 1;
        assert_eq!(schedule.to_string(), text);
        let mut timetable = timetable(&mut random, &text);
        timetable.anchor = *far.choose(&mut random).unwrap();
        timetable.start = far.choose(&mut random).copied().filter(|_| taken % 2 == 0);
        timetable.next_after(*far.choose(&mut random).unwrap());
        timetable.describe();
    }
    assert!(taken > 5_000, "{taken}");
}
