//! Rules about the sources that no compiler checks: which room may name what, and what every file looks like.
//!
//! Each test is one rule; its message names the file and line. A new exception is an edit of this file, seen in review.
#![expect(clippy::expect_used, reason = "a file that cannot be read is a failure of the check itself")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The most lines a Rust file may have: beyond it, it holds more than one concept.
const MOST_LINES: usize = 600;

/// The one file that spells out what the others may not.
const THIS_FILE: &str = "tests/tests/tidy.rs";

// === Which room may name what ===

#[test]
fn protos_are_named_only_where_requests_enter_or_leave() {
    let allowed = [
        "proto/",
        "server/src/grpc/",
        "server/src/grpc.rs",
        "server/src/server.rs",
        "server/src/demo/",
        "server/src/demo.rs",
        "client/",
        "tests/",
    ];
    only_under("patchplane_proto", &allowed, "convert in `grpc`; the other rooms speak domain types");
}

#[test]
fn the_aws_sdk_is_named_only_in_the_aws_crate() {
    only_under("aws_sdk_", &["server/aws/"], "the aws crate takes and gives domain values");
}

#[test]
fn sql_is_named_only_in_the_store() {
    // Two tests make a schema look like another release's.
    let allowed = ["server/src/store/", "server/src/store.rs", "tests/tests/doctor.rs", "tests/tests/store.rs"];
    only_under("sqlx", &allowed, "ask the store's traits");
}

#[test]
fn the_simulated_account_is_named_only_where_a_process_or_a_test_is_put_together() {
    let allowed = [
        "server/sim/",
        "server/aws/tests/",
        "server/src/server.rs",
        "server/src/main.rs",
        "server/src/commands/",
        "tests/",
    ];
    only_under("patchplane_sim", &allowed, "the server must not know which AWS answers it");
}

#[test]
fn the_simulated_account_knows_nothing_of_patchplane() {
    let other_rooms = ["patchplane_server", "patchplane_aws", "patchplane_proto", "patchplane_client"];
    none_under("server/sim/", &other_rooms, "it knows AWS and the rules, so that any AWS client can judge it");
}

#[test]
fn the_domain_names_no_other_room() {
    let rooms = [
        "crate::app",
        "crate::grpc",
        "crate::store",
        "crate::operation",
        "crate::auth",
        "crate::config",
        "crate::server",
        "tonic",
        "prost",
        "sqlx",
        "patchplane_aws",
        "patchplane_sim",
        "patchplane_client",
        "aws_sdk_",
        "aws_smithy",
        "aws_config",
        "tokio::",
    ];
    none_under("server/src/domain", &rooms, "every room names the domain, and it names none");
}

#[test]
fn the_rules_name_no_other_room_and_do_no_input_or_output() {
    let rooms =
        ["patchplane_server", "patchplane_aws", "patchplane_proto", "patchplane_sim", "tokio", "std::fs", "std::net"];
    none_under("server/rules/", &rooms, "rules are pure functions of their arguments");
}

// === What every file looks like ===

#[test]
fn lints_are_expected_and_never_allowed() {
    let found = lines_of_code(|file| file != "proto/src/lib.rs")
        .filter(|line| line.code.contains("#[allow(") || line.code.contains("#![allow("));
    report(found, "write #[expect(lint, reason = \"..\")]");
}

#[test]
fn nothing_unfinished_is_left_behind() {
    let found = lines_of_code(|_| true)
        .filter(|line| ["todo!(", "unimplemented!(", "dbg!("].iter().any(|macro_call| line.code.contains(macro_call)));
    report(found, "finish it, or leave it out");
}

#[test]
fn no_rust_file_grows_beyond_one_concept() {
    let too_long: Vec<String> = rust_files()
        .map(|file| (file.text.lines().count(), file.name))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, name)| format!("{name}:{lines}: has {lines} lines"))
        .collect();
    assert!(too_long.is_empty(), "split by concept, {MOST_LINES} lines at most:\n{}", too_long.join("\n"));
}

#[test]
fn every_rust_file_says_first_what_it_is_for() {
    let silent: Vec<String> =
        rust_files().filter(|file| !file.text.starts_with("//! ")).map(|file| format!("{}:1", file.name)).collect();
    assert!(silent.is_empty(), "begin with a `//!` sentence:\n{}", silent.join("\n"));
}

