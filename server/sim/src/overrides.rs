//! What a run is given instead of its baseline: frozen snapshots, lists of patches to install, baselines of its own
//! (S 7.1.5–8).

use crate::{
    account::Place, command::RunParameters, documents::FOR_ASSOCIATIONS, node::Node, output::StepEnd,
    ssm::baseline_content,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{AvailablePatch, Baseline, BaselineOwner, compare_versions};
use serde_json::Value;

/// How long a snapshot id stands for the same content (S 7.1.2).
const SNAPSHOT_LASTS: SignedDuration = SignedDuration::from_hours(3 * 24);

/// A baseline's content as it was when a snapshot id was first used.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) at: Timestamp,
    pub(crate) baseline: Baseline,
}

/// A line of an InstallOverrideList (S 7.1.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    id: String,
    title: String,
}

impl Place {
    /// Whatever is approved for the run on this node is settled now, if it was not under the same snapshot id: on Windows
    /// the list, elsewhere the rules (S 4.7, 7.1.5). The error is how the step ends instead.
    pub(crate) fn freeze(
        &mut self,
        node_id: &str,
        run: &RunParameters,
        snapshot: &str,
        at: Timestamp,
    ) -> Result<(), StepEnd> {
        if run.install_override() && run.baseline_override() {
            return Err(failed(167, "InstallOverrideList and BaselineOverride cannot be given together."));
        }
        if run.install_override() && wanted(self.file(run.text("InstallOverrideList"))?).is_none() {
            return Err(failed(161, "The install override list is not valid."));
        }
        let Some(node) = self.nodes.get(node_id) else { return Ok(()) };
        let (group, system) = (node.patch_group().to_owned(), node.platform.system().to_owned());
        let key = (snapshot.to_owned(), group.clone(), system.clone());
        self.frozen.retain(|_, frozen| at.duration_since(frozen.at) < SNAPSHOT_LASTS);
        if self.frozen.contains_key(&key) {
            return Ok(());
        }
        let baseline = if run.baseline_override() {
            self.overriding(self.file(run.text("BaselineOverride"))?, &system)?
        } else if run.document == FOR_ASSOCIATIONS {
            self.tagged(run.text("BaselineTags"), &system)?
        } else {
            None
        };
        let baseline = baseline.or_else(|| self.baseline_for(&group, &system).cloned());
        if let Some(baseline) = baseline {
            self.frozen.insert(key, Frozen { at, baseline });
        }
        Ok(())
    }

    /// The content at an address, as whoever plays fate has put it there.
    fn file(&self, url: &str) -> Result<&str, StepEnd> {
        let text = format!("Unable to download the override list or baseline: {url}.");
        self.files.get(url).map(String::as_str).ok_or_else(|| failed(160, &text))
    }

    /// The one of a list of baselines, as GetPatchBaseline returns them, that is for a system (S 7.1.8).
    fn overriding(&self, content: &str, system: &str) -> Result<Option<Baseline>, StepEnd> {
        let invalid = || failed(162, "The baseline override is not valid.");
        let list: Value = serde_json::from_str(content).map_err(|_| invalid())?;
        let of_system = |baseline: &&Value| baseline["OperatingSystem"].as_str().unwrap_or("WINDOWS") == system;
        let Some(given) = list.as_array().ok_or_else(invalid)?.iter().find(of_system) else { return Ok(None) };
        let mut summary = self.default_baseline(system).ok_or_else(invalid)?.summary.clone();
        summary.default = false;
        baseline_content::read(given, summary).map(Some).map_err(|_| invalid())
    }

