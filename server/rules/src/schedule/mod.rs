//! Schedule expressions as Systems Manager takes them: `cron(...)`, `rate(...)` and `at(...)` (S 9.2).

mod cron;
mod describe;
mod recurrence;
mod timetable;
mod zone;

#[cfg(test)]
mod properties;

pub use recurrence::{Nth, Recurrence, WeekDays};
pub use timetable::{Run, Shift, Timetable};
pub use zone::TimeZoneName;

use crate::{Invalid, location::text};
use cron::Cron;
use jiff::{SignedDuration, civil::DateTime};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A schedule expression as it was written, such as `cron(0 2 ? * THU#3 *)`; its text is all there is to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(String, Form);

/// The three forms (S 9.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Cron(Cron),
    Rate(SignedDuration),
    /// A wall-clock time of the timetable's zone (S 9.2.8).
    At(DateTime),
}

/// The longest text AWS takes (API model, MaintenanceWindowSchedule).
const LONGEST: usize = 256;

/// The fastest rate (S 9.2.7).
const FASTEST: SignedDuration = SignedDuration::from_mins(5);

// === impl Schedule ===

impl FromStr for Schedule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let form = if text.len() > LONGEST {
            Err(format!("has {} characters; AWS takes {LONGEST} at most", text.len()))
        } else if let Some(inner) = inside(text, "cron(") {
            Cron::parse(inner).map(Form::Cron)
        } else if let Some(inner) = inside(text, "rate(") {
            rate(inner).map(Form::Rate)
        } else if let Some(inner) = inside(text, "at(") {
            at(inner).map(Form::At)
        } else {
            Err("must be cron(...), rate(...) or at(...), such as cron(0 3 ? * * *), rate(7 days) or \
                 at(2027-01-31T03:00:00)"
                .to_owned())
        };
        Ok(Self(text.to_owned(), form.map_err(|rule| Invalid::new("schedule", rule))?))
    }
}

impl Schedule {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Days to wait after each date of this schedule: 1 to 6, and only cron has dates to wait after (S 9.2.12).
    pub fn offset_days(&self, days: u32) -> Result<u8, Invalid> {
        if !matches!(self.1, Form::Cron(_)) {
            return Err(Invalid::new("offset_days", "goes with a cron schedule only, not with rate(...) or at(...)"));
        }
        match u8::try_from(days) {
            Ok(days @ 1..=6) => Ok(days),
            _ => Err(Invalid::new("offset_days", format!("is {days}; it must be 1 to 6"))),
        }
    }
}

text!(Schedule);

fn inside<'t>(text: &'t str, opening: &str) -> Option<&'t str> {
    text.strip_prefix(opening)?.strip_suffix(')')
}

/// `5 minutes`, `1 hour`, `7 days`: singular with 1, plural otherwise (S 9.2.7).
fn rate(text: &str) -> Result<SignedDuration, String> {
    let shape = || format!("has the rate {text}; write a number and a unit, such as rate(30 minutes) or rate(1 day)");
    let (number, unit) = text.split_once(' ').ok_or_else(shape)?;
    let digits = !number.starts_with('+');
    let number: u32 = number.parse().ok().filter(|_| digits).ok_or_else(shape)?;
    let (singular, minutes) = match unit.strip_suffix('s').unwrap_or(unit) {
        "minute" => ("minute", 1),
        "hour" => ("hour", 60),
        "day" => ("day", 24 * 60),
        _ => return Err(format!("has the unit {unit}; a rate counts minutes, hours or days")),
    };
    let right = if number == 1 { singular.to_owned() } else { format!("{singular}s") };
    if unit != right {
        return Err(format!("has the rate {text}; AWS wants rate({number} {right})"));
    }
    let interval = SignedDuration::from_mins(i64::from(number) * minutes);
    if interval < FASTEST {
        return Err(format!("has the rate {text}; the fastest that AWS runs is rate(5 minutes)"));
    }
    Ok(interval)
}

