//! `Wallet`: a key, its book and a node. What all actions share: nothing is sent that is not on the disk.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use weir_ledger::keys::KeyPair;
use weir_ledger::{Id, Key, to_hex};

use crate::WalletError;
use crate::api::{ApiError, Refusal};
use crate::book::{Entry, Log, LogName, Next, Place};
use crate::book_file::BookFile;
use crate::key_file;
use crate::node::{Caller, DIVIDEND, Node, PAUSE, STAKING};

/// How long a node is given to take in what it was sent because it lacked it.
const CATCH_UP: Duration = Duration::from_secs(10);

/// With these a plugin says that it keeps nothing of what it was sent. Any other failure leaves that open: a node that
/// ended, or a plugin that failed, may have what was sent, or come upon it later.
const KEEPS_NOTHING: [&str; 15] = [
    "bad-arguments",
    "malformed",
    "wrong-signature",
    "not-the-issuer",
    "not-a-payer",
    "no-mint",
    "no-stake",
    "equivocated",
    "too-far-ahead",
    "too-many-open",
    "log-too-short",
    "other-reign",
    "enough",
    "outdone",
    "epoch-not-closed",
];

/// A key with its book, at a node.
pub struct Wallet<C> {
    /// Beside it lies the book.
    pub(crate) key_file: PathBuf,
    pub(crate) pair: KeyPair,
    pub(crate) node: Node<C>,
    book: BookFile,
}

/// Something that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: Id,
    /// Whether it had been signed before, by a call that failed.
    pub retried: bool,
    /// What the node had lacked and was sent first.
    pub resent: u64,
}

/// What was asked for, signed at a place.
pub(crate) struct Signature {
    /// Its id.
    pub(crate) id: Id,
    /// Its bytes with the signature, in hexadecimal digits.
    pub(crate) bytes: String,
    /// See [`Entry::pages`].
    pub(crate) pages: Vec<String>,
}

impl Signature {
    pub(crate) fn new(id: Id, bytes: &[u8]) -> Self {
        Self { id, bytes: to_hex(bytes), pages: Vec::new() }
    }
}

impl<C: Caller> Wallet<C> {
    /// Reads a key file and its book, and keeps other wallets from using them meanwhile.
    pub fn open(key_file: &Path, caller: C) -> Result<Self, WalletError> {
        let pair = key_file::load(key_file)?;
        let book = BookFile::open(key_file)?;
        Ok(Self { key_file: key_file.to_owned(), pair, node: Node(caller), book })
    }

    /// The public key.
    pub fn account(&self) -> Key {
        self.pair.key()
    }

    /// The node.
    pub fn node(&self) -> &Node<C> {
        &self.node
    }

    pub(crate) fn log(&self, network: Id, name: LogName) -> Log {
        self.book.book().log(network, name)
    }

    /// Sends what is asked for: signs it where it was not signed yet, and sends before it what the node lacks.
    ///
    /// `place` asks the node what comes next, `decide` the book what to do about that, `sign` signs.
    pub(crate) fn send(
        &mut self,
        network: Id,
        name: LogName,
        what: &str,
        place: impl Fn(&Node<C>) -> Result<Place, WalletError>,
        mut sign: impl FnMut(&Self, Place) -> Result<Signature, WalletError>,
    ) -> Result<Sent, WalletError> {
        let (since, mut resent) = (Instant::now(), 0);
        loop {
            let at = place(&self.node)?;
            let log = self.log(network, name);
            let next = match name {
                LogName::Declarations => log.next_number(what, at.seq),
                LogName::Claims => log.next_claim(at.seq),
                LogName::Operations | LogName::Decrees | LogName::Rotations => log.next(what, at)?,
            };
            match next {
                Next::Again(entry) => {
                    self.send_again(network, name, &entry)?;
                    return Ok(Sent { seq: entry.seq, id: entry.id, retried: true, resent });
                }
                Next::First(entries) => {
                    if resent > 0 && since.elapsed() > CATCH_UP {
                        let ours = entries.last().map_or(at.seq, |entry| entry.seq);
                        return Err(crate::book::Conflict::NodeBehind { theirs: at.seq, ours }.into());
                    }
                    if resent > 0 {
                        thread::sleep(PAUSE);
                    }
                    for entry in &entries {
                        self.send_again(network, name, entry)?;
                    }
                    resent = resent.max(entries.len() as u64);
                }
                Next::Sign(at) => {
                    let Signature { id, bytes, pages } = sign(self, at)?;
                    let what = what.to_owned();
                    let entry = Entry { reign: at.reign, seq: at.seq, id, what, bytes, pages, settled: false };
                    self.book.change(|book| book.log_mut(network, name).add(entry.clone()))?;
                    self.send_first(network, name, &entry)?;
                    return Ok(Sent { seq: at.seq, id, retried: false, resent });
                }
            }
        }
    }

    /// Sends what was just signed. Only here a refusal frees the number again: nobody else can have it.
    fn send_first(&mut self, network: Id, name: LogName, entry: &Entry) -> Result<(), WalletError> {
        match self.node.submit_hex(plugin(name), &entry.bytes) {
            Ok(_) => self.send_pages(network, name, entry),
            Err(error) if keeps_nothing(&error) => {
                self.book.change(|book| book.log_mut(network, name).take_back(entry.id))?;
                Err(error)
            }
            Err(error) => Err(unconfirmed(entry, error)),
        }
    }

    pub(crate) fn send_again(&mut self, network: Id, name: LogName, entry: &Entry) -> Result<(), WalletError> {
        match self.node.submit_hex(plugin(name), &entry.bytes) {
            Ok(_) => self.send_pages(network, name, entry),
            Err(error) => Err(unconfirmed(entry, error)),
        }
    }

    /// What goes with an entry that the node has just taken. Only then it has all of it.
    fn send_pages(&mut self, network: Id, name: LogName, entry: &Entry) -> Result<(), WalletError> {
        for page in &entry.pages {
            self.node.submit_hex(plugin(name), page).map_err(|error| unconfirmed(entry, error))?;
        }
        self.settle(network, name, entry.id)
    }

    pub(crate) fn settle(&mut self, network: Id, name: LogName, id: Id) -> Result<(), WalletError> {
        Ok(self.book.change(|book| book.log_mut(network, name).settle(id))?)
    }
}

fn plugin(name: LogName) -> &'static str {
    match name {
        LogName::Operations | LogName::Decrees | LogName::Rotations => STAKING,
        LogName::Declarations | LogName::Claims => DIVIDEND,
    }
}

fn keeps_nothing(error: &WalletError) -> bool {
    matches!(error, WalletError::Node(ApiError::Refused(Refusal { code, .. })) if KEEPS_NOTHING.contains(&code.as_str()))
}

fn unconfirmed(entry: &Entry, error: WalletError) -> WalletError {
    match error {
        WalletError::Node(source) => WalletError::Unconfirmed { what: entry.what.clone(), seq: entry.seq, source },
        other => other,
    }
}
