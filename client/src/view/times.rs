//! Times as people read them: in the zone of the view, with UTC beside it where a single moment matters.

use super::View;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use prost_types::Timestamp as Stamp;

impl View {
    /// Shows times in this zone instead of UTC.
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// A heading with the zone of the times below it: `Created (Asia/Tokyo)`.
    pub(super) fn zoned(&self, heading: &str) -> String {
        format!("{heading} ({})", self.zone_name())
    }

    /// To the second, as `2026-11-24 12:00:00`; empty when unset.
    pub(super) fn time(&self, at: Option<&Stamp>) -> String {
        self.local(at).map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }

    /// To the minute, as `2026-11-24 12:00`; empty when unset.
    pub(super) fn minute(&self, at: Option<&Stamp>) -> String {
        self.local(at).map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M").to_string())
    }

    /// One moment that may matter, in both clocks: `2026-11-24 12:00:00 Asia/Tokyo (03:00:00 UTC)`; empty when unset.
    pub(super) fn moment(&self, at: Option<&Stamp>) -> String {
        let Some(local) = self.local(at) else { return String::new() };
        let text = format!("{} {}", local.strftime("%Y-%m-%d %H:%M:%S"), self.zone_name());
        if self.is_utc() {
            return text;
        }
        let utc = local.with_time_zone(TimeZone::UTC);
        let format = if utc.date() == local.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        format!("{text} ({} UTC)", utc.strftime(format))
    }

    fn local(&self, at: Option<&Stamp>) -> Option<Zoned> {
        let at = at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())?;
        Some(at.to_zoned(self.zone.clone()))
    }

    /// The zone's IANA name.
    pub fn zone_name(&self) -> &str {
        if self.is_utc() { "UTC" } else { self.zone.iana_name().unwrap_or("local") }
    }

    fn is_utc(&self) -> bool {
        let utc = ["UTC", "Etc/UTC", "Etc/UCT", "Etc/Unknown", "Zulu", "Universal"];
        self.zone.iana_name().is_some_and(|name| utc.contains(&name))
    }
}

/// How long something took, as `2m 5s`; empty while it goes on.
pub(super) fn took(from: Option<&Stamp>, to: Option<&Stamp>) -> String {
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    let seconds = (to.seconds - from.seconds).max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Stamp> {
        Some(Stamp { seconds, nanos: 0 })
    }

    #[test]
    fn times_are_in_utc_unless_told_otherwise_and_unset_ones_are_empty() {
        let view = View::plain(None);
        assert_eq!(view.time(at(0).as_ref()), "1970-01-01 00:00:00");
        assert_eq!(view.minute(at(59).as_ref()), "1970-01-01 00:00");
        assert_eq!(view.moment(at(0).as_ref()), "1970-01-01 00:00:00 UTC");
        assert_eq!(view.zoned("Created"), "Created (UTC)");
        assert_eq!([view.time(None), view.minute(None), view.moment(None)], ["", "", ""]);
    }

    #[test]
    fn another_zone_is_named_and_has_utc_beside_it() {
        let view = View::plain(None).in_zone(TimeZone::get("Asia/Tokyo").unwrap());
        assert_eq!(view.zoned("Created"), "Created (Asia/Tokyo)");
        assert_eq!(view.minute(at(0).as_ref()), "1970-01-01 09:00");
        assert_eq!(view.moment(at(0).as_ref()), "1970-01-01 09:00:00 Asia/Tokyo (00:00:00 UTC)");
        let late = at(15 * 3600);
        assert_eq!(view.moment(late.as_ref()), "1970-01-02 00:00:00 Asia/Tokyo (1970-01-01 15:00:00 UTC)");
    }

    #[test]
    fn durations_are_told_in_two_units() {
        for (seconds, text) in [(9, "9s"), (125, "2m 5s"), (7260, "2h 1m")] {
            assert_eq!(took(at(0).as_ref(), at(seconds).as_ref()), text);
        }
        assert_eq!(took(at(0).as_ref(), None), "");
    }
}
