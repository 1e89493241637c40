//! What people schedule, written as cron and read back from it.

use super::{
    Form, Schedule,
    cron::{Cron, Days},
};
use crate::Invalid;
use jiff::civil::{Time, Weekday};

/// When something happens again and again, as people say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recurrence {
    Daily {
        time: Time,
    },
    Weekly {
        days: WeekDays,
        time: Time,
    },
    /// Such as two days after the second Tuesday of each month.
    MonthlyNth {
        nth: Nth,
        weekday: Weekday,
        offset_days: Option<u8>,
        time: Time,
    },
    /// Anything else.
    Expression {
        schedule: Schedule,
        offset_days: Option<u8>,
    },
}

/// At least one day of the week; each once, from Sunday on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekDays(Vec<Weekday>);

/// Which of a weekday's days in a month. Not every month has a fifth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nth {
    First,
    Second,
    Third,
    Fourth,
    Fifth,
    Last,
}

/// In the order of their numbers.
const NUMBERED: [Nth; 5] = [Nth::First, Nth::Second, Nth::Third, Nth::Fourth, Nth::Fifth];

// === impl Recurrence ===

impl Recurrence {
    /// The schedule that AWS is given, and the days to wait after its dates.
    pub fn schedule(&self) -> (Schedule, Option<u8>) {
        let (days, time, offset_days) = match self {
            Self::Expression { schedule, offset_days } => return (schedule.clone(), *offset_days),
            Self::Daily { time } => ("*".to_owned(), time, None),
            Self::Weekly { days, time } => {
                let names: Vec<&str> = days.iter().map(short_name).collect();
                (names.join(","), time, None)
            }
            Self::MonthlyNth { nth, weekday, offset_days, time } => {
                let days = match NUMBERED.iter().position(|number| number == nth) {
                    Some(index) => format!("{}#{}", short_name(*weekday), index + 1),
                    None => format!("{}L", weekday.to_sunday_one_offset()),
                };
                (days, time, *offset_days)
            }
        };
        let seconds = if time.second() == 0 { String::new() } else { format!("{} ", time.second()) };
        let fields = format!("{seconds}{} {} ? * {days} *", time.minute(), time.hour());
        #[expect(
            clippy::expect_used,
            reason = "the fields are numbers and names that cron takes; tested for all kinds"
        )]
        let cron = Cron::parse(&fields).expect("a recurrence is well-formed cron");
        (Schedule(format!("cron({fields})"), Form::Cron(cron)), offset_days)
    }

    /// Reads a schedule back; what is not plainly one of the kinds stays an expression.
    pub fn of(schedule: &Schedule, offset_days: Option<u8>) -> Self {
        let plain = match &schedule.1 {
            Form::Cron(cron) => Self::of_cron(cron, offset_days),
            Form::Rate(_) | Form::At(_) => None,
        };
        plain.unwrap_or_else(|| Self::Expression { schedule: schedule.clone(), offset_days })
    }

    fn of_cron(cron: &Cron, offset_days: Option<u8>) -> Option<Self> {
        let every = cron.months.as_slice().len() == 12 && cron.years.as_slice().len() == 230;
        let single = |values: &super::cron::Values| i8::try_from(values.single()?).ok();
        let time = Time::new(single(&cron.hours)?, single(&cron.minutes)?, single(&cron.seconds)?, 0).ok()?;
        match (&cron.days, offset_days) {
            _ if !every => None,
            (Days::OfMonth(days), None) if days.as_slice().len() == 31 => Some(Self::Daily { time }),
            (Days::OfWeek(days), None) if days.as_slice().len() == 7 => Some(Self::Daily { time }),
            (Days::OfWeek(days), None) => {
                let day = |number: &i16| Weekday::from_sunday_one_offset(i8::try_from(*number).ok()?).ok();
                let days = WeekDays::new(days.as_slice().iter().filter_map(day)).ok()?;
                Some(Self::Weekly { days, time })
            }
            (Days::Nth(weekday, number), _) => {
                let nth = *NUMBERED.get(usize::try_from(number - 1).ok()?)?;
                Some(Self::MonthlyNth { nth, weekday: *weekday, offset_days, time })
            }
            (Days::Last(weekday), _) => Some(Self::MonthlyNth { nth: Nth::Last, weekday: *weekday, offset_days, time }),
            _ => None,
        }
    }
}

