//! Stdout: one JSON document, or text and tables for people.

use std::borrow::Cow;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the document as JSON, or what `render` makes of it.
    pub(super) fn show(&self, document: &Value, render: impl FnOnce(&Value) -> String) {
        if self.json {
            self.document(document);
        } else {
            line(&render(document));
        }
    }

    /// Prints a document that is JSON already, as it is.
    pub(super) fn verbatim(&self, document: &[u8]) {
        line(&String::from_utf8_lossy(document));
    }

    /// Prints the failure: on stdout as JSON, or on stderr for people.
    pub(super) fn failure(&self, failure: &Failure) {
        if self.json {
            self.document(&json!({"error": failure}));
        } else {
            writeln!(io::stderr(), "error: {}", failure.message).ok();
        }
    }

    fn document(&self, document: &impl Serialize) {
        line(&serde_json::to_string(document).unwrap_or_else(|e| json!({"error": e.to_string()}).to_string()));
    }
}

/// Whoever reads us may have stopped reading (`weir peers | head -1`); that is no failure of ours.
fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.trim_end().as_bytes()).and_then(|()| writeln!(stdout)).and_then(|()| stdout.flush()).ok();
}

/// A table with a line of titles; columns are as wide as they must be.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![titles.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(|cell| printable(&cell).into_owned())));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let text = |cells: &[String; N]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Text of peers and plugins must not steer the operator's terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// One member of a document as a cell: lists with commas, nothing as a dash.
pub(super) fn cell(row: &Value, key: &str) -> String {
    text(&row[key])
}

/// The objects in a list of a document.
pub(super) fn rows<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ping".to_owned(), "/ping/1".to_owned()], ["ü".to_owned(), "\u{1b}[31m".to_owned()]];
        let text = table(["NAME", "PROTOCOLS"], rows);
        assert_eq!(text, "NAME  PROTOCOLS\nping  /ping/1\nü     \u{fffd}[31m");
    }

    #[test]
    fn cells_are_readable() {
        let row = json!({"a": ["x", "y"], "b": [], "c": null, "d": true, "e": 3});
        assert_eq!(["a", "b", "c", "d", "e", "f"].map(|key| cell(&row, key)), ["x, y", "-", "-", "yes", "3", "-"]);
    }
}
