//! When a schedule runs: its zone, its days of delay, its first and last moment (S 9.2.9-14).

use super::{Form, Schedule, TimeZoneName, cron::Cron};
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// A schedule with all that decides when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    pub schedule: Schedule,
    /// Where the clock hangs that cron and at are read from.
    pub time_zone: TimeZoneName,
    /// Days to wait after each date of a cron schedule, 1 to 6 (`Schedule::offset_days` checks); ignored with others.
    pub offset_days: Option<u8>,
    /// The first moment at which it may run.
    pub start: Option<Timestamp>,
    /// From this moment on it runs no more.
    pub end: Option<Timestamp>,
    /// Since when the schedule holds, such as its window's creation. Rates count from here, unless they start later;
    /// a date before it is not made up for.
    pub anchor: Timestamp,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub time: Timestamp,
    /// What the schedule asks for, in the zone's wall-clock time. With `Shift::Skipped` no clock shows it.
    pub local: DateTime,
    pub shift: Option<Shift>,
}

/// What a change of the clocks does to a run. AWS does not say what it does (S 9.2.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// The local time does not exist that day: it runs at the first instant after.
    Skipped,
    /// The local time occurs twice that day: the earlier is meant.
    Doubled,
}

// === impl Timetable ===

impl Timetable {
    /// The first run later than `after`; `None` if there is none.
    pub fn next_after(&self, after: Timestamp) -> Option<Run> {
        let run = match &self.schedule.1 {
            Form::Cron(cron) => self.next_cron(cron, self.earliest(after)?),
            Form::Rate(interval) => self.next_rate(*interval, after),
            Form::At(moment) => {
                let earliest = self.earliest(after)?;
                resolve(*moment, &self.time_zone.zone()).filter(|run| run.time >= earliest)
            }
        };
        run.filter(|run| self.end.is_none_or(|end| run.time < end))
    }

    /// All runs later than `after`, each later than the one before.
    pub fn runs_after(&self, after: Timestamp) -> impl Iterator<Item = Run> + '_ {
        std::iter::successors(self.next_after(after), |run| self.next_after(run.time))
    }

    /// The first instant at which a run may be: later than `after` and the anchor, not before the start.
    fn earliest(&self, after: Timestamp) -> Option<Timestamp> {
        let later = after.max(self.anchor).checked_add(1.nanosecond()).ok()?;
        Some(self.start.map_or(later, |start| start.max(later)))
    }

    fn next_cron(&self, cron: &Cron, earliest: Timestamp) -> Option<Run> {
        let zone = self.time_zone.zone();
        let delay = i64::from(self.offset_days.unwrap_or(0)).days();
        // Local times follow each other as their instants do, except that a repeated hour is run through once: a
        // date whose instant is too early can only lie in one.
        let holds = self.anchor.to_zoned(zone.clone()).datetime();
        let mut from = earliest.to_zoned(zone.clone()).datetime().checked_sub(delay).ok()?.max(holds);
        loop {
            let date = cron.at_or_after(from)?;
            let run = resolve(date.checked_add(delay).ok()?, &zone)?;
            // Only a date still to come is waited after (S 9.2.12).
            if run.time >= earliest && (self.offset_days.is_none() || resolve(date, &zone)?.time > self.anchor) {
                return Some(unshifted(&run, cron, delay, &zone).unwrap_or(run));
            }
            from = date.checked_add(1.second()).ok()?;
        }
    }

    /// At the start and each interval after it; without a start to come, an interval after the anchor (S 9.2.11; what
    /// a start in the past does is *unverified*).
    fn next_rate(&self, interval: SignedDuration, after: Timestamp) -> Option<Run> {
        let first = match self.start {
            Some(start) if start >= self.anchor => start,
            _ => self.anchor.checked_add(interval).ok()?,
        };
        let time = if first > after {
            first
        } else {
            let passed = first.duration_until(after).as_nanos() / interval.as_nanos();
            let intervals = i32::try_from(passed + 1).ok()?;
            first.checked_add(interval.checked_mul(intervals)?).ok()?
        };
        Some(Run { time, local: self.time_zone.zone().to_datetime(time), shift: None })
    }
}

/// When the zone's clocks show a local time.
fn resolve(local: DateTime, zone: &TimeZone) -> Option<Run> {
    let (offset, shift) = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, None),
        AmbiguousOffset::Fold { before, .. } => (before, Some(Shift::Doubled)),
        AmbiguousOffset::Gap { after, .. } => (after, Some(Shift::Skipped)),
    };
    let mut time = offset.to_timestamp(local).ok()?;
    if shift == Some(Shift::Skipped) {
        // With the later offset the instant lies before the change of the clocks, so that the next change is the one.
        time = zone.following(time).next()?.timestamp();
    }
    Some(Run { time, local, shift })
}