fn short_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Sunday => "SUN",
        Weekday::Monday => "MON",
        Weekday::Tuesday => "TUE",
        Weekday::Wednesday => "WED",
        Weekday::Thursday => "THU",
        Weekday::Friday => "FRI",
        Weekday::Saturday => "SAT",
    }
}

// === impl WeekDays ===

impl WeekDays {
    pub fn new(days: impl IntoIterator<Item = Weekday>) -> Result<Self, Invalid> {
        let mut days: Vec<Weekday> = days.into_iter().collect();
        days.sort_by_key(|day| day.to_sunday_zero_offset());
        days.dedup();
        if days.is_empty() {
            return Err(Invalid::new("days", "must name at least one day of the week"));
        }
        Ok(Self(days))
    }

    pub fn iter(&self) -> impl Iterator<Item = Weekday> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(hour: i8, minute: i8, second: i8) -> Time {
        Time::constant(hour, minute, second, 0)
    }

    #[test]
    fn each_kind_is_written_as_cron_and_read_back() {
        use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let monthly =
            |nth, weekday, offset_days| Recurrence::MonthlyNth { nth, weekday, offset_days, time: time(2, 0, 0) };
        let weekly = |days: &[Weekday]| Recurrence::Weekly {
            days: WeekDays::new(days.iter().copied()).unwrap(),
            time: time(10, 15, 0),
        };
        for (recurrence, text) in [
            (Recurrence::Daily { time: time(10, 15, 0) }, "cron(15 10 ? * * *)"),
            (Recurrence::Daily { time: time(9, 30, 24) }, "cron(24 30 9 ? * * *)"),
            (weekly(&[Wednesday, Monday, Sunday, Monday]), "cron(15 10 ? * SUN,MON,WED *)"),
            (weekly(&[Tuesday, Thursday, Friday, Saturday]), "cron(15 10 ? * TUE,THU,FRI,SAT *)"),
            (monthly(Nth::Third, Thursday, None), "cron(0 2 ? * THU#3 *)"),
            (monthly(Nth::Second, Tuesday, Some(2)), "cron(0 2 ? * TUE#2 *)"),
            (monthly(Nth::Last, Friday, None), "cron(0 2 ? * 6L *)"),
        ] {
            let (schedule, offset_days) = recurrence.schedule();
            assert_eq!(schedule.as_str(), text);
            assert_eq!(text.parse::<Schedule>().as_ref(), Ok(&schedule));
            assert_eq!(Recurrence::of(&schedule, offset_days), recurrence);
        }
        assert!(WeekDays::new([]).is_err());
    }

    #[test]
    fn other_peoples_spelling_is_read_and_what_is_not_plain_stays_an_expression() {
        let of = |text: &str, offset_days| Recurrence::of(&text.parse().unwrap(), offset_days);
        let daily = Recurrence::Daily { time: time(3, 0, 0) };
        assert_eq!(of("cron(0 3 * * ? *)", None), daily);
        assert_eq!(of("cron(0 0 3 ? 1/1 SUN-SAT *)", None), daily);
        assert_eq!(
            of("cron(0 0 21 ? 1/1 3#2 *)", Some(3)),
            Recurrence::MonthlyNth {
                nth: Nth::Second,
                weekday: Weekday::Tuesday,
                offset_days: Some(3),
                time: time(21, 0, 0)
            }
        );
        for (text, offset_days) in [
            ("cron(0 3 ? * * *)", Some(1)),
            ("cron(0 3 ? * MON *)", Some(1)),
            ("cron(0 3,15 ? * * *)", None),
            ("cron(0 3 L * ? *)", None),
            ("cron(0 3 15W * ? *)", None),
            ("cron(0 3 ? 1-11 * *)", None),
            ("cron(0 3 ? * * 2027)", None),
            ("rate(1 day)", None),
            ("at(2027-01-31T03:00:00)", None),
        ] {
            let schedule: Schedule = text.parse().unwrap();
            let expression = of(text, offset_days);
            assert_eq!(expression, Recurrence::Expression { schedule: schedule.clone(), offset_days }, "{text}");
            assert_eq!(expression.schedule(), (schedule, offset_days));
        }
    }
}
