//! Freezes: what they cover, and for how long.

use super::{View, coloured, place};
use crate::{
    Location,
    api::{Freeze, freeze::scope::Selector},
    name,
};
use comfy_table::Cell;

impl View {
    /// One line for each freeze.
    pub fn freezes(&self, freezes: &[Freeze]) -> String {
        if freezes.is_empty() {
            return "Nothing is frozen, and nothing was.\n".to_owned();
        }
        let (from, until) = (self.zoned("From"), self.zoned("Until"));
        let mut table = self.table(&["Freeze", "Holds", "Covers", &from, &until, "Why", "By"]);
        for freeze in freezes {
            table.add_row([
                Cell::new(name::id(&freeze.name)),
                coloured(if freeze.active { "frozen" } else { "" }),
                Cell::new(covers(freeze)),
                Cell::new(self.minute(freeze.start_time.as_ref())),
                Cell::new(match &freeze.end_time {
                    Some(end) => self.minute(Some(end)),
                    None => "it is deleted".to_owned(),
                }),
                Cell::new(&freeze.reason),
                Cell::new(&freeze.creator),
            ]);
        }
        self.render(table, &[0])
    }
}

/// `group web in 111122223333/us-east-1`, `everything`.
fn covers(freeze: &Freeze) -> String {
    let scope = freeze.scope.clone().unwrap_or_default();
    let what = match &scope.selector {
        None => "everything".to_owned(),
        Some(Selector::PatchGroup(group)) => format!("group {group}"),
        Some(Selector::Tag(tag)) => format!("tag {}={}", tag.key, tag.value),
    };
    match scope.location.parse::<Location>() {
        Ok(location) => format!("{what} in {}", place(location)),
        Err(_) => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{TagMatch, freeze::Scope};

    #[test]
    fn it_is_told_what_a_freeze_covers() {
        let freeze = |location: &str, selector| Freeze {
            scope: Some(Scope { location: location.to_owned(), selector }),
            ..Default::default()
        };
        let here = "accounts/111122223333/regions/us-east-1";
        assert_eq!(covers(&freeze("", None)), "everything");
        let group = Some(Selector::PatchGroup("web".to_owned()));
        assert_eq!(covers(&freeze(here, group)), "group web in 111122223333/us-east-1");
        let tag = TagMatch { key: "env".to_owned(), value: "prod".to_owned() };
        assert_eq!(covers(&freeze("", Some(Selector::Tag(tag)))), "tag env=prod");
    }
}
