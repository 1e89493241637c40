//! Cron expressions: six fields, or seven with the seconds first (S 9.2.3-6).

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time, Weekday},
};

/// When a cron expression's clock strikes, in wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    pub(super) seconds: Values,
    pub(super) minutes: Values,
    pub(super) hours: Values,
    pub(super) days: Days,
    pub(super) months: Values,
    pub(super) years: Values,
}

/// The numbers that a field admits: sorted, not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values(Vec<i16>);

/// What the one day field says that is not `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Days {
    OfMonth(Values),
    /// `L` as day of month.
    LastOfMonth,
    /// `15W`: the weekday nearest to the 15th, in the same month. A month without that day has none.
    NearestWeekday(i8),
    /// Sunday is 1.
    OfWeek(Values),
    /// `6L`: the last Friday.
    Last(Weekday),
    /// `THU#3`: the third Thursday. A month without it has none.
    Nth(Weekday, i8),
}

/// A field's name, its numbers, its names in their order, and how the guide writes what is allowed.
struct Field {
    name: &'static str,
    least: i16,
    most: i16,
    names: &'static [&'static str],
    allowed: &'static str,
}

/// The table of S 9.2.3.
const SECONDS: Field = Field { name: "seconds", least: 0, most: 59, names: &[], allowed: "0-59 and , - * /" };
const MINUTES: Field = Field { name: "minutes", least: 0, most: 59, names: &[], allowed: "0-59 and , - * /" };
const HOURS: Field = Field { name: "hours", least: 0, most: 23, names: &[], allowed: "0-23 and , - * /" };
const DAY_OF_MONTH: Field = Field {
    name: "day of month",
    least: 1,
    most: 31,
    names: &[],
    allowed: "1-31 and , - * ? /, or L (the last), or 15W (the weekday nearest to the 15th)",
};
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    allowed: "1-12 or JAN-DEC and , - * /",
};
const DAY_OF_WEEK: Field = Field {
    name: "day of week",
    least: 1,
    most: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    allowed: "1-7 (1 = SUN) or SUN-SAT and , - * ? /, or 6L (the last Friday), or THU#3 (the third Thursday)",
};
const YEAR: Field = Field { name: "year", least: 1970, most: 2199, names: &[], allowed: "1970-2199 and , - * /" };

const FIELDS: &str = "minutes hours day-of-month month day-of-week year, with seconds before them if you like";

// === impl Cron ===

impl Cron {
    /// Reads what stands between the parentheses; the error completes "schedule …".
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (seconds, fields) = match fields.as_slice() {
            [seconds, rest @ ..] if rest.len() == 6 => (*seconds, rest),
            all => ("0", all),
        };
        let &[minutes, hours, day_of_month, month, day_of_week, year] = fields else {
            return Err(format!("has {} fields; cron takes six: {FIELDS}, such as cron(0 3 ? * * *)", fields.len()));
        };
        let days = match (day_of_month, day_of_week) {
            ("?", "?") => return Err(one_question_mark("both day of month and day of week are ?")),
            (day, "?") => days_of_month(day)?,
            ("?", day) => days_of_week(day)?,
            _ => return Err(one_question_mark("neither day of month nor day of week is ?")),
        };
        Ok(Self {
            seconds: SECONDS.values(seconds)?,
            minutes: MINUTES.values(minutes)?,
            hours: HOURS.values(hours)?,
            days,
            months: MONTH.values(month)?,
            years: YEAR.values(year)?,
        })
    }

    /// The first strike at `from` or later; `None` if there is none up to the last year of cron.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let from = match from.subsec_nanosecond() {
            0 => from,
            part => from.checked_add((1_000_000_000 - part).nanoseconds()).ok()?,
        };
        for year in self.years.from(from.year()) {
            let first_month = if year == from.year() { from.month().into() } else { 1 };
            for month in self.months.from(first_month) {
                let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
                for date in self.days.of(first).into_iter().filter(|date| *date >= from.date()) {
                    let earliest = if date == from.date() { from.time() } else { Time::midnight() };
                    if let Some(time) = self.time_at_or_after(earliest) {
                        return Some(date.to_datetime(time));
                    }
                }
            }
        }
        None
    }

    fn time_at_or_after(&self, earliest: Time) -> Option<Time> {
        let (first_hour, first_minute) = (i16::from(earliest.hour()), i16::from(earliest.minute()));
        for hour in self.hours.from(first_hour) {
            let same_hour = hour == first_hour;
            for minute in self.minutes.from(if same_hour { first_minute } else { 0 }) {
                let same_minute = same_hour && minute == first_minute;
                let first_second = if same_minute { earliest.second().into() } else { 0 };
                if let Some(second) = self.seconds.from(first_second).next() {
                    let narrow = |number: i16| i8::try_from(number).ok();
                    return Time::new(narrow(hour)?, narrow(minute)?, narrow(second)?, 0).ok();
                }
            }
        }
        None
    }
}

