//! `--hold`: the nodes go on until Ctrl-C, and then all of them end.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::node::Node;
use crate::interrupt;

/// How often the nodes are looked at; a signal is noticed as late.
const PAUSE: Duration = Duration::from_millis(100);

/// Nodes that are left running when the demo is over.
pub struct Held {
    pub nodes: Vec<Node>,
    /// With their folders and logs. It stays.
    pub folder: PathBuf,
    /// To play with them.
    pub commands: Vec<String>,
}

impl Held {
    /// Says how to go on, waits for Ctrl-C, and ends the nodes. An error when one of them did not end well.
    pub fn until_interrupted(mut self) -> Result<()> {
        eprintln!("\nall nodes are running; to play with them, in another terminal:");
        self.commands.iter().for_each(|command| eprintln!("  {command}"));
        eprintln!("Ctrl-C here ends them all");
        let mut gone = Vec::new();
        while !interrupt::requested() {
            for node in &mut self.nodes {
                if !gone.contains(&node.name) && node.has_ended() {
                    eprintln!("{}", node.with_log("it has ended by itself"));
                    gone.push(node.name);
                }
            }
            thread::sleep(PAUSE);
        }
        eprintln!("\nending the nodes");
        let (mut ended, mut failed) = (self.nodes.len(), 0);
        for node in &mut self.nodes {
            if let Err(error) = node.stop() {
                eprintln!("{error:#}");
                (ended, failed) = (ended - 1, failed + 1);
            }
        }
        eprintln!("{ended} nodes have ended; their folders and logs are in {}", self.folder.display());
        ensure!(failed == 0, "{failed} nodes had to be killed");
        Ok(())
    }
}
