//! Advisory files: yum's and dnf's `updateinfo.xml`, and OSV's JSON, as patches that baselines can judge (S 4.7.13).

use crate::{AvailablePatch, Invalid};
use jiff::{Timestamp, civil, tz::TimeZone};
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use serde::Deserialize;

/// The patches of an advisory file; the first character tells its format. Products are not told by either.
pub fn parse_advisories(text: &str) -> Result<Vec<AvailablePatch>, Invalid> {
    match text.trim_start().chars().next() {
        Some('<') => updateinfo(text),
        Some('{' | '[') => osv(text),
        _ => Err(wrong("must be an updateinfo.xml or OSV's JSON")),
    }
}

fn wrong(rule: impl Into<String>) -> Invalid {
    Invalid::new("advisories", rule)
}

// === updateinfo.xml ===

/// What the notice says, its packages inherit (S 4.7.12).
fn updateinfo(text: &str) -> Result<Vec<AvailablePatch>, Invalid> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().trim_text(true);
    let (mut patches, mut notice, mut packages) = (Vec::new(), AvailablePatch::default(), Vec::new());
    let (mut element, mut depth) = (String::new(), 0_usize);
    loop {
        let event = reader
            .read_event()
            .map_err(|error| wrong(format!("is not well-formed XML at byte {}: {error}", reader.error_position())))?;
        if matches!(event, Event::Start(_)) {
            depth += 1;
        }
        match event {
            Event::Start(start) | Event::Empty(start) => {
                element = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                let value = |name: &str| attribute(&start, name);
                match element.as_str() {
                    "update" => {
                        packages.clear();
                        notice = AvailablePatch { classification: capitalised(&value("type")), ..Default::default() };
                        notice.from_security_source = true;
                    }
                    // A re-issue restarts the wait (S 4.4.5), whichever of the two stands first.
                    "updated" => notice.released = date(&value("date")).or(notice.released),
                    "issued" => notice.released = notice.released.or_else(|| date(&value("date"))),
                    "reference" => match value("type").as_str() {
                        "cve" => notice.cve_ids.push(value("id")),
                        "bugzilla" => notice.bugzilla_ids.push(value("id")),
                        _ => {}
                    },
                    "package" => packages.push(["name", "epoch", "version", "release", "arch"].map(value)),
                    _ => {}
                }
            }
            Event::Text(content) => {
                let content = content.decode().unwrap_or_default();
                match element.as_str() {
                    "id" if notice.advisory_ids.is_empty() => notice.advisory_ids.push(content.into_owned()),
                    "severity" => notice.severity = capitalised(&content),
                    _ => {}
                }
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                element.clear();
                if end.local_name().as_ref() == b"update" {
                    patches.extend(packages.drain(..).map(|package| of_package(&notice, package)));
                }
            }
            Event::Eof if depth > 0 => return Err(wrong("ends in the midst of an element")),
            Event::Eof => return Ok(patches),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> String {
    let found = element.try_get_attribute(name).ok().flatten();
    found.and_then(|found| Some(found.unescape_value().ok()?.into_owned())).unwrap_or_default()
}

fn of_package(notice: &AvailablePatch, [name, epoch, version, release, arch]: [String; 5]) -> AvailablePatch {
    let epoch = if epoch.is_empty() { "0".to_owned() } else { epoch };
    AvailablePatch {
        kb_id: format!("{name}.{arch}"),
        title: format!("{name}.{arch}:{epoch}:{version}-{release}"),
        name,
        epoch,
        version,
        release,
        arch,
        ..notice.clone()
    }
}

/// Types and severities as AWS spells them: `bugfix` is Bugfix, `important` Important.
fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect())
}

