//! Where a configuration comes from: defaults, a file, the environment, the command line; the later beats the earlier.

use super::{
    Config, ConfigError,
    effective::Effective,
    keys::{KEYS, Key, PREFIX, Unset},
};
use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};
use toml::{Table, Value, de::DeTable, de::DeValue};

/// Variables that begin like ours and are not the server's: of its command line, of `patchctl`, and of the tests.
const OTHERS: [&str; 7] = [
    "PATCHPLANE_CONFIG",
    "PATCHPLANE_LOG",
    "PATCHPLANE_SERVER",
    "PATCHPLANE_ACCOUNT",
    "PATCHPLANE_REGION",
    "PATCHPLANE_BIN",
    "PATCHPLANE_TESTS",
];

/// What has been said so far, where, and what is wrong with it.
#[derive(Default)]
pub struct Layers {
    tree: Table,
    /// By path, such as `limits.max_deadline` or `locations[0].account`.
    sources: BTreeMap<String, Source>,
    faults: Vec<String>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `None`: the text has no name.
    File {
        name: Option<String>,
        line: usize,
    },
    Variable(String),
    Flag(&'static str),
    Simulation,
}

impl Layers {
    pub fn file(mut self, path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(Some(path.display().to_string()), &text),
            Err(error) => {
                self.faults.push(format!("{} cannot be read: {error}", path.display()));
                self
            }
        }
    }

    /// A file's text, and its name.
    pub fn text(mut self, name: Option<String>, text: &str) -> Self {
        self.toml(text, &|line| Source::File { name: name.clone(), line });
        self
    }

    /// What the simulated account is worked with: only it can say that nobody else needs to.
    pub fn simulation(mut self, text: &str) -> Self {
        self.toml(text, &|_| Source::Simulation);
        self
    }

