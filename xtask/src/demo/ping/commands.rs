//! The ping plugin's commands as the demo uses them; the only file that knows their names and shapes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::text::base64;
use crate::demo::client::{Client, Outcome};

/// The plugin's name in the node.
pub const PLUGIN: &str = "ping";
/// Bytes of a body that the plugin fills itself, with the flood's number and the message's index.
pub const HEADER: usize = 16;

/// What a node counted of one flood of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Messages of the flood.
    pub messages: u64,
    /// Over their payloads, in the order in which they came.
    pub checksum: String,
    /// Of all floods of the peer: those that did not come although later ones did.
    pub lost: u64,
    pub reordered: u64,
    pub duplicated: u64,
}

/// Where a flood stands at its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Its name in the receiver's counts.
    pub name: String,
    /// Messages that the node has taken.
    pub total: u64,
    /// Over their payloads.
    pub checksum: String,
}

/// What a `ping` came to. Times are from the plugin's request to its answer, as the plugin measured them.
pub struct Pinged {
    pub answered: u64,
    pub mean: Duration,
    pub p50: Duration,
    pub p99: Duration,
}

/// `ping` with `count` requests, one after the other.
pub fn ping(client: &Client, peer: &str, count: u64, size: usize) -> Result<Pinged> {
    let answer = client.call(PLUGIN, "ping", &json!({"peer": peer, "count": count, "size": size}))?;
    read("ping", &answer, |answer| {
        Ok(Pinged {
            answered: number(answer, "answered")?,
            mean: micros(answer, "mean_us")?,
            p50: micros(answer, "p50_us")?,
            p99: micros(answer, "p99_us")?,
        })
    })
}

/// `ping` with one request: how long it took an app from its call to the node's answer, none if the peer did not answer.
pub fn timed_ping(client: &Client, peer: &str, size: usize) -> Result<Option<Duration>> {
    let started = Instant::now();
    let pinged = ping(client, peer, 1, size)?;
    Ok((pinged.answered == 1).then(|| started.elapsed()))
}

/// `send`: data cut into messages with `payload` bytes each, going on with `flood` where one is named. The node answers
/// when it has taken them all.
pub fn send(client: &Client, peer: &str, payload: usize, data: &[u8], flood: Option<&Flood>) -> Result<Flood> {
    let mut arguments = json!({"peer": peer, "size": payload + HEADER, "data": base64(data)});
    if let Some(flood) = flood {
        arguments["flood"] = json!(flood.name);
    }
    let answer = client.call(PLUGIN, "send", &arguments)?;
    read("send", &answer, |answer| {
        Ok(Flood { name: text(answer, "flood")?, total: number(answer, "total")?, checksum: text(answer, "checksum")? })
    })
}

/// `send` of one message that is expected to fail as unsupported: the error if it does so, none while it is still taken.
pub fn refused(client: &Client, peer: &str) -> Result<Option<String>> {
    let arguments = json!({"peer": peer, "size": 64, "encoding": "text", "data": "is anyone there?"});
    match client.try_call(PLUGIN, "send", &arguments)? {
        Outcome::Answer(_) => Ok(None),
        Outcome::Error(error) if is_unsupported(&error) => Ok(Some(error_text(&error))),
        Outcome::Error(error) => bail!("sending failed, but not as unsupported: {error}"),
    }
}

/// `stats` of the receiver: what it counted of the sender's flood. Nothing yet is all zero.
pub fn received(client: &Client, sender: &str, flood: &str) -> Result<Received> {
    let answer = client.call(PLUGIN, "stats", &json!({}))?;
    read("stats", &answer, |answer| read_received(answer, sender, flood))
}

fn read<T>(command: &str, answer: &Value, parse: impl FnOnce(&Value) -> Result<T>) -> Result<T> {
    parse(answer).with_context(|| format!("read the answer to `{command}`: {answer}"))
}

fn read_received(stats: &Value, sender: &str, flood: &str) -> Result<Received> {
    let peers = stats["per_peer"].as_array().context("`per_peer` is missing or no list")?;
    let Some(peer) = peers.iter().find(|peer| peer["peer"] == sender) else { return Ok(Received::default()) };
    let counted = Received {
        lost: number(peer, "lost")?,
        reordered: number(peer, "reordered")?,
        duplicated: number(peer, "duplicated")?,
        ..Received::default()
    };
    let floods = peer["floods"].as_array().context("`floods` is missing or no list")?;
    Ok(match floods.iter().find(|one| one["flood"] == flood) {
        Some(one) => Received { messages: number(one, "messages")?, checksum: text(one, "checksum")?, ..counted },
        None => counted,
    })
}

fn number(answer: &Value, key: &str) -> Result<u64> {
    answer[key].as_u64().with_context(|| format!("`{key}` is missing or not a whole number"))
}

fn micros(answer: &Value, key: &str) -> Result<Duration> {
    let micros = answer[key].as_f64().and_then(|micros| Duration::try_from_secs_f64(micros / 1e6).ok());
    micros.with_context(|| format!("`{key}` is missing or no time"))
}

fn text(answer: &Value, key: &str) -> Result<String> {
    answer[key].as_str().map(str::to_owned).with_context(|| format!("`{key}` is missing or no text"))
}

fn is_unsupported(error: &Value) -> bool {
    error.to_string().to_lowercase().contains("unsupported")
}

fn error_text(error: &Value) -> String {
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_sender_and_its_flood() {
        let flood =
            |name: &str, messages| json!({"flood": name, "messages": messages, "next": messages, "checksum": name});
        let stats = json!({"version": "0.1.0", "messages": 9, "per_peer": [
            {"peer": "x", "lost": 7, "reordered": 7, "duplicated": 7, "floods": [flood("f", 1)]},
            {"peer": "a", "lost": 1, "reordered": 2, "duplicated": 3, "floods": [flood("e", 4), flood("f", 5)]},
        ]});
        let counted = Received { messages: 5, checksum: "f".into(), lost: 1, reordered: 2, duplicated: 3 };
        assert_eq!(read_received(&stats, "a", "f").expect("it is whole"), counted);
        assert_eq!(read_received(&stats, "nobody", "f").expect("it is whole"), Received::default());
        let without = Received { messages: 0, checksum: String::new(), ..counted };
        assert_eq!(read_received(&stats, "a", "later").expect("it is whole"), without);
    }

    #[test]
    fn what_is_missing_in_an_answer_is_named() {
        let stats = json!({"per_peer": [{"peer": "a", "lost": 0, "reordered": "two"}]});
        let error = read_received(&stats, "a", "f").expect_err("it is incomplete");
        assert!(error.to_string().contains("reordered"), "{error}");
        assert!(micros(&json!({"mean_us": -1.0}), "mean_us").is_err());
    }

    #[test]
    fn unsupported_is_recognised_in_code_and_text() {
        assert!(is_unsupported(&json!({"code": "unsupported", "message": "…"})));
        assert!(is_unsupported(&json!({"message": "send failed: Unsupported"})));
        assert!(!is_unsupported(&json!({"code": "busy"})));
        assert_eq!(error_text(&json!({"code": "unsupported", "message": "no such"})), "unsupported: no such");
    }
}
