//! What patchplane has asked of simulated accounts, written down at the end of each test, for `.ci/compare-calls` to hold
//! against the policies in `docs/iam`.

use patchplane_sim::Simulation;
use std::{collections::BTreeSet, env, fs, io::Write as _};

/// Writes down what was asked of a simulation when it is dropped.
pub(crate) struct Asked(pub(crate) Simulation);

impl Drop for Asked {
    fn drop(&mut self) {
        write_down(self.0.requests().into_iter().map(|request| request.operation).collect());
    }
}

/// Adds operations to `aws-calls.txt`, a line each, in the folder that Cargo gives tests.
pub(crate) fn write_down(operations: BTreeSet<String>) {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    let mut file = fs::File::options().create(true).append(true).open(folder.join("aws-calls.txt")).unwrap();
    // One write, so that tests that end at once do not mix their lines.
    let lines: String = operations.into_iter().map(|operation| operation + "\n").collect();
    file.write_all(lines.as_bytes()).unwrap();
}
