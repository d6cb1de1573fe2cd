//! Where this node tells peers to dial it, and the file that keeps what peers told it.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::connection::AddressSource;
use crate::folder::write_atomically;
use crate::hex::{hex, unhex};
use crate::identity::NodeKey;
use crate::peer::PeerId;
use crate::runtime::Runtime;
use crate::supervisor::{BookRecord, ConnectionSupervisor};
use crate::wire::{AddressRecord, MAX_ADDRESSES, SignedAddressRecord};

/// How long an address record is good for. Long, because it is made anew for every hello and a later one replaces it:
/// what expires is only the word of a node that was away for this long.
const ADDRESS_LIFETIME_MS: u64 = 14 * 24 * 60 * 60 * 1000;
/// How often the file is written at most. A crash loses no more than what was learned since, and all of it is learned
/// again with the next hello.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Largest file that is read: twice what the most records that may be remembered take.
const MAX_FILE: u64 = 64 << 20;

/// Makes the signed record of where this node is, anew for every hello. None when that is not known.
pub(super) fn source(key: &Arc<NodeKey>, addresses: Advertised, runtime: &Runtime) -> AddressSource {
    let (key, clock) = (key.clone(), runtime.clock.clone());
    Arc::new(move || {
        let addresses = addresses.now();
        if addresses.is_empty() {
            return None;
        }
        let now = clock.unix_ms();
        let record = AddressRecord {
            peer: *key.peer_id().as_bytes(),
            sequence: now,
            expires_unix_ms: now.saturating_add(ADDRESS_LIFETIME_MS),
            addresses,
        };
        Some(SignedAddressRecord::sign(&record, |bytes| key.sign(bytes)))
    })
}

/// Where peers are told to dial this node.
pub(super) struct Advertised {
    /// What the operator says; counts alone, when it is anything.
    pub(super) named: Vec<SocketAddr>,
    /// Where the node listens.
    pub(super) listens: SocketAddr,
    /// Whether the network is the machine's, so that the machine knows its address there.
    pub(super) real: bool,
}

impl Advertised {
    fn now(&self) -> Vec<SocketAddr> {
        if !self.named.is_empty() {
            return self.named.iter().take(MAX_ADDRESSES).copied().collect();
        }
        if !self.listens.ip().is_unspecified() {
            return vec![self.listens];
        }
        let own = if self.real { own_address(self.listens.ip()) } else { None };
        own.map(|ip| SocketAddr::new(ip, self.listens.port())).into_iter().collect()
    }
}

/// The address from which this machine speaks to the internet, in the family of `any`. No packet is sent: connecting a
/// UDP socket only asks the routing table.
fn own_address(any: IpAddr) -> Option<IpAddr> {
    let far: IpAddr = if any.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// One record in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    peer_id: PeerId,
    seen: IpAddr,
    until_unix_ms: u64,
    /// Hexadecimal.
    record: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    records: Vec<Line>,
}

/// Reads what was kept. A file that is not there is empty; one that cannot be read or is damaged is said and counts as
/// empty, because everything in it is learned again. The records are not verified here.
pub(super) fn load(file: &Path) -> Vec<BookRecord> {
    match read(file) {
        Ok(document) => document.records.into_iter().filter_map(record).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "remembered addresses cannot be read and are learned anew");
            Vec::new()
        }
    }
}

fn read(file: &Path) -> io::Result<Document> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn record(line: Line) -> Option<BookRecord> {
    let signed = SignedAddressRecord::from_bytes(&unhex(&line.record)?).ok()?;
    Some(BookRecord { peer: line.peer_id, signed, seen: line.seen, until_unix_ms: line.until_unix_ms })
}

fn save(file: &Path, records: Vec<BookRecord>) -> io::Result<()> {
    let line = |kept: BookRecord| Line {
        peer_id: kept.peer,
        seen: kept.seen,
        until_unix_ms: kept.until_unix_ms,
        record: hex(&kept.signed.to_bytes()),
    };
    let document = Document { records: records.into_iter().map(line).collect() };
    write_atomically(file, &serde_json::to_vec(&document)?)
}

/// Writes the address book whenever it has changed, now and then, and once more at the end.
pub(super) async fn keep(supervisor: ConnectionSupervisor, file: PathBuf, stop: CancellationToken) {
    let mut version = supervisor.records_version();
    loop {
        let changed = stop.run_until_cancelled(version.changed()).await;
        // At the end the change may have come in the same moment.
        let ended = changed.is_none() || changed.is_some_and(|open| open.is_err());
        if ended && !version.has_changed().unwrap_or(false) {
            return;
        }
        version.mark_unchanged();
        let (path, records) = (file.clone(), supervisor.records());
        let written = tokio::task::spawn_blocking(move || save(&path, records)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(file = %file.display(), %error, "remembered addresses cannot be written");
        }
        if ended {
            return;
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(SAVE_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededEntropy;

    fn key(seed: u64) -> Arc<NodeKey> {
        Arc::new(NodeKey::generate(&SeededEntropy::from_seed(seed)))
    }

    fn kept(seed: u64) -> BookRecord {
        let advertised = Advertised { named: vec![], listens: ([192, 0, 2, 7], 4433).into(), real: false };
        let signed = source(&key(seed), advertised, &Runtime::system().expect("runtime"))().expect("known");
        BookRecord { peer: key(seed).peer_id(), signed, seen: [192, 0, 2, 7].into(), until_unix_ms: u64::MAX }
    }

    #[test]
    fn the_operators_word_counts_and_everywhere_is_nowhere() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let now = |named: &[&str], listens| {
            let named = named.iter().map(|text| at(text)).collect();
            Advertised { named, listens: at(listens), real: false }.now()
        };
        assert_eq!(now(&["192.0.2.1:1"], "127.0.0.1:2"), [at("192.0.2.1:1")]);
        assert_eq!(now(&[], "127.0.0.1:2"), [at("127.0.0.1:2")]);
        assert!(now(&[], "0.0.0.0:2").is_empty());
        // Whatever this machine's routes are, nobody is told to dial no address.
        let machine = Advertised { named: vec![], listens: at("0.0.0.0:2"), real: true }.now();
        assert!(machine.iter().all(|own| !own.ip().is_unspecified() && own.port() == 2));
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("addresses.json");
        assert!(load(&file).is_empty());
        let records = vec![kept(1), kept(2)];
        save(&file, records.clone()).expect("written");
        assert_eq!(load(&file), records);
    }

    #[test]
    fn a_hostile_file_is_taken_for_what_of_it_is_sound() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("addresses.json");
        save(&file, vec![kept(1)]).expect("written");
        let sound = std::fs::read_to_string(&file).expect("text");
        for cut in (0..sound.len()).step_by(7) {
            std::fs::write(&file, &sound[..cut]).expect("write");
            assert!(load(&file).is_empty(), "cut at {cut}");
        }
        let peer = key(1).peer_id();
        for record in ["", "0", "zz", "00", "ff00", &"f".repeat(4000), "é"] {
            let line = serde_json::json!({"peer_id": peer, "seen": "::1", "until_unix_ms": 1, "record": record});
            let text = serde_json::json!({"records": [line]}).to_string();
            std::fs::write(&file, text).expect("write");
            assert!(load(&file).is_empty(), "{record}");
        }
        for text in ["[]", "null", "{\"records\": 1}", "{\"records\": [], \"more\": 1}", "\u{0}"] {
            std::fs::write(&file, text).expect("write");
            assert!(load(&file).is_empty(), "{text}");
        }
    }
}
