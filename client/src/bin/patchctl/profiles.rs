//! Profiles: servers, accounts and habits under a name, in a file of the user's.

use crate::{
    args::Scope,
    failure::{Exit, Failure},
    output::{Format, Out},
};
use clap::Args;
use jiff::tz::{self, TimeZone};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, env, fs, io, path::PathBuf};

/// The server of whoever says nothing.
pub(crate) const SERVER: &str = "http://127.0.0.1:50051";

const SAMPLE: &str = "\
[profiles.sim]
server = \"http://127.0.0.1:50051\"
account = \"111122223333\"
region = \"us-east-1\"
output = \"table\"            # or json, yaml
time_zone = \"Asia/Tokyo\"    # for times in tables; unset: this machine's
";

/// `patchctl profiles`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is ~/.config/patchctl/config.toml, or where XDG_CONFIG_HOME or PATCHCTL_CONFIG say:

  default = \"sim\"             # used unless --profile or PATCHCTL_PROFILE say otherwise
  [profiles.sim]
  server = \"http://127.0.0.1:50051\"
  account = \"111122223333\"
  region = \"us-east-1\"
  output = \"table\"            # or json, yaml
  time_zone = \"Asia/Tokyo\"    # for times in tables; unset: this machine's

Examples:
  patchctl profiles
  patchctl --profile sim instances")]
pub(crate) struct Profiles {}

/// What was said on the command line and in the environment.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) server: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) output: Option<Format>,
    pub(crate) zone: Option<String>,
    pub(crate) scope: Scope,
}

/// What holds after the profile has filled in what was not said.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server: String,
    pub(crate) scope: Scope,
    pub(crate) format: Format,
    pub(crate) zone: TimeZone,
    /// The profile in use.
    profile: Option<String>,
    file: File,
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile of whoever names none.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: Option<String>,
    account: Option<String>,
    region: Option<String>,
    output: Option<Format>,
    time_zone: Option<String>,
}

// === impl Settings ===

impl Settings {
    /// Reads the user's file. What was said wins over the profile, the profile over what is built in.
    pub(crate) fn read(said: Said) -> Result<Self, Failure> {
        let path = path();
        let file = match &path {
            Some(path) => match fs::read_to_string(path) {
                Ok(text) => parse(&text).map_err(|error| Failure::Usage {
                    what: format!("{}: {error}", path.display()),
                    next: "correct the file; `patchctl profiles --help` shows one".to_owned(),
                })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => File::default(),
                Err(error) => {
                    return Err(Failure::Usage {
                        what: format!("{} cannot be read: {error}", path.display()),
                        next: "correct its permissions, or name another file in PATCHCTL_CONFIG".to_owned(),
                    });
                }
            },
            None => File::default(),
        };
        Self::merge(said, file, path)
    }

    fn merge(said: Said, file: File, path: Option<PathBuf>) -> Result<Self, Failure> {
        let Said { server, profile, output, zone, scope } = said;
        let name = profile.or_else(|| file.default.clone());
        let profile = match &name {
            None => Profile::default(),
            Some(name) => file.profiles.get(name).cloned().ok_or_else(|| unknown_profile(name, &file, &path))?,
        };
        Ok(Self {
            server: server.or(profile.server).unwrap_or_else(|| SERVER.to_owned()),
            scope: scope.or(profile.account, profile.region),
            format: output.or(profile.output).unwrap_or_default(),
            zone: match zone.or(profile.time_zone) {
                Some(zone) => named_zone(&zone)?,
                None => TimeZone::try_system().unwrap_or(TimeZone::UTC),
            },
            profile: name,
            file,
            path,
        })
    }
}

// === impl Profiles ===

impl Profiles {
    /// Lists the profiles; no server is needed.
    pub(crate) fn run(self, settings: Settings) -> Result<Exit, Failure> {
        let out = Out::new(settings.format, settings.zone)?;
        let path = settings.path.map(|path| path.display().to_string()).unwrap_or_default();
        let (used, profiles) = (settings.profile, settings.file.profiles);
        if out.is_json() {
            out.write_json(&serde_json::json!({ "file": path, "inUse": used, "profiles": profiles }))?;
            return Ok(Exit::Well);
        }
        if profiles.is_empty() {
            out.write(&format!("No profiles yet. Write them into {path}, such as:\n\n{SAMPLE}"))?;
            return Ok(Exit::Well);
        }
        let rows = profiles.into_iter().map(|(name, profile)| {
            let Profile { server, account, region, output, time_zone } = profile;
            let mark = if used.as_ref() == Some(&name) { "in use" } else { "" };
            let output = output.map(|output| format!("{output:?}").to_lowercase());
            let [server, account, region, output, time_zone] =
                [server, account, region, output, time_zone].map(Option::unwrap_or_default);
            vec![name, mark.to_owned(), server, account, region, output, time_zone]
        });
        let header = ["Profile", "", "Server", "Account", "Region", "Output", "Time zone"];
        out.write(
            &(out.view.rows(&header, rows) + "\n" + &format!("From {path}; flags and environment win over it.\n")),
        )?;
        Ok(Exit::Well)
    }
}