#[test]
fn nothing_names_the_machine_that_it_was_made_on() {
    let forbidden = [
        "/work/",
        "/home/",
        "/root/",
        "../shared",
        "index.crates.io",
        "static.crates.io",
        "pypi.org",
        "pythonhosted.org",
        "npmjs.org",
        "deb.debian.org",
        "index-url",
    ];
    let found = files().filter(|file| !["Cargo.lock", THIS_FILE].contains(&file.name.as_str())).flat_map(|file| {
        let lines = file.text.lines().enumerate();
        lines
            .filter_map(|(index, line)| {
                let word = forbidden.iter().find(|word| line.contains(**word))?;
                Some(Line { place: format!("{}:{}", file.name, index + 1), code: format!("names {word}") })
            })
            .collect::<Vec<_>>()
    });
    report(found, "a clone works anywhere");
}

#[test]
fn every_file_that_the_documents_cite_exists() {
    let root = root();
    let cited = files().filter(|file| is_document(&file.name)).flat_map(|file| {
        citations(&file.text)
            .into_iter()
            .map(|(line, path)| Line { place: format!("{}:{line}", file.name), code: path })
            .collect::<Vec<_>>()
    });
    let missing = cited.filter(|citation| {
        let beside = Path::new(&citation.place).parent().unwrap_or(Path::new(""));
        !root.join(&citation.code).exists() && !root.join(beside).join(&citation.code).exists()
    });
    report(missing, "cite what is there");
}

// === Reading the sources ===

/// A text file of the project.
struct File {
    /// Its path from the root, with `/`.
    name: String,
    text: String,
}

/// A line worth reporting: where it stands, and what stands there.
struct Line {
    /// `file:line`.
    place: String,
    code: String,
}

fn root() -> PathBuf {
    let tests = env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where this package is");
    PathBuf::from(tests).parent().expect("the workspace holds this package").to_owned()
}

/// All text files, without version control's, build results and databases.
fn files() -> impl Iterator<Item = File> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    assert!(paths.contains(&root.join(THIS_FILE)), "the walk over the sources does not find even {THIS_FILE}");
    paths.into_iter().filter_map(move |path| {
        let text = String::from_utf8(fs::read(&path).expect("a source file is readable")).ok()?;
        let name = path.strip_prefix(&root).expect("found under the root").to_string_lossy().replace('\\', "/");
        Some(File { name, text })
    })
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder is readable") {
        let path = entry.expect("a folder entry is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Cargo marks its target folders with CACHEDIR.TAG, wherever they are; in a further working tree .git is a file.
        let skipped =
            [".git", ".venv", "node_modules", "target"].contains(&name.as_str()) || path.join("CACHEDIR.TAG").exists();
        if skipped {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn rust_files() -> impl Iterator<Item = File> {
    files().filter(|file| file.name.ends_with(".rs"))
}

/// The code of the Rust files that `wanted` picks by name, line by line, without what follows `//`.
fn lines_of_code(wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Line> {
    rust_files().filter(move |file| file.name != THIS_FILE && wanted(&file.name)).flat_map(|file| {
        let lines = file.text.lines().enumerate();
        lines
            .map(|(index, line)| Line {
                place: format!("{}:{}", file.name, index + 1),
                code: line.split("//").next().unwrap_or_default().trim().to_owned(),
            })
            .collect::<Vec<_>>()
    })
}

fn only_under(word: &str, allowed: &[&str], why: &str) {
    let found = lines_of_code(|file| !allowed.iter().any(|place| file.starts_with(place)));
    report(found.filter(|line| line.code.contains(word)), &format!("`{word}` has no place here: {why}"));
}

fn none_under(place: &str, words: &[&str], why: &str) {
    let found = lines_of_code(|file| file.starts_with(place));
    report(found.filter(|line| words.iter().any(|word| line.code.contains(word))), why);
}

/// Passes if there is no line; else fails with all of them.
fn report(found: impl Iterator<Item = Line>, rule: &str) {
    let found: Vec<String> = found.map(|line| format!("{}: {}", line.place, line.code)).collect();
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

fn is_document(name: &str) -> bool {
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].contains(&name) || name.starts_with("docs/")
}

/// The paths a document cites, each with its line: link targets, and words in backticks that begin at the root.
fn citations(text: &str) -> Vec<(usize, String)> {
    let rooms = ["proto/", "server/", "client/", "tests/", "docs/", "docker/", ".ci/", ".config/"];
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let quoted = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
        let quoted = quoted.map(|word| word.strip_prefix("./").unwrap_or(word)).filter(|word| {
            let at_root = !word.contains('/') && (word.ends_with(".md") || word.ends_with(".toml"));
            (at_root || rooms.iter().any(|room| word.starts_with(room))) && !word.contains(['*', '{', '<', '…'])
        });
        for path in links.chain(quoted) {
            let path = path.split(['#', ':']).next().unwrap_or_default().trim_end_matches(['.', ',', ';']);
            found.push((index + 1, path.to_owned()));
        }
    }
    found
}
