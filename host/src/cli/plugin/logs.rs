//! `weir plugin logs`: what a plugin logged last, and with `--follow` what it logs from now on.

use clap::Args;
use serde_json::Value;

use super::super::client::{ask, segment};
use super::super::failure::Failure;
use super::super::output::{Output, cell, rows};
use crate::admin::AdminRequest;
use crate::folder::Folder;

/// How long the node is asked to wait for a line, again and again.
const WAIT: &str = "20s";

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Its name
    name: String,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Only lines not older than this: 90s, 5m, 2h
    #[arg(long, value_name = "D")]
    since: Option<String>,
    /// Only lines that matter as much: trace, debug, info, warn or error
    #[arg(long, value_name = "L")]
    level: Option<String>,
    /// So many lines of the past, at most 1000
    #[arg(long, value_name = "N", default_value_t = 200)]
    lines: u32,
}

impl Logs {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let document = ask(folder, self.request()).await?;
        if !self.follow {
            output.show(&document, render);
            return Ok(());
        }
        print(output, &document);
        let mut follower = Follower::new(&self.name, document["next"].as_u64().unwrap_or(0), self.level);
        loop {
            print(output, &follower.next(folder).await?);
        }
    }

    fn request(&self) -> AdminRequest {
        let mut path = format!("/v1/plugins/{}/logs?lines={}", segment(&self.name), self.lines);
        for (key, value) in [("since", &self.since), ("level", &self.level)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", segment(value)));
            }
        }
        AdminRequest::get(path)
    }
}

/// Reads the lines of one plugin as they come.
pub(super) struct Follower {
    path: String,
    after: u64,
}

impl Follower {
    /// From the line after this one on.
    pub(super) fn new(plugin: &str, after: u64, level: Option<String>) -> Self {
        let level = level.map(|level| format!("&level={}", segment(&level))).unwrap_or_default();
        Self { path: format!("/v1/plugins/{}/logs?lines=1000&wait={WAIT}{level}", segment(plugin)), after }
    }

    /// The next lines, or none after a while. Cancel safe: what was not returned comes again.
    pub(super) async fn next(&mut self, folder: &Folder) -> Result<Value, Failure> {
        let document = ask(folder, AdminRequest::get(format!("{}&after={}", self.path, self.after))).await?;
        self.after = document["next"].as_u64().unwrap_or(self.after);
        Ok(document)
    }
}

/// Prints lines as they come: as JSON, one object a line.
pub(super) fn print(output: &Output, document: &Value) {
    if let Some(lost) = document["lost"].as_u64().filter(|lost| *lost > 0) {
        output.show(&serde_json::json!({"lost": lost}), |_| format!("({lost} lines came too fast and are gone)"));
    }
    for line in rows(document, "lines") {
        output.show(line, text);
    }
}

fn render(document: &Value) -> String {
    let lines: Vec<_> = rows(document, "lines").iter().map(text).collect();
    if lines.is_empty() { "it logged nothing that is wanted".to_owned() } else { lines.join("\n") }
}

/// One line of a log for people. Text of plugins that has several lines stands indented, so that it can pass for no
/// other line, and steers no terminal.
pub(super) fn text(line: &Value) -> String {
    let message = line["message"].as_str().unwrap_or_default().trim_end();
    let message: Vec<_> = message.lines().map(|line| printable(&line.replace('\t', "    "))).collect();
    let (level, target) = (cell(line, "level").to_uppercase(), printable(&cell(line, "target")));
    let date = date(line["unix_ms"].as_u64().unwrap_or(0));
    let target = if target == "-" { String::new() } else { format!("{target}: ") };
    let mut text = format!("{date} {level:<5} r{} {target}{}", cell(line, "revision"), message.join("\n    "));
    let peer = line["peer"].as_str().map(|peer| format!("peer {}", peer.chars().take(10).collect::<String>()));
    let again = (line["replay"] == true).then(|| "run again".to_owned());
    // What the node says of the plugin names these in words already.
    let about = [line["event"].as_str().map(str::to_owned), peer, again].into_iter().flatten();
    let about: Vec<_> = about.filter(|_| line["target"] != "weir").collect();
    if !about.is_empty() {
        text.push_str(&format!(" ({})", about.join(", ")));
    }
    text
}

fn printable(text: &str) -> String {
    super::super::output::printable(text).into_owned()
}

/// A moment as RFC 3339 has it, in UTC, with milliseconds.
fn date(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day since 1970-01-01, by Hinnant's `civil_from_days`: years begin in March, so that the day
/// that is sometimes there comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(date(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_732_222_222_007), "2024-11-21T20:50:22.007Z");
        assert_eq!(date(4_102_444_800_000), "2100-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_line_says_who_and_cannot_pass_for_another() {
        let mut line = json!({"unix_ms": 0, "level": "warn", "target": "gossip", "revision": 3, "event": "message",
            "peer": "07".repeat(32), "replay": true, "message": "one\ntwo\u{1b}[31m\n"});
        let expected =
            "1970-01-01T00:00:00.000Z WARN  r3 gossip: one\n    two\u{fffd}[31m (message, peer 0707070707, run again)";
        assert_eq!(text(&line), expected);
        line["target"] = json!("");
        line["event"] = Value::Null;
        line["peer"] = Value::Null;
        line["replay"] = json!(false);
        line["message"] = json!("one");
        assert_eq!(text(&line), "1970-01-01T00:00:00.000Z WARN  r3 one");
    }
}
