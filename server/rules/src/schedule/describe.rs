//! Timetables in words.

use super::{Form, Nth, Recurrence, Schedule, Timetable};
use jiff::{
    SignedDuration, Timestamp,
    civil::{Time, Weekday},
};

impl Timetable {
    /// Such as `daily at 03:00 in Asia/Tokyo`.
    pub fn describe(&self) -> String {
        let said = in_words(&Recurrence::of(&self.schedule, self.offset_days));
        let place = match self.schedule.1 {
            Form::Rate(_) => String::new(),
            Form::Cron(_) | Form::At(_) => format!(" in {}", self.time_zone),
        };
        let bound = |word: &str, time: Option<Timestamp>| {
            let local = time.map(|time| time.to_zoned(self.time_zone.zone()));
            local.map(|local| format!(", {word} {}", local.strftime("%Y-%m-%dT%H:%M%:z"))).unwrap_or_default()
        };
        format!("{said}{place}{}{}", bound("from", self.start), bound("until", self.end))
    }
}

fn in_words(recurrence: &Recurrence) -> String {
    match recurrence {
        Recurrence::Daily { time } => format!("daily at {}", clock(*time)),
        Recurrence::Weekly { days, time } => {
            let names: Vec<&str> = days.iter().map(name).collect();
            let names = match names.as_slice() {
                ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"] => "weekday (Monday to Friday)".to_owned(),
                [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
                one => one.concat(),
            };
            format!("every {names} at {}", clock(*time))
        }
        Recurrence::MonthlyNth { nth, weekday, offset_days, time } => {
            let (nth, day) = (ordinal(*nth), name(*weekday));
            format!("{}the {nth} {day} of each month at {}", waiting(*offset_days), clock(*time))
        }
        Recurrence::Expression { schedule, offset_days } => expression(schedule, *offset_days),
    }
}

fn expression(schedule: &Schedule, offset_days: Option<u8>) -> String {
    match &schedule.1 {
        Form::Cron(_) => match offset_days {
            Some(_) => format!("{}each date of {schedule}", waiting(offset_days)),
            None => format!("by {schedule}"),
        },
        Form::Rate(interval) => every(*interval),
        Form::At(moment) => format!("once on {} at {}", moment.date(), clock(moment.time())),
    }
}

/// Such as `2 days after `.
fn waiting(offset_days: Option<u8>) -> String {
    match offset_days {
        None => String::new(),
        Some(1) => "1 day after ".to_owned(),
        Some(days) => format!("{days} days after "),
    }
}

fn every(interval: SignedDuration) -> String {
    let minutes = interval.as_mins();
    let (number, unit) = match minutes {
        _ if minutes % (24 * 60) == 0 => (minutes / (24 * 60), "day"),
        _ if minutes % 60 == 0 => (minutes / 60, "hour"),
        _ => (minutes, "minute"),
    };
    if number == 1 { format!("every {unit}") } else { format!("every {number} {unit}s") }
}

/// `03:00`; the seconds only if there are any.
fn clock(time: Time) -> String {
    time.strftime(if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}

fn ordinal(nth: Nth) -> &'static str {
    match nth {
        Nth::First => "first",
        Nth::Second => "second",
        Nth::Third => "third",
        Nth::Fourth => "fourth",
        Nth::Fifth => "fifth",
        Nth::Last => "last",
    }
}

fn name(day: Weekday) -> &'static str {
    match day {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timetables_are_said_as_people_say_them() {
        for (schedule, offset_days, expected) in [
            ("cron(0 3 ? * * *)", None, "daily at 03:00 in Asia/Tokyo"),
            ("cron(24 30 09 ? * * *)", None, "daily at 09:30:24 in Asia/Tokyo"),
            ("cron(0 16 ? * TUE *)", None, "every Tuesday at 16:00 in Asia/Tokyo"),
            ("cron(15 10 ? * MON-FRI *)", None, "every weekday (Monday to Friday) at 10:15 in Asia/Tokyo"),
            ("cron(0 16 ? * 1,3,5 *)", None, "every Sunday, Tuesday and Thursday at 16:00 in Asia/Tokyo"),
            ("cron(0 2 ? * THU#3 *)", None, "the third Thursday of each month at 02:00 in Asia/Tokyo"),
            ("cron(0 2 ? * 3#2 *)", Some(2), "2 days after the second Tuesday of each month at 02:00 in Asia/Tokyo"),
            ("cron(15 10 ? * 6L *)", None, "the last Friday of each month at 10:15 in Asia/Tokyo"),
            ("cron(0 2 L * ? *)", None, "by cron(0 2 L * ? *) in Asia/Tokyo"),
            ("cron(0 2 L * ? *)", Some(1), "1 day after each date of cron(0 2 L * ? *) in Asia/Tokyo"),
            ("rate(7 days)", None, "every 7 days"),
            ("rate(60 minutes)", None, "every hour"),
            ("rate(90 minutes)", None, "every 90 minutes"),
            ("at(2021-07-07T13:15:30)", None, "once on 2021-07-07 at 13:15:30 in Asia/Tokyo"),
        ] {
            let mut timetable = Timetable {
                schedule: schedule.parse().unwrap(),
                time_zone: "Asia/Tokyo".parse().unwrap(),
                offset_days,
                start: None,
                end: None,
                anchor: Timestamp::UNIX_EPOCH,
            };
            assert_eq!(timetable.describe(), expected);
            timetable.start = Some("2027-01-01T00:00:00Z".parse().unwrap());
            timetable.end = Some("2028-01-01T00:00:00Z".parse().unwrap());
            let bounds = ", from 2027-01-01T09:00+09:00, until 2028-01-01T09:00+09:00";
            assert_eq!(timetable.describe(), format!("{expected}{bounds}"));
        }
    }
}
