//! The binary `patchplane` as a process.
#![cfg(feature = "simulated")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

#[test]
fn the_simulated_clock_passes_what_is_typed() {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_patchplane"));
    serve.args(["serve", "--simulated", "--listen", "127.0.0.1:0"]);
    serve.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut serve = serve.spawn().unwrap();
    let mut typed = serve.stdin.take().unwrap();
    let mut told = BufReader::new(serve.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut tells = |what: &str| assert!(told.any(|line| line.contains(what)), "{what:?} is not told");
    tells("Serving a simulated AWS on http://127.0.0.1:");
    // The clock runs by itself as well: these hours are minutes here.
    tells("It is 2025-11-24 00:");
    typed.write_all(b"18h\n").unwrap();
    tells("It is 2025-11-24 18:");
    for wrong in ["tomorrow\n", "-1h\n"] {
        typed.write_all(wrong.as_bytes()).unwrap();
        tells("Type a duration, such as 8h or 30m.");
    }
    typed.write_all(b"\n").unwrap();
    tells("It is 2025-11-24 18:");
    serve.kill().unwrap();
    serve.wait().unwrap();
}
