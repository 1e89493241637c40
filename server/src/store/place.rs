//! Where a store is kept.

use serde::Deserialize;
use sqlx::any::AnyConnectOptions;
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A file of SQLite's, which one process owns, or a database of PostgreSQL's, which replicas share.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Place {
    File(PathBuf),
    /// A URL as libpq has it. What it leaves out, the password above all, may come from the environment (`PGPASSWORD`) or
    /// a file (`PGPASSFILE`).
    Postgres(String),
}

/// What is wrong with a place; never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPlace(String);

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let Some((scheme, _)) = text.split_once("://") else {
            return if text.is_empty() {
                Err(InvalidPlace("names no file".into()))
            } else {
                Ok(Self::File(text.into()))
            };
        };
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(InvalidPlace(format!("{scheme}:// is no store: give a file, or postgres://host/database")));
        }
        match AnyConnectOptions::from_str(text) {
            Ok(_) => Ok(Self::Postgres(text.to_owned())),
            Err(_) => Err(InvalidPlace("is not a URL: postgres://user@host:port/database".into())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = InvalidPlace;

    fn try_from(text: String) -> Result<Self, InvalidPlace> {
        text.parse()
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

/// Without the password and without parameters, which may hold one.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(url) => match AnyConnectOptions::from_str(url) {
                Ok(options) => {
                    let mut url = options.database_url;
                    let _ = url.set_password(None);
                    url.set_query(None);
                    url.fmt(f)
                }
                Err(_) => f.write_str("postgres://"),
            },
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in ["postgres://me:secret@db.example/patchplane", "postgres:///patchplane?host=/run&password=secret"] {
            let place: Place = url.parse().unwrap();
            assert!(matches!(&place, Place::Postgres(kept) if kept == url));
            assert!(!format!("{place} {place:?}").contains("secret"), "{place}");
            assert!(place.to_string().ends_with("/patchplane"));
        }
        assert!(!"postgres://me:secret@[db/patchplane".parse::<Place>().unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn what_is_no_url_is_a_file() {
        assert_eq!("data/patchplane.db".parse::<Place>().unwrap(), Place::File("data/patchplane.db".into()));
        for bad in ["", "mysql://db/patchplane", "sqlite://x.db"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
