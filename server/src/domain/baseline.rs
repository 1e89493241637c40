//! What a caller wants a baseline to say: which fields, and what each is to be.

use super::plan::{Change, ChangeAction, hex};
use patchplane_rules::{Baseline, BaselineDraft, BaselineSpec, FieldChange, Invalid, OperatingSystem, diff, suggest};
use std::collections::BTreeSet;

/// Fields of a baseline with their new values; the others stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineEdit {
    spec: BaselineSpec,
    operating_system: Option<OperatingSystem>,
    fields: BTreeSet<&'static str>,
}

macro_rules! fields {
    ($($name:literal $member:ident;)*) => {
        /// The fields that can be set, in the API's spelling.
        const FIELDS: &[&str] = &[$($name),*];

        fn set(field: &str, from: &BaselineSpec, to: &mut BaselineSpec) {
            match field {
                $($name => to.$member.clone_from(&from.$member),)*
                _ => {}
            }
        }

        fn populated(spec: &BaselineSpec, empty: &BaselineSpec) -> BTreeSet<&'static str> {
            let mut fields = BTreeSet::new();
            $(if spec.$member != empty.$member { fields.insert($name); })*
            fields
        }
    };
}

fields! {
    "display_name" name;
    "description" description;
    "global_filters" global_filters;
    "approval_rules" rules;
    "approved_patches" approved_patches;
    "approved_patches_compliance_level" approved_patches_compliance_level;
    "approved_patches_enable_non_security" approved_patches_enable_non_security;
    "rejected_patches" rejected_patches;
    "rejected_patches_action" rejected_patches_action;
    "sources" sources;
    "available_security_updates_compliance_status" available_security_updates;
}

impl BaselineEdit {
    /// `spec` as the request has it, where empty texts mean AWS's defaults. `mask` names the fields that count, `*` all of
    /// them; unset, those that are populated.
    pub fn new(
        mut spec: BaselineSpec,
        operating_system: Option<OperatingSystem>,
        mask: Option<Vec<String>>,
    ) -> Result<Self, Invalid> {
        let defaults = BaselineSpec::new("", spec.operating_system.clone());
        let mut empty = defaults.clone();
        empty.approved_patches_compliance_level.clear();
        empty.rejected_patches_action.clear();
        let fields = match mask {
            None => populated(&spec, &empty),
            Some(paths) => masked(&paths)?,
        };
        for (text, default) in [
            (&mut spec.approved_patches_compliance_level, defaults.approved_patches_compliance_level),
            (&mut spec.rejected_patches_action, defaults.rejected_patches_action),
        ] {
            if text.is_empty() {
                *text = default;
            }
        }
        Ok(Self { spec, operating_system, fields })
    }

    /// A baseline of its own, which no other one is the model of.
    pub fn whole(&self) -> Result<BaselineDraft, Invalid> {
        let operating_system = self.operating_system.clone().ok_or_else(|| {
            Invalid::new("operating_system", "is required: in AWS's spelling, such as AMAZON_LINUX_2")
        })?;
        BaselineDraft::new(BaselineSpec { operating_system, ..self.spec.clone() })
    }

    /// What `base` becomes.
    pub fn of(&self, base: &BaselineSpec) -> Result<BaselineDraft, Invalid> {
        if let Some(system) = &self.operating_system
            && *system != base.operating_system
        {
            let rule = format!("cannot change from {} to {system}", base.operating_system);
            return Err(Invalid::new("operating_system", rule));
        }
        let mut spec = base.clone();
        self.fields.iter().for_each(|field| set(field, &self.spec, &mut spec));
        BaselineDraft::made_from(spec, base)
    }
}

fn masked(paths: &[String]) -> Result<BTreeSet<&'static str>, Invalid> {
    let mut fields = BTreeSet::new();
    for (i, path) in paths.iter().enumerate() {
        match FIELDS.iter().find(|field| *field == path) {
            Some(field) => _ = fields.insert(*field),
            None if path == "*" => fields.extend(FIELDS),
            None => {
                let rule = format!("is not a field that can be set; {}", suggest(path, FIELDS));
                return Err(Invalid::new(format!("update_mask.paths[{i}]"), rule));
            }
        }
    }
    Ok(fields)
}

/// A hash of what a baseline says; who uses it is not part of it.
pub fn etag(baseline: &Baseline) -> String {
    hex(&format!("{}{:?}", baseline.summary.id, BaselineSpec::of(baseline)))[..32].to_owned()
}

/// What must be done for `before` to say what `after` says.
pub fn changes(
    resource: &str,
    before: Option<&BaselineSpec>,
    after: &BaselineSpec,
    aws_operation: &'static str,
) -> Vec<Change> {
    let change = |FieldChange { field, before, after }| Change {
        resource: resource.to_owned(),
        action: match (before.is_empty(), after.is_empty()) {
            (true, _) => ChangeAction::Create,
            (_, true) => ChangeAction::Delete,
            _ => ChangeAction::Update,
        },
        field,
        before,
        after,
        aws_operation,
    };
    // A repository's configuration may hold secrets: plans name it by its hash.
    let conceal = |text: &str| format!("sha256:{}", &hex(text)[..16]);
    diff(before, after, conceal).into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> BaselineSpec {
        BaselineSpec {
            approved_patches_compliance_level: String::new(),
            rejected_patches_action: String::new(),
            ..BaselineSpec::new(name, OperatingSystem::observed("AMAZON_LINUX_2"))
        }
    }

    fn base() -> BaselineSpec {
        BaselineSpec {
            description: "old".into(),
            rejected_patches: vec!["curl-*".into()],
            rejected_patches_action: "BLOCK".into(),
            ..BaselineSpec::new("old", OperatingSystem::observed("AMAZON_LINUX_2"))
        }
    }

    #[test]
    fn without_a_mask_what_is_populated_counts_and_with_one_what_it_names() {
        let edit = |mask: Option<&[&str]>| {
            let mask = mask.map(|paths| paths.iter().map(|&path| path.to_owned()).collect());
            BaselineEdit::new(spec("new"), None, mask).unwrap().of(&base()).unwrap().spec().clone()
        };
        assert_eq!(edit(None), BaselineSpec { name: "new".into(), ..base() });
        assert_eq!(edit(Some(&["description"])), BaselineSpec { description: String::new(), ..base() });
        let all = BaselineSpec::new("new", OperatingSystem::observed("AMAZON_LINUX_2"));
        assert_eq!(edit(Some(&["*"])), all);
        assert_eq!(edit(Some(&[])), base());
    }

    #[test]
    fn masks_and_systems_that_cannot_be_are_refused() {
        let wrong = BaselineEdit::new(spec("new"), None, Some(vec!["approval_rule".into()])).unwrap_err();
        assert_eq!(wrong.field, "update_mask.paths[0]");
        assert!(wrong.rule.contains("did you mean approval_rules?"), "{wrong}");
        let other = OperatingSystem::parse("UBUNTU").unwrap();
        let edit = BaselineEdit::new(spec("new"), Some(other), None).unwrap();
        assert_eq!(edit.of(&base()).unwrap_err().field, "operating_system");
        let edit = BaselineEdit::new(spec("new"), None, None).unwrap();
        assert_eq!(edit.whole().unwrap_err().field, "operating_system");
    }
}
