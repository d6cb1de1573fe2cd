//! The other end in a process of its own: this program, started once more.
//!
//! It says where it listens, and after that how many messages or bytes have come, each time it is asked to wait for so
//! many. It ends when nobody can ask any more.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use weir_host::peer::PeerAddr;
use weir_host::transport::{Link, LinkHandle};

use super::raw::count_all;
use super::{NativeNode, Node, PATIENCE, PluginNode, RawNode, Tally};

/// What the process is to be, as JSON: an environment variable, so that a test's own process can be it as well.
const ROLE: &str = "WEIR_BENCH_FAR";
/// What its lines begin with.
const MARK: &str = "far: ";
/// Lines that wait to be read.
const LINES: usize = 16;

/// What the other end is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Streams whose bytes are counted.
    Raw,
    /// Streams on which everything is sent back.
    Echo,
    /// A node with a handler in plain Rust.
    Native,
    /// A node with the plugin.
    Plugin,
}

/// What the process is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Role {
    kind: Kind,
    /// So many peers that stay connected with this one, in place of one that listens.
    crowd: Option<(usize, PeerAddr)>,
}

/// See the module.
pub struct Far {
    child: Child,
    /// None when it is to end.
    asks: Option<ChildStdin>,
    says: mpsc::Receiver<String>,
    /// Where it listens.
    pub address: PeerAddr,
}

impl Far {
    /// Starts one that listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::begin(Role { kind, crowd: None }).await
    }

    /// Starts one with so many peers that are connected with this address.
    ///
    /// # Errors
    /// When it does not start, or a peer is not let in.
    pub async fn crowd(kind: Kind, peers: usize, around: PeerAddr) -> Result<Self> {
        Self::begin(Role { kind, crowd: Some((peers, around)) }).await
    }

    async fn begin(role: Role) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let test = ["tests::the_other_end", "--exact", "--ignored", "--nocapture"];
        command.args(if cfg!(test) { &test[..] } else { &["--far"] });
        command.env(ROLE, serde_json::to_string(&role)?).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the other end")?;
        let (asks, output) = (child.stdin.take(), child.stdout.take().context("its output")?);
        let (say, mut says) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(MARK)
                    && say.blocking_send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let address = said(&mut says).await.map(|said| said.parse());
        match address {
            Ok(Ok(address)) => Ok(Self { child, asks, says, address }),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => {
                let _ = child.kill();
                Err(error)
            }
        }
    }

    /// Waits until so many messages or bytes have come in all.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn reach(&mut self, wanted: u64) -> Result<()> {
        writeln!(self.asks.as_mut().context("it was told to end")?, "{wanted}")?;
        said(&mut self.says).await.map(drop)
    }

    /// What the kernel calls the process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

async fn said(says: &mut mpsc::Receiver<String>) -> Result<String> {
    // Longer than what it waits for itself, so that its own error is seen.
    let said = tokio::time::timeout(PATIENCE * 2, says.recv()).await.context("the other end says nothing")?;
    said.context("the other end has ended")
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.asks.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does, until its input ends.
///
/// # Errors
/// When what it is to be makes no sense, or does not come about.
pub async fn serve() -> Result<()> {
    let role = std::env::var(ROLE).context("this is for the program's own use")?;
    let Role { kind, crowd } = serde_json::from_str(&role)?;
    let mut asked = asked();
    if let Some((peers, around)) = crowd {
        let crowd = Crowd::gather(kind, peers, around).await?;
        return answer(around, &mut asked, async |wanted| crowd.received.reach(wanted).await).await;
    }
    let (end, address) = End::start(kind).await?;
    answer(address, &mut asked, async |wanted| end.reach(wanted).await).await
}

/// Says where it is, and then that so many have come as often as it is asked.
async fn answer(
    address: PeerAddr,
    asked: &mut mpsc::Receiver<String>,
    reach: impl AsyncFn(u64) -> Result<()>,
) -> Result<()> {
    say(&address.to_string())?;
    while let Some(wanted) = asked.recv().await {
        reach(wanted.parse()?).await?;
        say("come")?;
    }
    Ok(())
}

/// The lines of the input.
fn asked() -> mpsc::Receiver<String> {
    let (ask, asked) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if ask.blocking_send(line).is_err() {
                return;
            }
        }
    });
    asked
}

fn say(what: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{MARK}{what}")?;
    Ok(output.flush()?)
}

/// One that listens.
enum End {
    Raw(Arc<Tally>),
    Native(NativeNode),
    Plugin(PluginNode),
}

impl End {
    async fn start(kind: Kind) -> Result<(Self, PeerAddr)> {
        Ok(match kind {
            Kind::Raw | Kind::Echo => {
                let (node, bytes) = (RawNode::start()?, Arc::<Tally>::default());
                let address = node.address();
                tokio::spawn(node.serve(bytes.clone(), kind == Kind::Echo));
                (Self::Raw(bytes), address)
            }
            Kind::Native => {
                let node = NativeNode::start(1).await?;
                let address = node.node.address();
                (Self::Native(node), address)
            }
            Kind::Plugin => {
                let node = PluginNode::start(&[super::LOAD.to_owned()]).await?;
                let address = node.node.address();
                (Self::Plugin(node), address)
            }
        })
    }

    async fn reach(&self, wanted: u64) -> Result<()> {
        match self {
            Self::Raw(bytes) => bytes.reach(wanted).await,
            Self::Native(node) => node.received.reach(wanted).await,
            Self::Plugin(node) => node.handles(wanted).await,
        }
    }
}

/// Peers that stay connected and count what they get.
struct Crowd {
    /// Messages or bytes, by all of them.
    received: Arc<Tally>,
    _raw: Vec<(RawNode, LinkHandle)>,
    _native: Vec<NativeNode>,
}

impl Crowd {
    /// One after the other, so that the handshakes of one do not wait for those of all.
    async fn gather(kind: Kind, peers: usize, around: PeerAddr) -> Result<Self> {
        let mut crowd = Self { received: Arc::default(), _raw: Vec::new(), _native: Vec::new() };
        let protocol = match kind {
            Kind::Raw | Kind::Echo => None,
            Kind::Native => Some(NativeNode::protocol(0)?),
            Kind::Plugin => Some(PluginNode::protocol(super::LOAD)?),
        };
        for _ in 0..peers {
            match &protocol {
                None => {
                    let node = RawNode::start()?;
                    let Link { handle, acceptor, .. } = node.dial(around).await?;
                    tokio::spawn(count_all(acceptor, crowd.received.clone()));
                    crowd._raw.push((node, handle));
                }
                Some(protocol) => {
                    let node =
                        NativeNode::speaking(Node::small().await?, vec![protocol.clone()], crowd.received.clone())?;
                    node.node.reach(around, protocol).await?;
                    crowd._native.push(node);
                }
            }
        }
        Ok(crowd)
    }
}
