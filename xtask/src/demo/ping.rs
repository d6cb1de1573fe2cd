//! The ping plugin's commands as the demo uses them; the only file that knows their names and shapes.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::client::{Client, Outcome};
use super::summary::Requests;

/// The plugin's name in the node.
pub const PLUGIN: &str = "ping";

/// What one instance of the plugin has counted since its data was first made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub sent: u64,
    pub received: u64,
    pub reordered: u64,
    pub duplicated: u64,
    /// Over all bodies sent, in their order.
    pub sent_checksum: String,
    /// Over all bodies received, in the order they came.
    pub received_checksum: String,
}

/// `ping`: that many requests, one after the other, with bodies of `size` bytes.
pub fn ping(client: &Client, peer: &str, count: u64, size: u64) -> Result<Requests> {
    let answer = client.call(PLUGIN, "ping", &json!({"peer": peer, "count": count, "size": size}))?;
    requests(&answer).with_context(|| format!("read the answer to `ping`: {answer}"))
}

/// `ping` of one request that is expected to fail: what it came to, in words.
pub fn refused(client: &Client, peer: &str) -> Result<Option<String>> {
    let outcome = client.try_call(PLUGIN, "ping", &json!({"peer": peer, "count": 1, "size": 16}))?;
    Ok(match outcome {
        Outcome::Error(error) if mentions_unsupported(&error) => Some(error_text(&error)),
        Outcome::Answer(answer) if mentions_unsupported(&answer) => Some(answer.to_string()),
        Outcome::Error(_) | Outcome::Answer(_) => None,
    })
}

/// `send`: `bodies`, cut into messages of `size` bytes. Returns how many of them the node took, from the first on; fewer
/// than all means that the lane is full for now.
pub fn send(client: &Client, peer: &str, size: usize, bodies: &[u8]) -> Result<u64> {
    let answer = client.call(PLUGIN, "send", &json!({"peer": peer, "size": size, "data": hex(bodies)}))?;
    number(&answer, "sent").with_context(|| format!("read the answer to `send`: {answer}"))
}

/// `stats`: the plugin's counts.
pub fn stats(client: &Client) -> Result<Stats> {
    let answer = client.call(PLUGIN, "stats", &json!({}))?;
    read_stats(&answer).with_context(|| format!("read the answer to `stats`: {answer}"))
}

fn read_stats(answer: &Value) -> Result<Stats> {
    Ok(Stats {
        sent: number(answer, "sent")?,
        received: number(answer, "received")?,
        reordered: number(answer, "reordered")?,
        duplicated: number(answer, "duplicated")?,
        sent_checksum: text(answer, "sent_checksum")?,
        received_checksum: text(answer, "received_checksum")?,
    })
}

fn requests(answer: &Value) -> Result<Requests> {
    Ok(Requests {
        asked: number(answer, "count")?,
        answered: number(answer, "answered")?,
        p50: micros(answer, "p50_us")?,
        p99: micros(answer, "p99_us")?,
    })
}

fn number(answer: &Value, key: &str) -> Result<u64> {
    answer[key].as_u64().with_context(|| format!("`{key}` is missing or not a whole number"))
}

fn micros(answer: &Value, key: &str) -> Result<Duration> {
    let micros = answer[key].as_f64().filter(|micros| micros.is_finite() && *micros >= 0.0);
    Ok(Duration::from_secs_f64(micros.with_context(|| format!("`{key}` is missing or no time"))? / 1e6))
}

/// A checksum is compared, not computed with, so it may be a number or text.
fn text(answer: &Value, key: &str) -> Result<String> {
    match &answer[key] {
        Value::Null => anyhow::bail!("`{key}` is missing"),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

fn mentions_unsupported(value: &Value) -> bool {
    value.to_string().to_lowercase().contains("unsupported")
}

fn error_text(error: &Value) -> String {
    let part = |key: &str| error[key].as_str();
    match (part("code"), part("message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => error.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_in_an_answer_is_named() {
        let error = read_stats(&json!({"sent": 1, "received": "two"})).expect_err("it is incomplete");
        assert!(error.to_string().contains("received"), "{error}");
        let error = requests(&json!({"count": 1, "answered": 1, "p50_us": -1})).expect_err("no time is negative");
        assert!(error.to_string().contains("p50_us"), "{error}");
    }

    #[test]
    fn unsupported_is_recognised_in_code_and_text() {
        assert!(mentions_unsupported(&json!({"code": "unsupported", "message": "…"})));
        assert!(mentions_unsupported(&json!({"message": "send failed: Unsupported"})));
        assert!(!mentions_unsupported(&json!({"code": "busy"})));
        assert_eq!(error_text(&json!({"code": "unsupported", "message": "no such"})), "unsupported: no such");
    }

    #[test]
    fn bytes_travel_as_hex() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
    }
}