    /// By `Key=k,Values=v1,v2`: the account's own baseline that carries such a tag; two are an error (S 7.3.2).
    fn tagged(&self, tags: &str, system: &str) -> Result<Option<Baseline>, StepEnd> {
        let Some((key, values)) = tags.strip_prefix("Key=").and_then(|rest| rest.split_once(",Values=")) else {
            return Ok(None);
        };
        let carries = |baseline: &&Baseline| {
            let tag = self.tags.get(&baseline.summary.aws_id).and_then(|tags| tags.get(key));
            baseline.summary.owner == BaselineOwner::Account
                && baseline.summary.operating_system.as_str() == system
                && tag.is_some_and(|tag| values.split(',').any(|value| value == tag))
        };
        let mut found = self.baselines.iter().filter(carries);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(failed(1, "More than one patch baseline has the given tags.")),
            (one, _) => Ok(one.cloned()),
        }
    }

    /// The updates that an InstallOverrideList names and the node lacks, whatever its baseline says.
    pub(crate) fn listed(&self, node_id: &str, run: &RunParameters, now: Timestamp) -> Vec<&'static AvailablePatch> {
        let content = self.files.get(run.text("InstallOverrideList")).and_then(|content| wanted(content));
        let (Some(node), Some(wanted)) = (self.nodes.get(node_id), content) else { return Vec::new() };
        let lacking = |patch: &&AvailablePatch| {
            let installed = node.packages.get(&patch.kb_id);
            installed.is_none_or(|package| compare_versions(patch, &package.as_patch(&patch.kb_id)).is_gt())
        };
        let mut found: Vec<&'static AvailablePatch> = Vec::new();
        for patch in node.offers(now).into_iter().filter(lacking) {
            if !wanted.iter().any(|wanted| wanted.admits(node, patch)) {
                continue;
            }
            match found.iter_mut().find(|other| other.kb_id == patch.kb_id) {
                Some(other) if compare_versions(patch, other).is_gt() => *other = patch,
                Some(_) => {}
                None => found.push(patch),
            }
        }
        found
    }
}

impl Wanted {
    fn admits(&self, node: &Node, patch: &AvailablePatch) -> bool {
        if node.platform.is_windows() {
            return self.id == patch.kb_id;
        }
        let version = format!("{}:{}-{}", patch.epoch, patch.version, patch.release);
        crate::ec2::wildcard(&self.id, &patch.kb_id)
            && (self.title.is_empty() || crate::ec2::wildcard(&self.title, &version))
    }
}

/// Reads `patches: [{id, title}]` as YAML or JSON; other fields are ignored (S 7.1.7). Of YAML that much is understood: an
/// item a dash, a field a line.
fn wanted(content: &str) -> Option<Vec<Wanted>> {
    if let Ok(json) = serde_json::from_str::<Value>(content) {
        let text = |patch: &Value, member: &str| patch[member].as_str().unwrap_or_default().to_owned();
        let read = |patch: &Value| Wanted { id: text(patch, "id"), title: text(patch, "title") };
        return Some(json["patches"].as_array()?.iter().map(read).collect());
    }
    let mut lines = content.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    if lines.next()?.trim() != "patches:" {
        return None;
    }
    let mut all: Vec<Wanted> = Vec::new();
    for line in lines {
        let mut field = line.trim();
        if let Some(rest) = field.strip_prefix('-') {
            all.push(Wanted::default());
            field = rest.trim();
        }
        let Some((name, value)) = field.split_once(':') else {
            if field.is_empty() {
                continue;
            }
            return None;
        };
        let value = value.trim().trim_matches(['\'', '"']).to_owned();
        match name.trim() {
            "id" => all.last_mut()?.id = value,
            "title" => all.last_mut()?.title = value,
            _ => {}
        }
    }
    Some(all).filter(|all| !all.is_empty())
}

/// The exit codes 160 to 167 are those of overrides (S 7.1.9); which is which, but for 167, is unverified.
fn failed(code: i32, text: &str) -> StepEnd {
    StepEnd { code, stdout: String::new(), stderr: format!("{text}\nfailed to run commands: exit status {code}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_override_list_is_read_as_yaml_and_as_json() {
        // The form of the user guide (S 7.1.7).
        let yaml = "patches:\n    -\n        id: 'dhclient.x86_64'\n        title: '*12:4.2.5-58*'\n    - id: 'dhcp*'\n      severity: x\n";
        let json = r#"{"patches": [{"id": "dhclient.x86_64", "title": "*12:4.2.5-58*"}, {"id": "dhcp*"}]}"#;
        let item = |id: &str, title: &str| Wanted { id: id.to_owned(), title: title.to_owned() };
        let expected = vec![item("dhclient.x86_64", "*12:4.2.5-58*"), item("dhcp*", "")];
        assert_eq!(wanted(yaml), Some(expected.clone()));
        assert_eq!(wanted(json), Some(expected));
        for bad in ["", "patches:\n", "nonsense", "patches:\n  - x", "[1]"] {
            assert_eq!(wanted(bad), None, "{bad}");
        }
    }
}