    /// Variables such as `PATCHPLANE_LIMITS__MAX_DEADLINE`. An empty one counts as unset; lists of tables are TOML.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut ours: Vec<_> = ours
            .filter(|(name, value)| {
                name.starts_with(PREFIX) && !value.is_empty() && !OTHERS.contains(&name.as_str()) && !is_link(name)
            })
            .collect();
        ours.sort();
        for (name, value) in ours {
            let known = || KEYS.iter().filter_map(Key::variable);
            let key = KEYS.iter().find(|key| key.variable().as_ref() == Some(&name));
            match (key, value.into_string()) {
                (Some(key), Ok(text)) if key.is_tables() => {
                    let list = format!("{} = {text}", key.path);
                    self.toml(&list, &|_| Source::Variable(name.clone()));
                }
                (Some(key), Ok(text)) => self.say(key.path, key.read(&text), Source::Variable(name)),
                (Some(_), Err(_)) => self.faults.push(format!("{name} is no text")),
                (None, _) => {
                    let near = nearest(&name, known()).unwrap_or_default();
                    self.faults.push(format!("the variable {name} says nothing here; did you mean {near}?"));
                }
            }
        }
        self
    }

    /// What the option `flag` says of a key; nothing if it is absent.
    pub fn flag(mut self, flag: &'static str, path: &'static str, value: Option<impl fmt::Display>) -> Self {
        if let (Some(value), Some(key)) = (value, Key::of(path)) {
            self.say(path, key.read(&value.to_string()), Source::Flag(flag));
        }
        self
    }

    /// What options `--set KEY=VALUE` say.
    pub fn set(mut self, assignments: &[String]) -> Self {
        for assignment in assignments {
            let (path, text) = assignment.split_once('=').unwrap_or((assignment, ""));
            match Key::of(path).filter(|key| !key.path.contains("[]") && !key.is_tables()) {
                Some(key) => self.say(path, key.read(text), Source::Flag("--set")),
                None => {
                    let single = KEYS.iter().filter(|key| key.variable().is_some() && !key.is_tables());
                    let near = nearest(path, single.map(|key| key.path)).unwrap_or_default();
                    self.faults.push(format!("--set {path}: there is no such key to set; did you mean `{near}`?"));
                }
            }
        }
        self
    }

    /// The whole, if nothing is wrong with it; else all that is.
    pub fn load(mut self) -> Result<(Config, Effective), ConfigError> {
        for key in KEYS.iter().filter(|key| !key.path.contains("[]")) {
            self.check(key, key.path);
        }
        if !self.faults.is_empty() {
            return Err(ConfigError(self.faults));
        }
        let config: Config = self.tree.clone().try_into().map_err(|error: toml::de::Error| {
            // Rows of `KEYS` tell what is wrong with a value; this is for what no row knows.
            ConfigError(vec![error.to_string().trim_end().to_owned()])
        })?;
        let faults = config.contradictions();
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        Ok((config, Effective { tree: self.tree, sources: self.sources }))
    }

    fn check(&mut self, key: &'static Key, path: &str) {
        let value = at(&self.tree, path).cloned();
        let source = self.sources.get(path);
        match value {
            None if key.unset == Unset::Refused => {
                let beside = path.rsplit_once('.').and_then(|(table, _)| self.sources.get(table));
                let place = beside.map(|source| format!("{source}: ")).unwrap_or_default();
                let variable = key.variable().filter(|_| !key.is_tables());
                let or = variable.map(|name| format!(" in the file or as {name}")).unwrap_or_default();
                self.faults.push(format!("{place}`{path}` is required: set it{or}"));
            }
            None => {}
            Some(value) => {
                if let Some(fault) = key.fault(&value) {
                    let place = source.map(|source| format!("{source}: ")).unwrap_or_default();
                    self.faults.push(format!("{place}`{path}` {fault}"));
                } else if let (true, Value::Array(tables)) = (key.is_tables(), value) {
                    for index in 0..tables.len() {
                        for (column, row) in key.columns() {
                            self.check(row, &format!("{path}[{index}].{column}"));
                        }
                    }
                }
            }
        }
    }

    fn say(&mut self, path: &str, value: Value, source: Source) {
        let mut table = &mut self.tree;
        let mut rest = path;
        while let Some((section, inner)) = rest.split_once('.') {
            let within = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(within) = within else { return };
            (table, rest) = (within, inner);
        }
        table.insert(rest.to_owned(), value);
        let inside = format!("{path}[");
        self.sources.retain(|known, _| !known.starts_with(&inside));
        self.sources.insert(path.to_owned(), source);
    }

    fn toml(&mut self, text: &str, source: &dyn Fn(usize) -> Source) {
        let line = |at: usize| source(text[..at.min(text.len())].matches('\n').count() + 1);
        match (DeTable::parse(text), text.parse::<Table>()) {
            (Ok(spans), Ok(values)) => self.table("", "", spans.get_ref(), &values, &line),
            (Err(error), _) | (_, Err(error)) => {
                let at = error.span().map_or(0, |span| span.start);
                self.faults.push(format!("{}: {}", line(at), error.message()));
            }
        }
    }

    /// Takes in a table at `path`, whose rows are `pattern`'s, naming what is unknown.
    fn table(
        &mut self,
        path: &str,
        pattern: &str,
        spans: &DeTable<'_>,
        values: &Table,
        line: &dyn Fn(usize) -> Source,
    ) {
        for (name, inner) in spans {
            let (place, name) = (line(name.span().start), name.get_ref().as_ref());
            let Some(value) = values.get(name) else { continue };
            let (path, row) = (join(path, name), join(pattern, name));
            let is_section = KEYS.iter().any(|key| key.path.starts_with(&format!("{row}.")));
            match (Key::of(&row), inner.get_ref(), value) {
                (Some(key), DeValue::Array(tables), Value::Array(list)) if key.is_tables() => {
                    self.say(&path, value.clone(), place.clone());
                    for (index, (spans, value)) in tables.iter().zip(list).enumerate() {
                        let (at, place) = (format!("{path}[{index}]"), line(spans.span().start));
                        match (spans.get_ref(), value) {
                            (DeValue::Table(spans), Value::Table(values)) => {
                                self.sources.insert(at.clone(), place);
                                self.table(&at, &format!("{row}[]"), spans, values, line);
                            }
                            _ => self.faults.push(format!("{place}: `{at}` must be a table")),
                        }
                    }
                }
                (Some(_), _, _) if path.contains('[') => {
                    self.sources.insert(path, place);
                }
                (Some(_), _, _) => self.say(&path, value.clone(), place),
                (None, DeValue::Table(spans), Value::Table(values)) if is_section => {
                    self.table(&path, &row, spans, values, line);
                }
                (None, _, _) if is_section => self.faults.push(format!("{place}: `{path}` must be a table")),
                (None, _, _) => {
                    let near = near_key(name, pattern).unwrap_or_default();
                    self.faults.push(format!("{place}: there is no key `{path}`; did you mean `{near}`?"));
                }
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name: Some(name), line } => write!(f, "{name}:{line}"),
            Self::File { name: None, line } => write!(f, "line {line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Simulation => f.write_str("simulated"),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What stands at a path such as `limits.max_deadline` or `locations[0].account`.
pub(super) fn at<'a>(tree: &'a Table, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = match first.strip_suffix(']').and_then(|first| first.split_once('[')) {
        Some((list, index)) => tree.get(list)?.get(index.parse::<usize>().ok()?)?,
        None => tree.get(first)?,
    };
    match rest {
        Some(rest) => at(value.as_table()?, rest),
        None => Some(value),
    }
}

/// The known key that was meant: one of the same table, or one elsewhere whose name is just so.
fn near_key(name: &str, pattern: &str) -> Option<String> {
    let elsewhere = KEYS.iter().map(|key| key.path).find(|path| path.rsplit('.').next() == Some(name));
    let here = KEYS.iter().filter_map(|key| {
        let inside = if pattern.is_empty() { key.path } else { key.path.strip_prefix(pattern)?.strip_prefix('.')? };
        inside.split('.').next().filter(|inside| !inside.contains('['))
    });
    elsewhere.map(str::to_owned).or_else(|| nearest(name, here.map(str::to_owned)))
}

fn nearest<T: AsRef<str>>(word: &str, known: impl Iterator<Item = T>) -> Option<T> {
    let near = |known: &T| strsim::jaro_winkler(word, known.as_ref());
    known.max_by(|a, b| near(a).total_cmp(&near(b)))
}

/// Whether Kubernetes or Docker made this variable, for a service whose name begins like ours.
fn is_link(name: &str) -> bool {
    let (_, port) = name.rsplit_once("_PORT").unwrap_or((name, "no"));
    let is_port = |rest: &str| rest.split('_').next().is_some_and(|number| number.parse::<u16>().is_ok());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || port.is_empty()
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
store = \"patchplane.db\"
[limits]
max_deadline = \"5m\"
[[locations]]
account = \"123456789012\"
region = \"eu-central-1\"
";

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn with(pairs: &[(&str, &str)]) -> Result<(Config, Effective), ConfigError> {
        Layers::default().text(Some("x.toml".to_owned()), FILE).environment(variables(pairs)).load()
    }

    fn fault(pairs: &[(&str, &str)]) -> String {
        with(pairs).unwrap_err().to_string()
    }

    #[test]
    fn flags_beat_the_environment_and_it_beats_the_file() {
        let layers = || {
            let said = [("PATCHPLANE_LIMITS__MAX_DEADLINE", "7m"), ("PATCHPLANE_STORE", "env.db")];
            Layers::default().text(None, FILE).environment(variables(&said))
        };
        let seconds = |layers: Layers| layers.load().unwrap().0.limits.max_deadline.as_secs();
        assert_eq!(seconds(Layers::default().text(None, FILE)), 300);
        assert_eq!(seconds(layers()), 420);
        assert_eq!(seconds(layers().set(&["limits.max_deadline=8m".to_owned()])), 480);
        let store = layers().flag("--store", "store", Some("flag.db")).load().unwrap().0.store;
        assert_eq!(store.to_string(), "flag.db");
        assert_eq!(layers().flag("--store", "store", None::<&str>).load().unwrap().0.store.to_string(), "env.db");
    }

    #[test]
    fn every_key_can_come_from_the_environment() {
        for key in KEYS {
            let (Some(name), Unset::Default(text)) = (key.variable(), key.unset) else { continue };
            with(&[(&name, text.trim_matches('"'))]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let lists = [
            ("PATCHPLANE_LOCATIONS", "[{ account = \"111122223333\", region = \"us-east-1\" }]"),
            ("PATCHPLANE_ADVISORY_FEEDS", "[{ operating_system = \"ROCKY_LINUX\", file = \"a.xml\" }]"),
            ("PATCHPLANE_UNAUTHENTICATED_NETWORK", "true"),
            ("PATCHPLANE_LIMITS__CONCURRENT_CALLS", "7"),
            ("PATCHPLANE_TELEMETRY__PROMETHEUS", "127.0.0.1:9464"),
            ("PATCHPLANE_AWS_ENDPOINT_URL", ""),
        ];
        let (config, _) = with(&lists).unwrap();
        assert_eq!(config.locations[0].account.as_str(), "111122223333");
        assert_eq!((config.advisory_feeds.len(), config.limits.concurrent_calls), (1, 7));
        assert!(config.unauthenticated_network && config.telemetry.prometheus.is_some());
        assert_eq!(config.aws_endpoint_url, None, "an empty variable counts as unset");
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_one() {
        let told = fault(&[("PATCHPLANE_LIMITS_MAX_DEADLINE", "1m")]);
        assert!(told.contains("did you mean PATCHPLANE_LIMITS__MAX_DEADLINE?"), "{told}");
        assert!(fault(&[("PATCHPLANE_LISTN", "x")]).contains("did you mean PATCHPLANE_LISTEN?"));
        assert!(fault(&[("PATCHPLANE_LOCATIONS__0__REGION", "x")]).contains("PATCHPLANE_LOCATIONS?"));
    }

    #[test]
    fn variables_of_others_are_passed_over() {
        let mut others: Vec<_> = OTHERS.iter().map(|name| (*name, "x")).collect();
        // As Kubernetes makes them for a service `patchplane` and another one `patchplane-metrics`.
        others.extend([
            ("PATCHPLANE_SERVICE_HOST", "10.0.0.1"),
            ("PATCHPLANE_SERVICE_PORT", "50051"),
            ("PATCHPLANE_SERVICE_PORT_GRPC", "50051"),
            ("PATCHPLANE_PORT", "tcp://10.0.0.1:50051"),
            ("PATCHPLANE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("PATCHPLANE_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("PATCHPLANE_METRICS_PORT_9464_TCP_PROTO", "tcp"),
            ("PATH", "/usr/bin"),
        ]);
        with(&others).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_all_at_once() {
        let file = FILE.replace("5m", "0s").replace("region", "regoin").replace("[limits]", "[limits]\nlame_duck = 1");
        let told = Layers::default().text(Some("x.toml".to_owned()), &file).load().unwrap_err().to_string();
        for line in [
            "x.toml:3: there is no key `limits.lame_duck`; did you mean `drain.lame_duck`?",
            "x.toml:4: `limits.max_deadline` is \"0s\", and must be a duration with its unit, such as \"90s\", from 1s to 24h",
            "x.toml:7: there is no key `locations[0].regoin`; did you mean `region`?",
            "x.toml:5: `locations[0].region` is required: set it",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
        let told = fault(&[("PATCHPLANE_LIMITS__CONCURRENT_CALLS", "many")]);
        let meant = "PATCHPLANE_LIMITS__CONCURRENT_CALLS: `limits.concurrent_calls` is \"many\", and must be a number";
        assert!(told.contains(meant), "{told}");
        let told = Layers::default().text(Some("x.toml".to_owned()), "store = \n").load().unwrap_err().to_string();
        assert!(told.starts_with("x.toml:1: "), "{told}");
        let told = Layers::default().text(None, "limits = 3\nlocations = [1]").load().unwrap_err().to_string();
        assert!(told.contains("line 1: `limits` must be a table") && told.contains("PATCHPLANE_STORE"), "{told}");
        assert!(told.contains("line 2: `locations[0]` must be a table"), "{told}");
    }
}
