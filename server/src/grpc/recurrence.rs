//! When something recurs, to and from the wire; runs to come.

use super::convert::{count, time};
use crate::domain::patch_schedule::When;
use jiff::civil::{Time, Weekday};
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, Nth, Recurrence, Run, Schedule, Shift, TimeZoneName, WeekDays};

/// By their numbers on the wire; the last is -1.
const NUMBERED: [Nth; 5] = [Nth::First, Nth::Second, Nth::Third, Nth::Fourth, Nth::Fifth];

pub(super) fn recurrence(asked: Option<pb::Recurrence>) -> Result<Recurrence, Invalid> {
    use pb::recurrence::Kind;
    let kind = asked
        .and_then(|asked| asked.kind)
        .ok_or_else(|| Invalid::new("recurrence", "is required: daily, weekly, monthly_nth or an expression"))?;
    match kind {
        Kind::Daily(pb::recurrence::Daily { time }) => {
            Ok(Recurrence::Daily { time: time_of_day("recurrence.daily.time", time)? })
        }
        Kind::Weekly(pb::recurrence::Weekly { days, time }) => {
            let at = |i: usize| format!("recurrence.weekly.days[{i}]");
            let days = days.into_iter().enumerate().map(|(i, day)| weekday(&at(i), day));
            let days = days.collect::<Result<Vec<_>, _>>()?;
            let days = WeekDays::new(days).map_err(|invalid| invalid.within("recurrence.weekly"))?;
            Ok(Recurrence::Weekly { days, time: time_of_day("recurrence.weekly.time", time)? })
        }
        Kind::MonthlyNth(pb::recurrence::MonthlyNth { nth, weekday: day, offset_days, time }) => {
            let field = |name: &str| format!("recurrence.monthly_nth.{name}");
            let number = usize::try_from(nth).ok().and_then(|nth| NUMBERED.get(nth.checked_sub(1)?));
            let nth = match (nth, number) {
                (-1, _) => Nth::Last,
                (_, Some(nth)) => *nth,
                _ => return Err(Invalid::new(field("nth"), "must be 1 to 5, or -1 for the last")),
            };
            let offset_days = match u8::try_from(offset_days) {
                Ok(0) => None,
                Ok(days @ 1..=6) => Some(days),
                _ => return Err(Invalid::new(field("offset_days"), "must be 0 to 6 days")),
            };
            let weekday = weekday(&field("weekday"), day)?;
            Ok(Recurrence::MonthlyNth { nth, weekday, offset_days, time: time_of_day(&field("time"), time)? })
        }
        Kind::Expression(pb::recurrence::Expression { expression, offset_days }) => {
            let field = |name: &str| format!("recurrence.expression.{name}");
            let schedule: Schedule =
                expression.parse().map_err(|invalid: Invalid| Invalid::new(field("expression"), invalid.rule))?;
            let offset_days = match u32::try_from(offset_days) {
                Ok(0) => None,
                Ok(days) => Some(schedule.offset_days(days).map_err(|wrong| wrong.within("recurrence.expression"))?),
                Err(_) => return Err(Invalid::new(field("offset_days"), "must be 0 to 6 days")),
            };
            Ok(Recurrence::Expression { schedule, offset_days })
        }
    }
}

/// Longer than any zone's name; what is refused is quoted in the refusal.
const LONGEST_ZONE: usize = 64;

pub(super) fn time_zone(text: &str) -> Result<Option<TimeZoneName>, Invalid> {
    match text.len() {
        0 => Ok(None),
        1..=LONGEST_ZONE => text.parse().map(Some),
        _ => Err(Invalid::new("time_zone", "must be an IANA time zone's name, such as Asia/Tokyo")),
    }
}

pub(super) fn when(recurrence: Recurrence, zone: &str) -> Result<When, Invalid> {
    When::new(recurrence, time_zone(zone)?)
}

