//! Plans as differences: `+` comes, `-` goes, `~` becomes another, `>` a command runs there, `!` is left out.

use super::{View, count, in_commands, last_segments};
use crate::api::{Plan, PlanChange, plan_change::Action};
use comfy_table::{Cell, Color};
use percent_encoding::percent_decode_str;

/// Values longer than this together stand below each other.
const ONE_LINE: usize = 60;
/// `maintenanceWindows/mw-0123456789abcdef0` has one less.
const LONGEST_ID: usize = 40;

impl View {
    /// What a mutation does or would do, a line for each change, with notices.
    pub fn plan(&self, plan: &Plan) -> String {
        let mut table = self.table(&[]);
        for change in &plan.changes {
            let (sign, colour) = sign(change.action());
            let cell = |text: String| match colour {
                Some(colour) => Cell::new(text).fg(colour),
                None => Cell::new(text),
            };
            table.add_row([
                cell(sign.to_owned()),
                cell(resource(change)),
                cell(what(change)),
                Cell::new(&change.aws_operation).fg(Color::DarkGrey),
            ]);
        }
        // Ids stay in one piece, so that they can be copied; only long names of groups may be wrapped.
        let short = plan.changes.iter().all(|change| resource(change).chars().count() <= LONGEST_ID);
        let whole: &[usize] = if short { &[0, 1] } else { &[0] };
        let mut text = match plan.changes.as_slice() {
            [] => "Nothing changes.\n".to_owned(),
            _ => self.render(table, whole),
        };
        if plan.target_count > 0 {
            text += &format!("Acts on {}.\n", count(plan.target_count, "instance"));
        }
        for notice in &plan.notices {
            text += &format!("Note: {} [{}]\n", in_commands(&notice.message), notice.code);
        }
        text
    }
}

fn sign(action: Action) -> (&'static str, Option<Color>) {
    match action {
        Action::Create => ("+", Some(Color::Green)),
        Action::Delete => ("-", Some(Color::Red)),
        Action::Update => ("~", Some(Color::Yellow)),
        Action::Run => (">", Some(Color::Cyan)),
        Action::Skip => ("!", Some(Color::DarkGrey)),
        Action::Unspecified => ("?", None),
    }
}

fn resource(change: &PlanChange) -> String {
    percent_decode_str(last_segments(&change.resource)).decode_utf8_lossy().into_owned()
}

/// The field with what becomes of it.
fn what(change: &PlanChange) -> String {
    let (before, after) = (last_segments(&change.before), last_segments(&change.after));
    let field = match change.field.as_str() {
        "" => String::new(),
        field => format!("{field}: "),
    };
    match (change.action(), before, after) {
        (Action::Skip, _, why) => format!("left out: {why}"),
        (_, "", "") => change.field.clone(),
        (_, "", after) => field + after,
        (Action::Delete, before, _) => field + before,
        (_, before, "") => format!("{field}{before} → nothing"),
        (_, before, after) if before.chars().count() + after.chars().count() > ONE_LINE => {
            format!("{}\n- {before}\n+ {after}", change.field)
        }
        (_, before, after) => format!("{field}{before} → {after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Notice;

    const HERE: &str = "accounts/111122223333/regions/us-east-1";

    fn change(action: Action, resource: &str, [field, before, after]: [&str; 3], aws: &str) -> PlanChange {
        PlanChange {
            resource: format!("{HERE}/{resource}"),
            action: action.into(),
            field: field.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            aws_operation: aws.to_owned(),
        }
    }

    #[test]
    fn each_change_has_its_sign() {
        let pb = format!("{HERE}/baselines/pb-1");
        let changes = vec![
            change(
                Action::Create,
                "patchGroups/web%201",
                ["baselines[X]", "", &pb],
                "ssm:RegisterPatchBaselineForPatchGroup",
            ),
            change(Action::Update, "instances/i-1", ["tags[Patch Group]", "db", "web"], "ec2:CreateTags"),
            change(Action::Delete, "instances/i-1", ["tags[PatchGroup]", "web", ""], "ec2:DeleteTags"),
            change(Action::Run, "instances/i-1", ["", "", "Scan"], "ssm:SendCommand"),
            change(Action::Skip, "instances/i-2", ["", "", "NOT_RUNNING: it is stopped"], ""),
        ];
        let text = View::plain(None).plan(&Plan { changes, target_count: 1, ..Default::default() });
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "+ patchGroups/web 1 baselines[X]: baselines/pb-1 ssm:RegisterPatchBaselineForPatchGroup",
                "~ instances/i-1 tags[Patch Group]: db → web ec2:CreateTags",
                "- instances/i-1 tags[PatchGroup]: web ec2:DeleteTags",
                "> instances/i-1 Scan ssm:SendCommand",
                "! instances/i-2 left out: NOT_RUNNING: it is stopped",
                "Acts on 1 instance.",
            ]
        );
    }

    #[test]
    fn long_values_stand_below_each_other() {
        let (before, after) = ("a".repeat(40), "b".repeat(40));
        let update = change(Action::Update, "baselines/pb-1", ["description", &before, &after], "");
        assert_eq!(what(&update), format!("description\n- {before}\n+ {after}"));
    }

    #[test]
    fn a_plan_keeps_to_its_width_and_hides_what_is_empty_throughout() {
        let plan = Plan {
            changes: vec![change(
                Action::Skip,
                "instances/i-0123456789abcdef0",
                ["", "", "a long sentence that says why this instance is left out of the operation"],
                "",
            )],
            notices: vec![Notice { code: "NO_CAPACITY".into(), message: "x".into() }],
            target_count: 1,
            ..Default::default()
        };
        let text = View::plain(Some(60)).plan(&plan);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("i-0123456789abcdef0") && text.contains("[NO_CAPACITY]"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