/// The run that is due at the end of a gap in its own right, whatever the gap pushes there.
fn unshifted(run: &Run, cron: &Cron, delay: jiff::Span, zone: &TimeZone) -> Option<Run> {
    let local = zone.to_datetime(run.time);
    let date = local.checked_sub(delay).ok()?;
    let due = run.shift == Some(Shift::Skipped) && cron.at_or_after(date) == Some(date);
    due.then_some(Run { time: run.time, local, shift: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timetable since 2000, read from `schedule in zone`.
    fn timetable(schedule: &str, zone: &str) -> Timetable {
        Timetable {
            schedule: schedule.parse().unwrap(),
            time_zone: zone.parse().unwrap(),
            offset_days: None,
            start: None,
            end: None,
            anchor: time("2000-01-01T00:00:00Z"),
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn times(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
        timetable.runs_after(time(after)).take(count).map(|run| run.time.to_string()).collect()
    }

    #[test]
    fn cron_is_wall_clock_time_in_the_zone() {
        // S 9.2.9; 03:00 in Tokyo is 18:00 UTC of the day before, all year round.
        let tokyo = timetable("cron(0 3 ? * * *)", "Asia/Tokyo");
        let expected = ["2026-03-28T18:00:00Z", "2026-03-29T18:00:00Z", "2026-03-30T18:00:00Z"];
        assert_eq!(times(&tokyo, "2026-03-28T00:00:00Z", 3), expected);
        // S 9.2.14: the instant moves by an hour with daylight saving time, in Berlin on 29 March 2026.
        let berlin = timetable("cron(0 3 ? * * *)", "Europe/Berlin");
        let expected = ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"];
        assert_eq!(times(&berlin, "2026-03-28T00:00:00Z", 3), expected);
        // S 9.2.13's recorded answer: 2019-10-20T05:34:56-07:00.
        let angeles = timetable("cron(56 34 5 ? * * *)", "America/Los_Angeles");
        assert_eq!(times(&angeles, "2019-10-20T00:00:00Z", 1), ["2019-10-20T12:34:56Z"]);
    }

    #[test]
    fn a_local_time_that_is_skipped_runs_at_the_first_instant_after() {
        // S 9.2.14. In Berlin 02:00 to 03:00 is skipped on 29 March 2026, at 01:00 UTC.
        let run = |schedule: &str, after: &str| timetable(schedule, "Europe/Berlin").next_after(time(after)).unwrap();
        let skipped = run("cron(30 2 ? * * *)", "2026-03-28T12:00:00Z");
        assert_eq!((skipped.time, skipped.shift), (time("2026-03-29T01:00:00Z"), Some(Shift::Skipped)));
        assert_eq!(skipped.local, "2026-03-29T02:30:00".parse().unwrap());
        // One run, though four local times are skipped; and the one that is due at 03:00 is its own.
        let quarters = timetable("cron(0/15 2 ? * * *)", "Europe/Berlin");
        let expected = ["2026-03-28T01:45:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"];
        assert_eq!(times(&quarters, "2026-03-28T01:30:00Z", 3), expected);
        let due = run("cron(0 * ? * * *)", "2026-03-29T00:00:00Z");
        assert_eq!((due.time, due.shift), (time("2026-03-29T01:00:00Z"), None));
        assert_eq!(due.local, "2026-03-29T03:00:00".parse().unwrap());
        let once = run("at(2026-03-29T02:59:59)", "2026-03-01T00:00:00Z");
        assert_eq!((once.time, once.shift), (time("2026-03-29T01:00:00Z"), Some(Shift::Skipped)));
        // Samoa left out 30 December 2011 altogether.
        let samoa = timetable("cron(0 3 ? * * *)", "Pacific/Apia");
        let expected = ["2011-12-29T13:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T13:00:00Z"];
        assert_eq!(times(&samoa, "2011-12-29T12:00:00Z", 3), expected);
    }

    #[test]
    fn a_local_time_that_occurs_twice_runs_once_the_earlier() {
        // S 9.2.14. In Berlin 02:00 to 03:00 occurs at 00:00 and 01:00 UTC of 25 October 2026.
        let doubled = timetable("cron(30 2 ? * * *)", "Europe/Berlin");
        let run = doubled.next_after(time("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!((run.time, run.shift), (time("2026-10-25T00:30:00Z"), Some(Shift::Doubled)));
        for after in ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:29:59Z", "2026-10-25T01:30:00Z"] {
            assert_eq!(times(&doubled, after, 1), ["2026-10-26T01:30:00Z"], "{after}");
        }
        let hourly = timetable("cron(0 * ? * * *)", "Europe/Berlin");
        let expected = ["2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"];
        assert_eq!(times(&hourly, "2026-10-24T22:00:00Z", 3), expected);
    }

    #[test]
    fn an_offset_waits_days_after_dates_that_are_still_to_come() {
        // Patch Tuesday and two days: 10 November 2026 is the second Tuesday.
        let mut delayed = timetable("cron(0 2 ? * TUE#2 *)", "America/New_York");
        delayed.offset_days = Some(2);
        let expected = ["2026-11-12T07:00:00Z", "2026-12-10T07:00:00Z"];
        assert_eq!(times(&delayed, "2026-11-01T00:00:00Z", 2), expected);
        // Asked between the date and the run, the run is still to come.
        assert_eq!(times(&delayed, "2026-11-11T00:00:00Z", 1), ["2026-11-12T07:00:00Z"]);
        // S 9.2.12: made between the two, the date has passed.
        delayed.anchor = time("2026-11-11T00:00:00Z");
        assert_eq!(times(&delayed, "2026-11-11T00:00:00Z", 1), ["2026-12-10T07:00:00Z"]);
        // The delay runs over the end of the year, and counts days, not hours, over the change of the clocks.
        let mut end_of_month = timetable("cron(30 1 L * ? *)", "Europe/London");
        end_of_month.offset_days = Some(1);
        assert_eq!(times(&end_of_month, "2026-12-31T12:00:00Z", 1), ["2027-01-01T01:30:00Z"]);
        assert_eq!(times(&end_of_month, "2026-03-31T12:00:00Z", 1), ["2026-04-01T00:30:00Z"]);
    }

    #[test]
    fn rates_count_from_their_start_or_else_from_their_anchor() {
        // S 9.2.11, the guide's example: rate(7 days) from Tuesday 2019-01-01T03:15.
        let mut weekly = timetable("rate(7 days)", "America/Los_Angeles");
        weekly.anchor = time("2018-12-20T08:00:00Z");
        weekly.start = Some(time("2019-01-01T03:15:00-08:00"));
        weekly.end = Some(time("2019-01-22T03:15:00-08:00"));
        let expected = ["2019-01-01T11:15:00Z", "2019-01-08T11:15:00Z", "2019-01-15T11:15:00Z"];
        assert_eq!(times(&weekly, "2018-12-20T08:00:00Z", 9), expected);
        assert_eq!(times(&weekly, "2019-01-08T11:14:59.9Z", 1), ["2019-01-08T11:15:00Z"]);
        // Without a start: the odd milliseconds of the creation stay (S 9.2.13: 2020-02-12T23:19:20.596Z).
        let mut daily = timetable("rate(1 day)", "UTC");
        daily.anchor = time("2020-02-11T23:19:20.596Z");
        let expected = ["2020-02-12T23:19:20.596Z", "2020-02-13T23:19:20.596Z"];
        assert_eq!(times(&daily, "2020-02-11T23:19:20.596Z", 2), expected);
        assert_eq!(times(&daily, "1990-01-01T00:00:00Z", 2), expected);
    }

    #[test]
    fn at_runs_once_in_its_zone_and_never_in_the_past() {
        // S 9.2.8, the guide's example.
        let mut once = timetable("at(2021-07-07T13:15:30)", "America/Los_Angeles");
        assert_eq!(times(&once, "2021-01-01T00:00:00Z", 9), ["2021-07-07T20:15:30Z"]);
        assert_eq!(times(&once, "2021-07-07T20:15:30Z", 9), Vec::<String>::new());
        once.anchor = time("2021-07-08T00:00:00Z");
        assert_eq!(times(&once, "2021-01-01T00:00:00Z", 9), Vec::<String>::new());
    }

    #[test]
    fn runs_keep_to_their_first_and_last_moment() {
        // S 9.2.9-10: start and end carry their own offset and only bound the period.
        let mut bounded = timetable("cron(0 0 ? * * *)", "UTC");
        bounded.start = Some(time("2021-01-01T00:00:00-08:00"));
        bounded.end = Some(time("2021-01-04T00:00:00Z"));
        assert_eq!(times(&bounded, "2020-06-01T00:00:00Z", 9), ["2021-01-02T00:00:00Z", "2021-01-03T00:00:00Z"]);
        bounded.start = Some(time("2021-01-02T00:00:00Z"));
        assert_eq!(times(&bounded, "2020-06-01T00:00:00Z", 1), ["2021-01-02T00:00:00Z"]);
        for text in ["cron(0 0 30 2 ? *)", "cron(0 0 ? * * 2001)", "rate(1 day)", "at(2200-01-01T00:00:00)"] {
            let mut ended = timetable(text, "Asia/Tokyo");
            ended.end = Some(time("2021-01-04T00:00:00Z"));
            assert_eq!(ended.next_after(time("2021-01-04T00:00:00Z")), None, "{text}");
            ended.end = None;
            assert_eq!(ended.next_after(Timestamp::MAX), None, "{text}");
        }
    }
}
