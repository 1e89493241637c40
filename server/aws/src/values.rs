//! AWS's values as ours: dates that are none, numbers that are absent, rows that do not parse (S 1.11).

use aws_smithy_types::DateTime;
use jiff::{SignedDuration, Timestamp};
use std::{fmt::Display, str::FromStr};

/// `None` for what AWS sends instead of nothing: epoch 0, years before it, year 1 (S 8.1.2).
pub(crate) fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time.filter(|time| time.secs() > 0)?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// A time in ISO-8601 (S 1.7), with the same kinds of nothing.
pub(crate) fn timestamp_of_text(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time: &Timestamp| time.as_second() > 0)
}

/// An ISO-8601 duration such as `PT0.091S` (S 1.8), in seconds.
pub(crate) fn seconds_of_text(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().map(|duration: SignedDuration| duration.as_secs_f64())
}

/// Counts are absent when they are 0, and -1 when a run failed before counting (S 7.1.10).
pub(crate) fn count(count: impl Into<Option<i32>>) -> u32 {
    count.into().and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

pub(crate) fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// The row's key as ours. One bad row never fails a page: it is left out, and the log says so.
pub(crate) fn key<T: FromStr<Err: Display>>(text: Option<&str>) -> Option<T> {
    let text = text.unwrap_or_default();
    match text.parse() {
        Ok(key) => Some(key),
        Err(error) => {
            tracing::warn!(aws.value = text, %error, "left out a row of AWS");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_none_are_none() {
        let at = |secs, nanos| timestamp(Some(&DateTime::from_secs_and_nanos(secs, nanos)));
        assert_eq!(timestamp(None), None);
        assert_eq!(at(0, 0), None);
        assert_eq!(at(-62_135_596_800, 0), None, "0001-01-01");
        // S 1.6: fractions of milliseconds are normal.
        assert_eq!(at(1_550_173_814, 717_000_000), Some("2019-02-14T19:50:14.717Z".parse().unwrap()));
    }

    #[test]
    fn times_as_text_may_be_empty_and_carry_offsets() {
        let at = |text| timestamp_of_text(Some(text)).map(|time| time.to_string());
        assert_eq!(at(""), None);
        assert_eq!(at("0001-01-01T00:00:00Z"), None);
        assert_eq!(at("1970-01-01T00:00:00Z"), None);
        assert_eq!(at("2024-03-12T09:00-05:00").as_deref(), Some("2024-03-12T14:00:00Z"));
        assert_eq!(at("2018-06-22T19:25:51.302Z").as_deref(), Some("2018-06-22T19:25:51.302Z"));
    }

    #[test]
    fn durations_are_read_and_empty_ones_are_none() {
        assert_eq!(seconds_of_text(Some("PT0.091S")), Some(0.091));
        assert_eq!(seconds_of_text(Some("PT1M30S")), Some(90.0));
        assert_eq!(seconds_of_text(Some("")), None);
    }

    #[test]
    fn a_count_is_never_negative() {
        assert_eq!([count(7), count(-1), count(None)], [7, 0, 0]);
    }
}