fn one_question_mark(found: &str) -> String {
    format!("leaves the day open: {found}; write ? in one of them and the day, or *, in the other")
}

fn days_of_month(text: &str) -> Result<Days, String> {
    if text == "L" {
        return Ok(Days::LastOfMonth);
    }
    match text.strip_suffix('W') {
        Some(day) => Ok(Days::NearestWeekday(DAY_OF_MONTH.small(day).ok_or_else(|| DAY_OF_MONTH.wrong(text, ""))?)),
        None => DAY_OF_MONTH.values(text).map(Days::OfMonth),
    }
}

fn days_of_week(text: &str) -> Result<Days, String> {
    let wrong = || DAY_OF_WEEK.wrong(text, "");
    let weekday = |day: &str| Weekday::from_sunday_one_offset(DAY_OF_WEEK.small(day)?).ok();
    if text == "L" {
        // The last day of the week.
        return DAY_OF_WEEK.values("SAT").map(Days::OfWeek);
    }
    if text.contains('#') && text.contains(',') {
        return Err(DAY_OF_WEEK.wrong(text, "; only one # is possible"));
    }
    if let Some((day, number)) = text.split_once('#') {
        let number = number.parse().ok().filter(|number| (1..=5).contains(number) && text.len() <= day.len() + 2);
        return weekday(day).zip(number).map(|(day, number)| Days::Nth(day, number)).ok_or_else(wrong);
    }
    match text.strip_suffix('L') {
        Some(day) => weekday(day).map(Days::Last).ok_or_else(wrong),
        None => DAY_OF_WEEK.values(text).map(Days::OfWeek),
    }
}

// === impl Field ===

impl Field {
    fn wrong(&self, text: &str, why: &str) -> String {
        format!("has {text} as {}{why}; allowed are {}", self.name, self.allowed)
    }

    /// Lists of numbers, names, ranges and steps.
    fn values(&self, text: &str) -> Result<Values, String> {
        let mut values = Vec::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (item, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (Some(self.least), Some(self.most)),
                Some((from, to)) => (self.number(from), self.number(to)),
                // `5/10` runs on to the end.
                None => (self.number(range), step.map_or_else(|| self.number(range), |_| Some(self.most))),
            };
            let (Some(from), Some(to)) = (from, to) else { return Err(self.wrong(item, "")) };
            if from > to {
                return Err(self.wrong(item, "; a range runs upwards"));
            }
            let widest = self.most - self.least;
            let widest = if self.least == 0 { widest } else { widest + 1 };
            let step = match step.map(|step| (digits(step), step)) {
                None => 1,
                Some((Some(step), _)) if (1..=widest).contains(&step) => step,
                Some(_) => return Err(self.wrong(item, &format!("; a step is 1 to {widest}"))),
            };
            values.extend((from..=to).step_by(usize::try_from(step).unwrap_or(1)));
        }
        values.sort_unstable();
        values.dedup();
        Ok(Values(values))
    }

    fn number(&self, text: &str) -> Option<i16> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(index) => i16::try_from(index).ok()? + self.least,
            None => digits(text)?,
        };
        (self.least..=self.most).contains(&number).then_some(number)
    }

    fn small(&self, text: &str) -> Option<i8> {
        i8::try_from(self.number(text)?).ok()
    }
}

