//! What people see: tables that fit the terminal, baselines in sentences, progress while an operation runs.

mod baselines;
mod compliance;
mod freezes;
mod groups;
mod instances;
mod operations;
mod plan;
mod preview;
mod progress;
mod remedy;
mod schedules;
mod times;

pub use baselines::rule_sentence;
pub use progress::{Progress, progress_line};
pub use remedy::{command, in_commands, quoted};

use crate::{Location, api};
use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, LineStyle, Row, Table, TableStyle, Width,
};
use jiff::tz::TimeZone;
use owo_colors::{OwoColorize as _, Stream::Stdout};

/// A header, a line, and rows: nothing that gets in the way of copying.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Longer words may be broken where a table would not fit otherwise.
const WORD: u16 = 23;
/// Longer lines are hard to read.
const LINE: u16 = 100;

/// Renders answers as text for one output.
#[derive(Clone, Debug)]
pub struct View {
    /// In columns; none means that lines may be as long as they like.
    width: Option<u16>,
    colour: bool,
    /// The zone that times are shown in.
    zone: TimeZone,
}

// === impl View ===

impl View {
    /// For standard output: the terminal's width; colour only on a terminal, and not if `NO_COLOR` is set, unless
    /// `owo_colors::set_override` says otherwise. Times are in UTC: see [`View::in_zone`].
    pub fn for_stdout() -> Self {
        let colour = "x".if_supports_color(Stdout, |text| text.bold()).to_string() != "x";
        Self { width: Table::new().width(), colour, zone: TimeZone::UTC }
    }

    /// Without colour, for files and tests.
    pub fn plain(width: Option<u16>) -> Self {
        Self { width, colour: false, zone: TimeZone::UTC }
    }

    /// The same, but where no terminal says how wide it is, this wide.
    pub fn or_width(self, width: u16) -> Self {
        Self { width: self.width.or(Some(width)), ..self }
    }

    /// The zone that times are shown in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// A line that stands out.
    pub fn heading(&self, text: &str) -> String {
        if self.colour { text.bold().to_string() } else { text.to_owned() }
    }

    /// A line that stands back.
    pub fn aside(&self, text: &str) -> String {
        if self.colour { text.dimmed().to_string() } else { text.to_owned() }
    }

    /// A text in lines that fit, and are never too long to read.
    pub fn paragraph(&self, text: &str) -> String {
        let width = usize::from(self.width.unwrap_or(LINE).min(LINE));
        let (mut lines, mut length) = (String::new(), 0);
        for word in text.split_whitespace() {
            let added = word.chars().count();
            if length > 0 && length + 1 + added > width {
                lines.push('\n');
                length = 0;
            } else if length > 0 {
                lines.push(' ');
                length += 1;
            }
            lines += word;
            length += added;
        }
        lines + "\n"
    }

    /// The locations that a list lacks, one a line; empty when it lacks none.
    pub fn unreachable(&self, gaps: &[api::Unreachable]) -> String {
        gaps.iter().map(|gap| format!("{} is not all here: {} [{}]\n", gap.location, gap.message, gap.reason)).collect()
    }

    /// A table of plain texts; columns that are empty in every row are left out.
    pub fn rows(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = self.table(header);
        table.add_rows(rows);
        self.render(table, &[0])
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
    locations.into_iter().map(|location| location.filter(|_| several).map(place).unwrap_or_default()).collect()
}

fn place(location: Location) -> String {
    format!("{}/{}", location.account(), location.region())
}

/// A cell in the colour of what it says: good, bad, under way, left out.
fn coloured(text: impl AsRef<str>) -> Cell {
    let text = text.as_ref();
    match colour(text) {
        Some(colour) => Cell::new(text).fg(colour),
        None => Cell::new(text),
    }
}

fn colour(text: &str) -> Option<Color> {
    Some(match text {
        "SUCCEEDED" | "Online" | "running" | "Installed" | "InstalledOther" | "ADDED" | "yes" | "compliant" => {
            Color::Green
        }
        "FAILED"
        | "TIMED_OUT"
        | "CANCELLED"
        | "UNKNOWN"
        | "COMPLETED_WITH_FAILURES"
        | "Missing"
        | "Failed"
        | "REFUSED" => Color::Red,
        "ConnectionLost" | "Inactive" | "stopped" | "terminated" | "no" | "blocks" => Color::Red,
        "RUNNING" | "DISPATCHED" | "REBOOTING" | "VERIFYING" | "RESOLVING" | "InstalledPendingReboot" => Color::Yellow,
        "CANCELLING" | "frozen" | "MOVED" | "REMOVED" | "UPDATE" | "RUN" | "CREATE" | "DELETE"
        | "InstalledRejected" => Color::Yellow,
        "SKIPPED" | "SKIP" | "PENDING" | "UNCHANGED" | "NotApplicable" => Color::DarkGrey,
        _ => return None,
    })
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
    fn a_paragraph_keeps_to_the_width_and_loses_no_word() {
        let text = "one two three four";
        assert_eq!(View::plain(Some(9)).paragraph(text), "one two\nthree\nfour\n");
        assert_eq!(View::plain(None).paragraph(text), "one two three four\n");
        assert_eq!(View::plain(Some(2)).paragraph("longer words"), "longer\nwords\n");
    }
}
