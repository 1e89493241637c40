//! A configuration as it counts, for people: each value, and who says so; secrets are left out.

use super::{
    keys::{KEYS, Key, Unset},
    layers::{Source, at},
};
use std::{collections::BTreeMap, fmt};
use toml::{Table, Value};

/// All values and where they come from. Its text is TOML, with the source of each value as a comment.
pub struct Effective {
    pub(super) tree: Table,
    pub(super) sources: BTreeMap<String, Source>,
}

impl Effective {
    fn line(&self, f: &mut fmt::Formatter<'_>, key: &Key, path: &str) -> fmt::Result {
        let name = path.rsplit('.').next().unwrap_or(path);
        match (at(&self.tree, path), key.unset) {
            (Some(value), _) => writeln!(f, "{name} = {}  # {}", key.shown(value), self.source(path)),
            (None, Unset::Default(value)) => writeln!(f, "{name} = {value}  # default"),
            (None, Unset::Means | Unset::Refused) => writeln!(f, "# {name} is unset"),
        }
    }

    fn source(&self, path: &str) -> String {
        // A list that the environment says has one source for all of it.
        let list = || path.split_once('[').and_then(|(list, _)| self.sources.get(list));
        self.sources.get(path).or_else(list).map(Source::to_string).unwrap_or_default()
    }
}

/// As people may see it.
impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for key in KEYS.iter().filter(|key| !key.path.contains("[]") && !key.is_tables()) {
            let within = key.path.split_once('.').map_or("", |(section, _)| section);
            if within != section {
                writeln!(f, "\n[{within}]")?;
                section = within;
            }
            self.line(f, key, key.path)?;
        }
        for list in KEYS.iter().filter(|key| key.is_tables()) {
            let count = at(&self.tree, list.path).and_then(Value::as_array).map_or(0, Vec::len);
            for index in 0..count {
                writeln!(f, "\n[[{}]]", list.path)?;
                for (column, key) in list.columns() {
                    self.line(f, key, &format!("{}[{index}].{column}", list.path))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Layers};

    const FILE: &str = "\
store = \"postgres://me:hush@db.example/patchplane\"
[drain]
lame_duck = \"7s\"
[[locations]]
account = \"123456789012\"
region = \"eu-central-1\"
role_arn = \"arn:aws:iam::123456789012:role/patchplane\"
external_id = \"hush\"
";

    #[test]
    fn each_value_is_shown_with_its_source_and_no_secret_is() {
        let environment = [("PATCHPLANE_TELEMETRY__LOGS".into(), "json".into())];
        let layers = Layers::default().text(Some("x.toml".to_owned()), FILE).environment(environment);
        let (config, effective) = layers.flag("--listen", "listen", Some("127.0.0.1:1")).load().unwrap();
        let shown = effective.to_string();
        for line in [
            "listen = \"127.0.0.1:1\"  # --listen",
            "store = \"postgres://me@db.example/patchplane\"  # x.toml:1",
            "retention = \"400d\"  # default",
            "lame_duck = \"7s\"  # x.toml:3",
            "logs = \"json\"  # PATCHPLANE_TELEMETRY__LOGS",
            "account = \"123456789012\"  # x.toml:5",
            "# prometheus is unset",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        assert!(!shown.contains("hush"), "{shown}");
        let again = Config::parse(&shown).unwrap();
        assert_eq!((again.limits, again.drain, again.telemetry), (config.limits, config.drain, config.telemetry));
        assert_eq!((again.listen, again.locations.len()), (config.listen, 1));
    }

    #[test]
    fn no_secret_is_told_by_a_fault() {
        let wrong = FILE.replace("\"hush\"", "77_88").replace("db.example", "[db");
        let told = Config::parse(&wrong).unwrap_err().to_string();
        assert!(!told.contains("hush") && !told.contains("7788") && !told.contains("77_88"), "{told}");
        assert!(told.contains("`locations[0].external_id` must be a text"), "{told}");
    }
}