fn digits(text: &str) -> Option<i16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

// === impl Values ===

impl Values {
    fn from(&self, least: i16) -> impl Iterator<Item = i16> + '_ {
        self.0.iter().copied().skip_while(move |value| *value < least)
    }

    pub(super) fn as_slice(&self) -> &[i16] {
        &self.0
    }

    /// The one value, if there is only one.
    pub(super) fn single(&self) -> Option<i16> {
        if let [one] = self.0.as_slice() { Some(*one) } else { None }
    }
}

// === impl Days ===

impl Days {
    /// The days of the month that begins with `first`, in order.
    pub(super) fn of(&self, first: Date) -> Vec<Date> {
        let last = first.last_of_month();
        let day = |number: i16| i8::try_from(number).ok().and_then(|day| first.with().day(day).build().ok());
        match self {
            Self::OfMonth(days) => days.0.iter().filter_map(|number| day(*number)).collect(),
            Self::LastOfMonth => vec![last],
            Self::NearestWeekday(number) => day((*number).into()).map(nearest_weekday).into_iter().collect(),
            Self::OfWeek(days) => {
                let admits = |date: &Date| days.0.contains(&date.weekday().to_sunday_one_offset().into());
                (1..=last.day()).filter_map(|number| day(number.into())).filter(admits).collect()
            }
            Self::Last(weekday) => first.nth_weekday_of_month(-1, *weekday).into_iter().collect(),
            Self::Nth(weekday, number) => first.nth_weekday_of_month(*number, *weekday).into_iter().collect(),
        }
    }
}

