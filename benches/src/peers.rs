//! The process that does the same work through other libraries. Which way's turn it is, this one says, so that all take
//! turns within a round.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::case::{Case, Ends, OTHERS, Round, Way};
use crate::ends::PATIENCE;

/// The process; it ends with this.
pub struct Peers {
    talk: Arc<Mutex<Talk>>,
    _running: Running,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Peers {
    /// Starts the program that `cargo xtask bench --peers` has built.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        let program = std::env::var_os("WEIR_BENCH_PEERS").map(PathBuf::from);
        let program = program.context("WEIR_BENCH_PEERS is not set: run this as `cargo xtask bench --peers`")?;
        let mut command = Command::new(&program);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("start {}", program.display()))?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("its stdin and stdout")?;
        let talk = Talk::over(program.display().to_string(), stdin, stdout, PATIENCE);
        Ok(Self { talk: Arc::new(Mutex::new(talk)), _running: Running(child) })
    }

    /// Prepares a case there, and adds to it the ways of the libraries that do it.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn join(&self, case: &mut Case, name: &str, scale: f64) -> Result<()> {
        join(&self.talk, case, name, scale).await
    }
}

async fn join(talk: &Arc<Mutex<Talk>>, case: &mut Case, name: &str, scale: f64) -> Result<()> {
    let request = json!({ "prepare": { "case": name, "scale": scale } });
    let prepared: Prepared = talk.lock().await.ask(&request).await?;
    for name in prepared.ways {
        // A case may go on with rows that only Weir has.
        let rows = case.rows.iter().map(|row| row.name).take(prepared.rows.len());
        ensure!(rows.eq(prepared.rows.iter()), "{name} has other rows: {}", prepared.rows.join(", "));
        let way = OTHERS.into_iter().find(|way| way.name() == name);
        let way = way.with_context(|| format!("there is no way {name}"))?;
        case.ways.push((way, Box::new(Elsewhere { way, talk: talk.clone() })));
    }
    Ok(())
}

/// The ends of a library, in the other process.
struct Elsewhere {
    way: Way,
    talk: Arc<Mutex<Talk>>,
}

impl Elsewhere {
    async fn ask(&mut self) -> Result<Vec<f64>> {
        let done: Done = self.talk.lock().await.ask(&json!({ "round": self.way.name() })).await?;
        Ok(done.values)
    }
}

impl Ends for Elsewhere {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

#[derive(Deserialize)]
struct Prepared {
    ways: Vec<String>,
    rows: Vec<String>,
}

#[derive(Deserialize)]
struct Done {
    values: Vec<f64>,
}

/// One JSON document a line, and one answer to each.
struct Talk {
    with: String,
    requests: Box<dyn Write + Send>,
    answers: mpsc::Receiver<String>,
    patience: Duration,
}

impl Talk {
    /// A thread reads, because a pipe has no other deadline.
    fn over(
        with: String,
        requests: impl Write + Send + 'static,
        answers: impl Read + Send + 'static,
        patience: Duration,
    ) -> Self {
        let (tell, told) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                if tell.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self { with, requests: Box::new(requests), answers: told, patience }
    }

    /// A request is far shorter than a pipe's buffer, and only one is open: writing it does not wait.
    async fn ask<T: for<'a> Deserialize<'a>>(&mut self, request: &Value) -> Result<T> {
        let Self { with, patience, .. } = &*self;
        let ended = format!("{with} has ended, asked for {request}");
        let late = format!("{with} did not answer {request} within {} s", patience.as_secs());
        self.requests.write_all(format!("{request}\n").as_bytes()).context(ended.clone())?;
        self.requests.flush()?;
        let answer = tokio::time::timeout(self.patience, self.answers.recv()).await.context(late)?.context(ended)?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| format!("{} says {answer}", self.with))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{error}");
        }
        serde_json::from_value(answer.clone()).with_context(|| format!("{} says {answer}", self.with))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Row, Unit};

    /// A process that has these answers, whatever it is asked, and then ends or hangs.
    fn fake(answers: &'static [&'static str], hangs: bool) -> Arc<Mutex<Talk>> {
        let (requests, asked) = std::io::pipe().map(|(read, write)| (write, read)).expect("a pipe");
        let (told, mut tell) = std::io::pipe().expect("a pipe");
        std::thread::spawn(move || {
            let mut lines = BufReader::new(asked).lines();
            for answer in answers {
                lines.next().expect("a request").expect("readable");
                writeln!(tell, "{answer}").expect("heard");
            }
            while hangs && lines.next().is_some() {}
        });
        let patience = Duration::from_millis(if hangs { 50 } else { 10_000 });
        Arc::new(Mutex::new(Talk::over("fake".to_owned(), requests, told, patience)))
    }

    fn case() -> Case {
        Case { rows: vec![Row { name: "connect", unit: Unit::HandshakesPerSecond }], ways: Vec::new() }
    }

    #[tokio::test]
    async fn ways_that_others_prepared_give_what_those_measured() {
        let talk = fake(&[r#"{"ways":["quinn","libp2p"],"rows":["connect"]}"#, r#"{"values":[1000.5]}"#], false);
        let mut case = case();
        join(&talk, &mut case, "connect", 1.0).await.expect("prepared");
        let ways: Vec<_> = case.ways.iter().map(|(way, _)| *way).collect();
        assert_eq!(ways, [Way::Quinn, Way::Libp2p]);
        assert_eq!(case.ways[0].1.round().await.expect("a value"), [1000.5]);
        let error = format!("{:#}", case.ways[1].1.round().await.expect_err("it has ended"));
        assert!(error.contains("fake has ended") && error.contains("libp2p"), "{error}");
    }

    #[tokio::test]
    async fn what_goes_wrong_there_is_told_here() {
        let mut case = case();
        let prepared = async |answer, case: &mut Case| {
            let error = join(&fake(answer, false), case, "connect", 1.0).await.expect_err("wrong");
            format!("{error:#}")
        };
        assert_eq!(prepared(&[r#"{"error":"no socket"}"#], &mut case).await, "no socket");
        let other = prepared(&[r#"{"ways":["iroh"],"rows":["rtt_256"]}"#], &mut case).await;
        assert_eq!(other, "iroh has other rows: rtt_256");
        assert!(prepared(&["panicked"], &mut case).await.contains("fake says panicked"));
        assert!(case.ways.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for() {
        let error = join(&fake(&[], true), &mut case(), "connect", 1.0).await.expect_err("nothing comes");
        assert!(format!("{error:#}").contains("fake did not answer"), "{error:#}");
    }
}
