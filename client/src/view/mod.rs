//! What people see: tables that fit the terminal, baselines in sentences, progress while an operation runs.

mod baselines;
mod groups;
mod instances;
mod operations;
mod progress;

pub use baselines::rule_sentence;
pub use progress::{Progress, progress_line};

use crate::{Location, api};
use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, LineStyle, Row, Table, TableStyle, Width,
};
use owo_colors::{OwoColorize as _, Stream::Stdout};

/// A header, a line, and rows: nothing that gets in the way of copying.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Longer words may be broken where a table would not fit otherwise.
const WORD: u16 = 23;

/// Renders answers as text for one output.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// In columns; none means that lines may be as long as they like.
    width: Option<u16>,
    colour: bool,
}

// === impl View ===

impl View {
    /// For standard output: the terminal's width; colour only on a terminal, and not if `NO_COLOR` is set.
    pub fn for_stdout() -> Self {
        let colour = "x".if_supports_color(Stdout, |text| text.bold()).to_string() != "x";
        Self { width: Table::new().width(), colour }
    }

    /// Without colour, for files and tests.
    pub fn plain(width: Option<u16>) -> Self {
        Self { width, colour: false }
    }

    /// The same, but where no terminal says how wide it is, this wide.
    pub fn or_width(self, width: u16) -> Self {
        Self { width: self.width.or(Some(width)), ..self }
    }

    /// A line that stands out.
    pub fn heading(&self, text: &str) -> String {
        if self.colour { text.bold().to_string() } else { text.to_owned() }
    }

    /// A line that stands back.
    pub fn aside(&self, text: &str) -> String {
        if self.colour { text.dimmed().to_string() } else { text.to_owned() }
    }

    /// The locations that a list lacks, one a line; empty when it lacks none.
    pub fn unreachable(&self, gaps: &[api::Unreachable]) -> String {
        gaps.iter().map(|gap| format!("{} is missing here: {} [{}]\n", gap.location, gap.message, gap.reason)).collect()
    }

    /// What a mutation does or would do, with notices.
    pub fn plan(&self, plan: &api::Plan) -> String {
        let mut table = self.table(&["Action", "Resource", "Field", "Before", "After", "AWS operation"]);
        for change in &plan.changes {
            let action = word(change.action().as_str_name(), "ACTION_");
            table.add_row([
                coloured(action),
                Cell::new(crate::name::id(&change.resource)),
                Cell::new(&change.field),
                Cell::new(last_segments(&change.before)),
                Cell::new(last_segments(&change.after)),
                Cell::new(&change.aws_operation),
            ]);
        }
        let mut text = if plan.changes.is_empty() { "Nothing changes.\n".to_owned() } else { self.render(table, &[1]) };
        if plan.target_count > 0 {
            text += &format!("Acts on {}.\n", count(plan.target_count, "instance"));
        }
        for notice in &plan.notices {
            text += &format!("Note: {} [{}]\n", notice.message, notice.code);
        }
        text
    }

    fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Dynamic);
        // Width and colour are ours to decide, for the same output with and without a terminal.
        table.force_no_tty();
        if let Some(width) = self.width {
            table.set_width(width);
        }
        if self.colour {
            table.enforce_styling();
        }
        if !header.is_empty() {
            table.set_header(Row::from(header.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold))));
        }
        table
    }

    /// Whether wide tables must do with fewer columns.
    fn is_narrow(&self) -> bool {
        self.width.is_some_and(|width| width < 120)
    }

    /// A table of names and values, without a header.
    fn properties(&self, rows: &[(&str, String)]) -> String {
        let mut table = self.table(&[]);
        for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
            table.add_row([Cell::new(name), coloured(value)]);
        }
        self.render(table, &[0])
    }

    /// The table as text; columns in `whole` are never wrapped, those empty in every row are left out.
    fn render(&self, mut table: Table, whole: &[usize]) -> String {
        let empty: Vec<bool> = (0..table.column_count())
            .map(|index| {
                table.row_count() > 0 && table.column_cells_iter(index).flatten().all(|cell| cell.content().is_empty())
            })
            .collect();
        let longest: Vec<u16> = (0..table.column_count()).map(|index| longest_word(&table, index)).collect();
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            column.set_constraint(if empty[index] {
                ColumnConstraint::Hidden
            } else if whole.contains(&index) {
                ColumnConstraint::ContentWidth
            } else {
                // One more for the padding.
                ColumnConstraint::LowerBoundary(Width::Fixed(longest[index] + 1))
            });
        }
        let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        text
    }
}

