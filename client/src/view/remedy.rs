//! Remedies as the commands that send them, and what the API says in the words of the command line.

use crate::{
    Location,
    api::{Remedy, remedy::Request},
    name,
};

/// The `patchctl` command that sends this request; none for a kind that this release does not know.
pub fn command(remedy: &Remedy) -> Option<String> {
    let (name, words) = match remedy.request.as_ref()? {
        Request::AttachBaseline(request) => {
            let mut words = words(["groups", "attach"], &request.name, [name::id(&request.baseline)]);
            words.extend(request.replace.then(|| "--replace".to_owned()));
            (&request.name, words)
        }
        Request::DetachBaseline(request) => {
            (&request.name, words(["groups", "detach"], &request.name, [name::id(&request.baseline)]))
        }
        Request::AddInstances(request) => {
            let mut words = words(["groups", "add"], &request.name, request.instance_ids.clone());
            words.extend(request.allow_move.then(|| "--move".to_owned()));
            (&request.name, words)
        }
        Request::RemoveInstances(request) => {
            (&request.name, words(["groups", "remove"], &request.name, request.instance_ids.clone()))
        }
    };
    let location = Location::of(name)?;
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    Some(format!("patchctl {} --location {location}", words.join(" ")))
}

/// What the API says, with the commands and flags that stand for its methods and fields.
pub fn in_commands(text: &str) -> String {
    const WORDS: [(&str, &str); 12] = [
        ("AddInstances", "`patchctl groups add`"),
        ("RemoveInstances", "`patchctl groups remove`"),
        ("AttachBaseline", "`patchctl groups attach`"),
        ("CheckReadiness", "`patchctl readiness`"),
        ("ListPatchProperties", "`patchctl baselines properties`"),
        ("SkipNextRun", "`patchctl schedules skip`"),
        ("set `allow_move`", "add --move"),
        ("`allow_move`", "--move"),
        ("set `replace`", "add --replace"),
        ("set allow_diverged", "add --allow-diverged"),
        ("set replace", "add --replace"),
        ("time_zone is", "the time zone is"),
    ];
    let text = text.replace("patch_schedule.time_zone", "time_zone");
    WORDS.iter().fold(text, |text, (api, command)| text.replace(api, command))
}

fn words(verb: [&str; 2], group: &str, rest: impl IntoIterator<Item = String>) -> Vec<String> {
    let verb = verb.map(str::to_owned).into_iter();
    verb.chain([name::id(group)]).chain(rest).collect()
}

/// A word as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    #[test]
    fn methods_and_fields_of_the_api_become_commands_and_flags() {
        for (api, told) in [
            (
                "so that the default applies; AttachBaseline gives it one",
                "so that the default applies; `patchctl groups attach` gives it one",
            ),
            (
                "put into a group with AddInstances, with `allow_move`",
                "put into a group with `patchctl groups add`, with --move",
            ),
            ("it is in db; set `allow_move` to move it", "it is in db; add --move to move it"),
            ("patch_schedule.time_zone is Tokio", "the time zone is Tokio"),
            ("nothing to translate", "nothing to translate"),
        ] {
            assert_eq!(in_commands(api), told);
        }
    }

    #[test]
    fn a_remedy_is_a_command_that_a_shell_takes() {
        let parent: Location = "accounts/111122223333/regions/us-east-1".parse().unwrap();
        let sends = |request| command(&Remedy { request: Some(request) }).unwrap();
        let request = api::AddInstancesRequest {
            name: parent.patch_group("Web Servers"),
            instance_ids: vec!["i-1".into(), "i-2".into()],
            allow_move: true,
            ..Default::default()
        };
        assert_eq!(
            sends(Request::AddInstances(request)),
            format!("patchctl groups add 'Web Servers' i-1 i-2 --move --location {parent}")
        );
        let (name, baseline) = (parent.patch_group("web"), parent.baseline("pb-0be8c61cde3be63f3"));
        let request = api::AttachBaselineRequest { name, baseline, replace: true, ..Default::default() };
        assert_eq!(
            sends(Request::AttachBaseline(request)),
            format!("patchctl groups attach web pb-0be8c61cde3be63f3 --replace --location {parent}")
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(command(&Remedy { request: None }), None);
    }
}
