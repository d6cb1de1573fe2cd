//! What is expected of the dials under way, and which key answered each.
//!
//! All dials of a node share one TLS configuration, and its verifier learns nothing about a dial but the server
//! name. So each dial gets a number, the number is the server name (it stays inside the process: SNI is off), and
//! the verifier finds here whose key must answer and leaves which one did. A key that is not the expected one is
//! refused before this node has shown its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::peer::PeerId;

/// Makes the name a valid DNS name, which TLS libraries insist on.
const SUFFIX: &str = ".dial";

#[derive(Debug)]
struct Dial {
    expected: PeerId,
    found: Option<PeerId>,
}

/// All dials under way; cheap to clone. As many entries as there are [`DialTicket`]s.
#[derive(Debug, Clone, Default)]
pub(super) struct Dials {
    next: Arc<AtomicU64>,
    open: Arc<Mutex<HashMap<u64, Dial>>>,
}

impl Dials {
    /// Notes a dial until its ticket is dropped.
    pub(super) fn begin(&self, expected: PeerId) -> DialTicket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(number, Dial { expected, found: None });
        DialTicket { number, dials: self.clone() }
    }

    /// Notes which key answered; `true` when it is the expected one. A dial that was given up expects nobody.
    pub(super) fn answered(&self, server_name: &str, found: PeerId) -> bool {
        let number = server_name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
        let mut open = self.open();
        let Some(dial) = number.and_then(|number: u64| open.get_mut(&number)) else { return false };
        dial.found = Some(found);
        dial.expected == found
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Dial>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One dial under way.
#[derive(Debug)]
pub(super) struct DialTicket {
    number: u64,
    dials: Dials,
}

impl DialTicket {
    /// The server name to dial with.
    pub(super) fn server_name(&self) -> String {
        format!("{}{SUFFIX}", self.number)
    }

    /// Whose key answered, if one did.
    pub(super) fn found(&self) -> Option<PeerId> {
        self.dials.open().get(&self.number).and_then(|dial| dial.found)
    }
}

impl Drop for DialTicket {
    fn drop(&mut self) {
        self.dials.open().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dial_expects_its_own_peer_and_is_forgotten_with_its_ticket() {
        let [alice, bob] = [1, 2].map(|byte| PeerId::from_bytes([byte; 32]));
        let dials = Dials::default();
        let (to_alice, to_bob) = (dials.begin(alice), dials.begin(bob));
        assert!(dials.answered(&to_alice.server_name(), alice));
        assert!(!dials.answered(&to_bob.server_name(), alice));
        assert_eq!((to_alice.found(), to_bob.found()), (Some(alice), Some(alice)));
        let name = to_alice.server_name();
        drop(to_alice);
        assert!(!dials.answered(&name, alice) && !dials.answered("bob", bob));
        assert_eq!(dials.open().len(), 1);
    }
}