/// `2023-10-31 00:49:00`, with or without seconds or time, in UTC; or seconds since 1970; or ISO-8601.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    let text = text.trim_end_matches("UTC").trim_end();
    let day = || {
        let forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
        let time = forms.iter().find_map(|form| civil::DateTime::strptime(form, text).ok());
        time.or_else(|| Some(text.parse::<civil::Date>().ok()?.at(0, 0, 0, 0)))
    };
    text.parse().ok().or_else(|| Some(day()?.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

// === OSV ===

#[derive(Deserialize)]
struct Entry {
    id: String,
    published: Option<String>,
    modified: Option<String>,
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    related: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
    #[serde(default)]
    affected: Vec<Affected>,
    database_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Specific {
    severity: Option<String>,
}

#[derive(Deserialize)]
struct Affected {
    package: Option<Named>,
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    events: Vec<Bound>,
}

#[derive(Deserialize)]
struct Bound {
    fixed: Option<String>,
}

/// One entry, a list of entries, or one entry a line.
fn osv(text: &str) -> Result<Vec<AvailablePatch>, Invalid> {
    let bad = |error: serde_json::Error| wrong(format!("is not OSV's JSON: {error}"));
    let entries: Vec<Entry> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(bad)?
    } else {
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().map_err(bad)?
    };
    Ok(entries.into_iter().filter(|entry| entry.withdrawn.is_none()).flat_map(of_entry).collect())
}

fn of_entry(entry: Entry) -> Vec<AvailablePatch> {
    let Entry { id, published, modified, aliases, related, upstream, affected, database_specific, .. } = entry;
    let mut cve_ids: Vec<String> = [aliases, related, upstream].concat();
    cve_ids.push(id.clone());
    cve_ids.retain(|id| id.starts_with("CVE-"));
    cve_ids.sort();
    cve_ids.dedup();
    let notice = AvailablePatch {
        classification: "Security".to_owned(),
        severity: database_specific.and_then(|own| own.severity).map(|word| capitalised(&word)).unwrap_or_default(),
        advisory_ids: vec![id],
        cve_ids,
        // `modified` changes with the database's own upkeep.
        released: published.or(modified).as_deref().and_then(date),
        from_security_source: true,
        ..AvailablePatch::default()
    };
    let of_affected = |affected: Affected| {
        let name = affected.package.map(|package| package.name).unwrap_or_default();
        let fixed = affected.ranges.into_iter().flat_map(|range| range.events).filter_map(|bound| bound.fixed);
        fixed
            .map(|fixed| {
                let (epoch, rest) = fixed.split_once(':').unwrap_or(("0", &fixed));
                let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
                AvailablePatch {
                    kb_id: name.clone(),
                    title: format!("{name}:{fixed}"),
                    name: name.clone(),
                    epoch: epoch.to_owned(),
                    version: version.to_owned(),
                    release: release.to_owned(),
                    ..notice.clone()
                }
            })
            .collect::<Vec<_>>()
    };
    affected.into_iter().flat_map(of_affected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form that Amazon Linux's repositories have; the advisory itself is public (ALAS2-2023-2287).
    const UPDATEINFO: &str = r#"<?xml version="1.0" ?>
<updates>
  <update status="final" version="1.4" author="linux-security@amazon.com" type="security" from="linux-security@amazon.com">
    <id>ALAS2-2023-2287</id>
    <title>Amazon Linux 2 2017.12 - ALAS2-2023-2287: important priority package update for curl</title>
    <issued date="2023-10-10 17:02"/>
    <updated date="2023-10-12 15:03:00"/>
    <severity>important</severity>
    <description>Package updates are available &amp; fix a heap overflow.</description>
    <references>
      <reference href="https://example.com" id="CVE-2023-38545" title="" type="cve"/>
      <reference href="https://example.com" id="2241933" type="bugzilla"/>
    </references>
    <pkglist><collection short="amazon-linux-2"><name>Amazon Linux 2</name>
      <package name="curl" version="8.3.0" release="1.amzn2.0.4" epoch="0" arch="x86_64"><filename>curl.rpm</filename></package>
      <package name="libcurl" version="8.3.0" release="1.amzn2.0.4" epoch="0" arch="i686"><filename>x</filename></package>
    </collection></pkglist>
  </update>
  <update type="bugfix"><id>ALAS2-2099-0001</id><issued date="2099-01-01"/><severity>low</severity><pkglist/></update>
</updates>"#;

    #[test]
    fn notices_of_updateinfo_become_patches_of_their_packages() {
        let patches = parse_advisories(UPDATEINFO).unwrap();
        let titles: Vec<_> = patches.iter().map(|patch| patch.title.as_str()).collect();
        assert_eq!(titles, ["curl.x86_64:0:8.3.0-1.amzn2.0.4", "libcurl.i686:0:8.3.0-1.amzn2.0.4"]);
        let curl = &patches[0];
        assert_eq!((curl.classification.as_str(), curl.severity.as_str()), ("Security", "Important"));
        assert_eq!(
            (curl.advisory_ids.as_slice(), curl.cve_ids.as_slice()),
            (&["ALAS2-2023-2287".to_owned()][..], &["CVE-2023-38545".to_owned()][..])
        );
        assert_eq!(curl.bugzilla_ids, ["2241933"]);
        // S 4.4.5: the updated date.
        assert_eq!(curl.released, Some("2023-10-12T15:03:00Z".parse().unwrap()));
    }

    #[test]
    fn entries_of_osv_become_patches_of_their_fixed_versions() {
        let entry = r#"{"schema_version":"1.6.0","id":"RLSA-2023:5763","published":"2023-10-16T12:00:00Z",
            "modified":"2024-01-01T00:00:00Z","related":["CVE-2023-38545"],
            "affected":[{"package":{"ecosystem":"Rocky Linux:9","name":"curl"},
            "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"0:7.76.1-23.el9_2.4"}]}]}]}"#;
        for text in [entry.to_owned(), format!("[{entry}]"), format!("{entry}\n{entry}")] {
            let patch = parse_advisories(&text).unwrap().remove(0);
            assert_eq!(
                (patch.name.as_str(), patch.version.as_str(), patch.release.as_str()),
                ("curl", "7.76.1", "23.el9_2.4")
            );
            assert_eq!(patch.cve_ids, ["CVE-2023-38545"]);
            assert_eq!(patch.released, Some("2023-10-16T12:00:00Z".parse().unwrap()));
        }
    }

    #[test]
    fn files_that_are_neither_or_broken_are_refused() {
        for text in ["", "hello", "<updates><update>", "{", "[{}]", "{\"id\": 1}"] {
            assert!(parse_advisories(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_come_in_several_forms() {
        for text in
            ["2023-10-12 15:03:00", "2023-10-12 15:03", "2023-10-12T15:03:00Z", "1697122980", "2023-10-12 15:03:00 UTC"]
        {
            assert_eq!(date(text), Some("2023-10-12T15:03:00Z".parse().unwrap()), "{text}");
        }
        assert_eq!(date("2023-10-12"), Some("2023-10-12T00:00:00Z".parse().unwrap()));
        assert_eq!(date("soon"), None);
    }
}