/// Saturdays give way to Friday and Sundays to Monday, unless that crosses into another month (S 9.2.5).
fn nearest_weekday(date: Date) -> Date {
    let by = match date.weekday() {
        Weekday::Saturday if date.day() == 1 => 2,
        Weekday::Saturday => -1,
        Weekday::Sunday if date == date.last_of_month() => -2,
        Weekday::Sunday => 1,
        _ => 0,
    };
    date.saturating_add(by.days())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first strikes from a moment on.
    fn strikes<const N: usize>(expression: &str, from: &str) -> [String; N] {
        let cron = Cron::parse(expression).unwrap();
        let mut from: DateTime = from.parse().unwrap();
        std::array::from_fn(|_| match cron.at_or_after(from) {
            Some(strike) => {
                from = strike + 1.second();
                strike.to_string()
            }
            None => "never".to_owned(),
        })
    }

    #[test]
    fn expressions_strike_when_the_guide_says() {
        // The guide's sentences, S 9.2.3 and 9.2.6; the calendar of 2026: 1 January is a Thursday.
        for (expression, from, expected) in [
            // "the third Thursday of every month at 2:00 AM"
            ("0 2 ? * THU#3 *", "2026-01-01T00:00", ["2026-01-15T02:00:00", "2026-02-19T02:00:00"]),
            // "every day at 10:15 AM"
            ("15 10 ? * * *", "2026-01-01T10:15:00.5", ["2026-01-02T10:15:00", "2026-01-03T10:15:00"]),
            // "every Monday, Tuesday, Wednesday, Thursday and Friday at 10:15 AM"
            ("15 10 ? * MON-FRI *", "2026-01-02T10:15", ["2026-01-02T10:15:00", "2026-01-05T10:15:00"]),
            // "the last day of every month at 2:00 AM"
            ("0 2 L * ? *", "2028-02-01T00:00", ["2028-02-29T02:00:00", "2028-03-31T02:00:00"]),
            // "the last Friday of every month at 10:15 AM"
            ("15 10 ? * 6L *", "2026-01-01T00:00", ["2026-01-30T10:15:00", "2026-02-27T10:15:00"]),
            // S 9.2.5: 3L is the last Tuesday, 3#2 the second.
            ("0 0 ? * 3L *", "2026-01-01T00:00", ["2026-01-27T00:00:00", "2026-02-24T00:00:00"]),
            ("0 0 ? * 3#2 *", "2026-01-01T00:00", ["2026-01-13T00:00:00", "2026-02-10T00:00:00"]),
            // "11:30 PM on the third Tuesday", seven fields
            ("0 30 23 ? * TUE#3 *", "2026-01-01T00:00", ["2026-01-20T23:30:00", "2026-02-17T23:30:00"]),
            ("0 16 ? * TUE *", "2026-01-06T16:00:01", ["2026-01-13T16:00:00", "2026-01-20T16:00:00"]),
            ("0 0 21 ? 1/1 TUE#2 *", "2026-01-01T00:00", ["2026-01-13T21:00:00", "2026-02-10T21:00:00"]),
            // "09:30:24 daily"
            ("24 30 09 ? * * *", "2026-01-01T00:00", ["2026-01-01T09:30:24", "2026-01-02T09:30:24"]),
            // Sunday is 1, Saturday 7 (S 9.2.3).
            ("0 0 ? * 1 *", "2026-01-01T00:00", ["2026-01-04T00:00:00", "2026-01-11T00:00:00"]),
            ("0 0 ? * L *", "2026-01-01T00:00", ["2026-01-03T00:00:00", "2026-01-10T00:00:00"]),
            ("0 0 ? jan,mar sat *", "2026-01-30T00:00", ["2026-01-31T00:00:00", "2026-03-07T00:00:00"]),
            ("*/20 22-23 31 12 ? 2199", "2026-01-01T00:00", ["2199-12-31T22:00:00", "2199-12-31T22:20:00"]),
            ("5-59/50 0 1/30 * ? *", "2026-01-01T00:00", ["2026-01-01T00:05:00", "2026-01-01T00:55:00"]),
        ] {
            assert_eq!(strikes(expression, from), expected, "{expression}");
        }
    }

    #[test]
    fn the_nearest_weekday_stays_in_its_month() {
        // S 9.2.5. 15 August 2026 is a Saturday, 15 March 2026 a Sunday, 1 August a Saturday, 31 May a Sunday.
        for (expression, from, expected) in [
            ("0 0 15W * ? *", "2026-08-01T00:00", ["2026-08-14T00:00:00", "2026-09-15T00:00:00"]),
            ("0 0 15W 3 ? *", "2026-01-01T00:00", ["2026-03-16T00:00:00", "2027-03-15T00:00:00"]),
            ("0 0 1W 8 ? *", "2026-01-01T00:00", ["2026-08-03T00:00:00", "2027-08-02T00:00:00"]),
            ("0 0 31W * ? *", "2026-05-01T00:00", ["2026-05-29T00:00:00", "2026-07-31T00:00:00"]),
        ] {
            assert_eq!(strikes(expression, from), expected, "{expression}");
        }
    }

    #[test]
    fn rare_dates_are_found_and_impossible_ones_end_the_search() {
        for (expression, from, expected) in [
            ("0 0 29 2 ? *", "2096-03-01T00:00", ["2104-02-29T00:00:00", "2108-02-29T00:00:00"]),
            ("0 0 ? 2 SUN#5 *", "2026-01-01T00:00", ["2032-02-29T00:00:00", "2060-02-29T00:00:00"]),
            ("0 0 30 2 ? *", "2026-01-01T00:00", ["never", "never"]),
            ("0 0 31 4,6,9,11 ? *", "2026-01-01T00:00", ["never", "never"]),
            ("0 0 30W FEB ? *", "2026-01-01T00:00", ["never", "never"]),
            ("0 0 ? * * 2020-2025", "2026-01-01T00:00", ["never", "never"]),
            ("59 23 31 12 ? *", "2199-12-31T00:00", ["2199-12-31T23:59:00", "never"]),
        ] {
            assert_eq!(strikes(expression, from), expected, "{expression}");
        }
    }
}