/// `2021-07-07T13:15:30`, without a zone (S 9.2.8).
fn at(text: &str) -> Result<DateTime, String> {
    const SHAPE: &str = "0000-00-00T00:00:00";
    let same = |(given, wanted): (u8, u8)| given == wanted || (wanted == b'0' && given.is_ascii_digit());
    let shaped = text.len() == SHAPE.len() && text.bytes().zip(SHAPE.bytes()).all(same);
    let moment = text.parse().ok().filter(|_| shaped);
    moment.ok_or_else(|| {
        format!(
            "has the time {text}; write a date and time that exist, as YYYY-MM-DDThh:mm:ss without a zone (the time \
             zone is a field of its own), such as at(2027-01-31T03:00:00)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_examples_are_read_and_written_back() {
        // S 9.2.6, 9.2.3, 9.2.4, 9.2.8.
        for text in [
            "cron(0 2 ? * THU#3 *)",
            "cron(15 10 ? * * *)",
            "cron(15 10 ? * MON-FRI *)",
            "cron(0 2 L * ? *)",
            "cron(15 10 ? * 6L *)",
            "cron(0 30 23 ? * TUE#3 *)",
            "cron(0 16 ? * TUE *)",
            "cron(0 0 21 ? 1/1 TUE#2 *)",
            "cron(24 30 09 ? * * *)",
            "cron(15 13 ? * * *)",
            "rate(7 days)",
            "rate(1 hour)",
            "rate(5 minutes)",
            "at(2021-07-07T13:15:30)",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_schedule_is_refused_with_the_part_and_what_is_allowed() {
        for (text, part, advice) in [
            ("0 3 * * *", "must be cron(...)", "such as cron(0 3 ? * * *)"),
            ("cron(0 3 * * *)", "5 fields", "minutes hours day-of-month month day-of-week year"),
            ("cron(0 0 3 ? * * * *)", "8 fields", "six"),
            ("cron(60 3 ? * * *)", "60 as minutes", "0-59 and , - * /"),
            ("cron(0 24 ? * * *)", "24 as hours", "0-23"),
            ("cron(0 3 32 * ? *)", "32 as day of month", "1-31"),
            ("cron(0 3 ? 13 * *)", "13 as month", "JAN-DEC"),
            ("cron(0 3 ? * 0 *)", "0 as day of week", "1-7 (1 = SUN)"),
            ("cron(0 3 ? * MO *)", "MO as day of week", "SUN-SAT"),
            ("cron(0 3 ? * * 1969)", "1969 as year", "1970-2199"),
            ("cron(61 0 3 ? * * *)", "61 as seconds", "0-59"),
            ("cron(0 3 ? * FRI-MON *)", "FRI-MON as day of week", "a range runs upwards"),
            ("cron(0 3,, ? * * *)", "as hours", "0-23"),
            ("cron(0/90 3 ? * * *)", "0/90 as minutes", "a step is 1 to 59"),
            ("cron(0/0 3 ? * * *)", "0/0 as minutes", "a step is 1 to 59"),
            ("cron(+5 3 ? * * *)", "+5 as minutes", "0-59"),
            ("cron(0 ? ? * * *)", "? as hours", "0-23"),
            // S 9.2.4: `?` in exactly one day field.
            ("cron(0 3 * * * *)", "neither", "? in one of them"),
            ("cron(0 3 ? * ? *)", "both", "? in one of them"),
            ("cron(0 3 1 * MON *)", "neither", "? in one of them"),
            // S 9.2.5.
            ("cron(0 3 ? * THU#6 *)", "THU#6 as day of week", "#"),
            ("cron(0 3 ? * 3#1,6#3 *)", "3#1,6#3 as day of week", "only one"),
            ("cron(0 3 0W * ? *)", "0W as day of month", "W"),
            // S 9.2.7.
            ("rate(1 hours)", "1 hours", "rate(1 hour)"),
            ("rate(5 hour)", "5 hour", "rate(5 hours)"),
            ("rate(4 minutes)", "4 minutes", "rate(5 minutes)"),
            ("rate(0 days)", "0 days", "rate(5 minutes)"),
            ("rate(2 weeks)", "weeks", "minutes, hours or days"),
            ("rate(daily)", "daily", "rate(1 day)"),
            ("rate(-1 days)", "-1 days", "a number and a unit"),
            // S 9.2.8.
            ("at(2021-07-07T13:15:30Z)", "2021-07-07T13:15:30Z", "without a zone"),
            ("at(2021-02-30T13:15:30)", "2021-02-30T13:15:30", "exist"),
            ("at(2021-07-07)", "2021-07-07", "YYYY-MM-DDThh:mm:ss"),
            ("", "must be cron(...)", "rate(7 days)"),
        ] {
            let refused = text.parse::<Schedule>().unwrap_err();
            assert_eq!(refused.field, "schedule", "{text}");
            assert!(refused.rule.contains(part) && refused.rule.contains(advice), "{text}: {refused}");
        }
        let long = format!("cron(0 3 ? * {} *)", ["MON"; 70].join(","));
        assert!(long.parse::<Schedule>().unwrap_err().rule.contains("256"));
    }

    #[test]
    fn an_offset_is_one_to_six_days_after_a_cron_date() {
        // S 9.2.12 and the API model, MaintenanceWindowOffset.
        let cron: Schedule = "cron(0 2 ? * TUE#2 *)".parse().unwrap();
        assert_eq!(cron.offset_days(6), Ok(6));
        for days in [0, 7, u32::MAX] {
            assert_eq!(cron.offset_days(days).unwrap_err().field, "offset_days");
        }
        for text in ["rate(7 days)", "at(2021-07-07T13:15:30)"] {
            assert!(text.parse::<Schedule>().unwrap().offset_days(2).unwrap_err().rule.contains("cron"), "{text}");
        }
    }
}