/// A zone by its IANA name.
fn named_zone(name: &str) -> Result<TimeZone, Failure> {
    TimeZone::get(name).map_err(|_| {
        let known = tz::db().available().map(|known| known.to_string());
        Failure::Usage {
            what: format!("{name:?} is no time zone{}", did_you_mean(name, known)),
            next: "give an IANA name such as Asia/Tokyo, Europe/Berlin or UTC".to_owned(),
        }
    })
}

/// `; did you mean "…"?` with the known word that looks most alike, or nothing.
pub(crate) fn did_you_mean(word: &str, known: impl IntoIterator<Item = String>) -> String {
    let alike = |known: &str| strsim::jaro_winkler(&word.to_lowercase(), &known.to_lowercase());
    let last = |known: &str| known.rsplit('/').next().map_or(0.0, alike);
    let scored = known.into_iter().map(|known| (alike(&known).max(last(&known)), known));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, nearest)) if score > 0.8 => format!("; did you mean {nearest:?}?"),
        _ => String::new(),
    }
}

fn unknown_profile(name: &str, file: &File, path: &Option<PathBuf>) -> Failure {
    let path = path.as_ref().map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
    let near = did_you_mean(name, file.profiles.keys().cloned());
    Failure::Usage {
        what: format!("there is no profile {name:?} in {path}{near}"),
        next: "`patchctl profiles` lists those there are, once --profile and PATCHCTL_PROFILE are unset".to_owned(),
    }
}

/// The user's file, whether or not it exists: PATCHCTL_CONFIG, or by the XDG rules.
fn path() -> Option<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(path) = env::var_os("PATCHCTL_CONFIG").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let base = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(base.join("patchctl").join("config.toml"))
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let message = error.to_string();
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        let near = match message.contains("unknown field").then(|| quoted.next()).flatten() {
            Some(unknown) => did_you_mean(&unknown, quoted),
            None => String::new(),
        };
        format!("{}{near}", message.trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        scope: Scope,
    }

    fn said(profile: Option<&str>, scope: &[&str]) -> Said {
        let line = ["x"].iter().chain(scope);
        let scope = Line::try_parse_from(line).unwrap().scope;
        Said { server: None, profile: profile.map(str::to_owned), output: None, zone: None, scope }
    }

    const FILE: &str = "
        default = \"sim\"
        [profiles.sim]
        server = \"http://127.0.0.1:1\"
        account = \"111122223333\"
        region = \"us-east-1\"
        [profiles.tokyo]
        output = \"yaml\"
        time_zone = \"Asia/Tokyo\"
    ";

    #[test]
    fn the_sample_is_right() {
        let file = parse(SAMPLE).unwrap();
        assert_eq!(file.profiles["sim"].time_zone.as_deref(), Some("Asia/Tokyo"));
        assert!(named_zone("Asia/Tokyo").is_ok());
    }

    #[test]
    fn what_was_said_wins_over_the_profile() {
        let merge = |said| Settings::merge(said, parse(FILE).unwrap(), None).unwrap();
        let sim = merge(said(None, &["--account", "1", "--region", "x"]));
        assert_eq!((sim.server.as_str(), sim.profile.as_deref()), ("http://127.0.0.1:1", Some("sim")));
        assert_eq!(sim.scope.one().unwrap().to_string(), "accounts/1/regions/x");
        let tokyo = merge(said(Some("tokyo"), &["--account", "1"]));
        assert_eq!((tokyo.server.as_str(), tokyo.format), (SERVER, Format::Yaml));
        assert_eq!(tokyo.zone.iana_name(), Some("Asia/Tokyo"));
        let flags = Said { zone: Some("UTC".to_owned()), output: Some(Format::Json), ..said(Some("tokyo"), &[]) };
        let flags = merge(flags);
        assert_eq!((flags.format, flags.zone.iana_name()), (Format::Json, Some("UTC")));
    }

    #[test]
    fn misspelt_names_are_refused_with_the_nearest_known_one() {
        let misspelt = parse(&FILE.replace("time_zone", "timezone")).unwrap_err();
        assert!(misspelt.ends_with("; did you mean \"time_zone\"?"), "{misspelt}");
        let told = |failure| match failure {
            Failure::Usage { what, .. } => what,
            other => unreachable!("{other:?}"),
        };
        let profile = told(Settings::merge(said(Some("tokio"), &[]), parse(FILE).unwrap(), None).unwrap_err());
        assert!(profile.ends_with("; did you mean \"tokyo\"?"), "{profile}");
        for (wrong, right) in [("Asia/Tokio", "Asia/Tokyo"), ("tokyo", "Asia/Tokyo"), ("europe/berln", "Europe/Berlin")]
        {
            let zone = told(named_zone(wrong).unwrap_err());
            assert!(zone.ends_with(&format!("; did you mean {right:?}?")), "{zone}");
        }
    }
}