fn time_of_day(field: &str, asked: Option<pb::TimeOfDay>) -> Result<Time, Invalid> {
    let pb::TimeOfDay { hours, minutes, seconds } =
        asked.ok_or_else(|| Invalid::new(field, "is required: hours, minutes and seconds"))?;
    let part = |name: &str, value: i32, most: i8| {
        let value = i8::try_from(value).ok().filter(|value| (0..=most).contains(value));
        value.ok_or_else(|| Invalid::new(format!("{field}.{name}"), format!("must be 0 to {most}")))
    };
    let (hours, minutes, seconds) =
        (part("hours", hours, 23)?, part("minutes", minutes, 59)?, part("seconds", seconds, 59)?);
    Time::new(hours, minutes, seconds, 0).map_err(|_| Invalid::new(field, "must be a time of day"))
}

fn weekday(field: &str, asked: i32) -> Result<Weekday, Invalid> {
    use pb::DayOfWeek as Wire;
    Ok(match Wire::try_from(asked) {
        Ok(Wire::Monday) => Weekday::Monday,
        Ok(Wire::Tuesday) => Weekday::Tuesday,
        Ok(Wire::Wednesday) => Weekday::Wednesday,
        Ok(Wire::Thursday) => Weekday::Thursday,
        Ok(Wire::Friday) => Weekday::Friday,
        Ok(Wire::Saturday) => Weekday::Saturday,
        Ok(Wire::Sunday) => Weekday::Sunday,
        Ok(Wire::Unspecified) | Err(_) => return Err(Invalid::new(field, "must be a day of the week")),
    })
}

// === Answers ===

fn wire_weekday(day: Weekday) -> i32 {
    use pb::DayOfWeek as Wire;
    match day {
        Weekday::Monday => Wire::Monday,
        Weekday::Tuesday => Wire::Tuesday,
        Weekday::Wednesday => Wire::Wednesday,
        Weekday::Thursday => Wire::Thursday,
        Weekday::Friday => Wire::Friday,
        Weekday::Saturday => Wire::Saturday,
        Weekday::Sunday => Wire::Sunday,
    }
    .into()
}

pub(super) fn wire_recurrence(recurrence: &Recurrence) -> pb::Recurrence {
    use pb::recurrence::{Daily, Expression, Kind, MonthlyNth, Weekly};
    let clock = |time: &Time| {
        Some(pb::TimeOfDay { hours: time.hour().into(), minutes: time.minute().into(), seconds: time.second().into() })
    };
    let kind = match recurrence {
        Recurrence::Daily { time } => Kind::Daily(Daily { time: clock(time) }),
        Recurrence::Weekly { days, time } => {
            Kind::Weekly(Weekly { days: days.iter().map(wire_weekday).collect(), time: clock(time) })
        }
        Recurrence::MonthlyNth { nth, weekday, offset_days, time } => Kind::MonthlyNth(MonthlyNth {
            nth: NUMBERED.iter().position(|number| number == nth).map_or(-1, |index| count(index + 1)),
            weekday: wire_weekday(*weekday),
            offset_days: count(offset_days.unwrap_or(0)),
            time: clock(time),
        }),
        Recurrence::Expression { schedule, offset_days } => Kind::Expression(Expression {
            expression: schedule.to_string(),
            offset_days: count(offset_days.unwrap_or(0)),
        }),
    };
    pb::Recurrence { kind: Some(kind) }
}

pub(super) fn upcoming(run: &Run, zone: &TimeZoneName) -> pb::UpcomingRun {
    use pb::upcoming_run::Shift as Wire;
    let local = run.time.to_zoned(zone.zone());
    let asked = run.local.strftime("%H:%M:%S on %Y-%m-%d");
    let (shift, note) = match run.shift {
        None => (Wire::Unspecified, String::new()),
        Some(Shift::Skipped) => {
            (Wire::Skipped, format!("{asked} does not exist in {zone}: taken to run at {}", local.strftime("%H:%M:%S")))
        }
        Some(Shift::Doubled) => (Wire::Doubled, format!("{asked} occurs twice in {zone}: taken to run at the earlier")),
    };
    pb::UpcomingRun {
        time: Some(time(run.time)),
        local_time: local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        shift: shift.into(),
        note,
    }
}
