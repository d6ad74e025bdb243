//! Tables as the tools beside us print them: upper-case headings, no frames, easy to cut apart.

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, Color, ContentArrangement, presets};

/// Columns of text under headings. What stands under `status` is coloured.
pub(crate) struct Table {
    table: comfy_table::Table,
    status: Option<usize>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        // Lines are never folded: a row is a line, for people's eyes and for `grep` alike.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|h| h.to_uppercase())).enforce_styling();
        Self { table, status: headings.iter().position(|h| *h == "status") }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells = cells.into_iter().enumerate().map(|(column, text)| {
            let text = text.into().replace('\n', " ");
            let colour = if self.status == Some(column) { colour(&text) } else { None };
            let cell = Cell::new(text);
            colour.map_or(cell.clone(), |c| cell.fg(terminal(c)))
        });
        self.table.add_row(cells);
    }

    /// The table, or `nothing` in words if it has no row.
    pub(crate) fn render(mut self, nothing: &str) -> String {
        if self.table.is_empty() {
            return nothing.to_owned();
        }
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

const fn terminal(colour: AnsiColor) -> Color {
    match colour {
        AnsiColor::Green => Color::DarkGreen,
        AnsiColor::Red => Color::DarkRed,
        AnsiColor::Cyan => Color::DarkCyan,
        _ => Color::DarkYellow,
    }
}

fn paint(style: Style, text: &str) -> String {
    format!("{}{text}{}", style.render(), style.render_reset())
}

/// Text that stands out.
pub(crate) fn bold(text: &str) -> String {
    paint(Style::new().bold(), text)
}

/// Text that stands back.
pub(crate) fn dim(text: &str) -> String {
    paint(Style::new().dimmed(), text)
}

/// A status in the colour of what it asks of the reader.
pub(crate) fn status(name: &str) -> String {
    colour(name).map_or_else(|| name.to_owned(), |c| paint(c.on_default(), name))
}

fn colour(status: &str) -> Option<AnsiColor> {
    Some(match status {
        "COMPLETED" | "SUCCEEDED" | "OK" => AnsiColor::Green,
        "FAILED" | "TIMED_OUT" | "STALLED" | "GAVE_UP" | "FAIL" => AnsiColor::Red,
        "RUNNING" => AnsiColor::Cyan,
        "PAUSED" | "RETRYING" | "CANCELED" | "TERMINATED" | "WARN" => AnsiColor::Yellow,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_with_two_spaces_between_columns() {
        let mut table = Table::new(&["name", "status"]);
        table.row(["licence-review", "OK\nreally"]);
        table.row(["a", ""]);
        assert_eq!(table.render("none"), "NAME            STATUS\nlicence-review  OK really\na");
        assert_eq!(Table::new(&["name"]).render("No agents."), "No agents.");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let mut table = Table::new(&["status", "name"]);
        table.row(["COMPLETED", "x"]);
        table.row(["PENDING", "y"]);
        let coloured = table.render("");
        assert!(coloured.contains('\u{1b}'));
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, "STATUS     NAME\nCOMPLETED  x\nPENDING    y");
    }
}