/// The longest word of a column, in characters, as far as it is worth keeping in one piece.
fn longest_word(table: &Table, column: usize) -> u16 {
    let cells = table.column_cells_with_header_iter(column).flatten().map(Cell::content);
    let longest = cells.flat_map(|text| text.split_whitespace().map(|word| word.chars().count()).max()).max();
    u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX).min(WORD)
}

/// An enum value's word: its name without the prefix that Protobuf asks for.
fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// `1 instance`, `2 instances`.
fn count(number: i32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `a, b or c`.
fn any_of(values: &[String]) -> String {
    match values {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Resource names shortened to what follows the location.
fn last_segments(text: &str) -> &str {
    match Location::of(text) {
        Some(location) => text.get(location.to_string().len() + 1..).unwrap_or(text),
        None => text,
    }
}

/// Where each of these resources is, as `111122223333/us-east-1`; empty where all are in one location.
fn places<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let locations: Vec<Option<Location>> = names.map(Location::of).collect();
    let several = locations.windows(2).any(|pair| pair[0] != pair[1]);
    let place = |location: Location| format!("{}/{}", location.account(), location.region());
    locations.into_iter().map(|location| location.filter(|_| several).map(place).unwrap_or_default()).collect()
}

/// A time in UTC to the second, as `2026-11-24 03:00:00`; empty when unset.
fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok())
        .map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The same to the minute.
fn minute(at: Option<&prost_types::Timestamp>) -> String {
    let mut text = time(at);
    text.truncate(16);
    text
}

/// How long something took, as `2m 5s`; empty while it goes on.
fn took(from: Option<&prost_types::Timestamp>, to: Option<&prost_types::Timestamp>) -> String {
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    let seconds = (to.seconds - from.seconds).max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

/// A cell in the colour of what it says: good, bad, under way, left out.
fn coloured(text: impl AsRef<str>) -> Cell {
    let text = text.as_ref();
    let cell = Cell::new(text);
    let colour = match text {
        "SUCCEEDED" | "Online" | "running" | "Installed" | "InstalledOther" | "ADDED" | "yes" | "compliant" => {
            Color::Green
        }
        "FAILED" | "TIMED_OUT" | "UNKNOWN" | "COMPLETED_WITH_FAILURES" | "Missing" | "Failed" | "REFUSED" => Color::Red,
        "ConnectionLost" | "Inactive" | "stopped" | "terminated" | "no" | "blocks" => Color::Red,
        "RUNNING" | "DISPATCHED" | "REBOOTING" | "VERIFYING" | "RESOLVING" | "InstalledPendingReboot" => Color::Yellow,
        "MOVED" | "REMOVED" | "UPDATE" | "RUN" | "CREATE" | "DELETE" | "InstalledRejected" => Color::Yellow,
        "SKIPPED" | "SKIP" | "PENDING" | "UNCHANGED" | "NotApplicable" => Color::DarkGrey,
        _ => return cell,
    };
    cell.fg(colour)
}

/// The cell of a number that ought to be 0.
fn bad_if_some(number: i32) -> Cell {
    let cell = Cell::new(number);
    if number > 0 { cell.fg(Color::Red) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_unset_ones_are_empty() {
        assert_eq!(time(Some(&prost_types::Timestamp { seconds: 0, nanos: 0 })), "1970-01-01 00:00:00");
        assert_eq!(time(None), "");
        assert_eq!(minute(Some(&prost_types::Timestamp { seconds: 59, nanos: 0 })), "1970-01-01 00:00");
    }

    #[test]
    fn durations_are_told_in_two_units() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        for (seconds, text) in [(9, "9s"), (125, "2m 5s"), (7260, "2h 1m")] {
            assert_eq!(took(at(0).as_ref(), at(seconds).as_ref()), text);
        }
        assert_eq!(took(at(0).as_ref(), None), "");
    }

    #[test]
    fn a_table_keeps_to_its_width_and_hides_what_is_empty_throughout() {
        let plan = api::Plan {
            changes: vec![api::PlanChange {
                resource: "accounts/111122223333/regions/us-east-1/instances/i-0123456789abcdef0".into(),
                action: api::plan_change::Action::Skip.into(),
                after: "a long sentence that says why this instance is left out of the operation".into(),
                ..Default::default()
            }],
            notices: vec![api::Notice { code: "NO_CAPACITY".into(), message: "x".into() }],
            target_count: 1,
            ..Default::default()
        };
        let text = View::plain(Some(60)).plan(&plan);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("i-0123456789abcdef0") && !text.contains("AWS operation"), "{text}");
        assert!(text.contains("Acts on 1 instance.") && text.contains("[NO_CAPACITY]"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
