//! Groups of peers that the operator makes and forgets while the node runs.

use std::collections::BTreeSet;

use super::book::SharedBook;
use super::{Node, OperateError};
use crate::folder::GroupBook;
use crate::host::Host;
use crate::peer::PeerId;
use crate::protocol::{GroupError, GroupName};

/// The book of groups beside the host that sends to them.
pub(super) struct GroupDesk {
    book: SharedBook<GroupBook>,
    /// One change at a time, so that book and host agree.
    turn: tokio::sync::Mutex<()>,
}

impl GroupDesk {
    /// Tells the host of all groups in the book, before anybody can send to one.
    pub(super) fn new(host: &Host, book: GroupBook) -> Self {
        for (name, peers) in book.groups() {
            if let Err(error) = host.groups().set(name, peers.iter().copied()) {
                tracing::warn!(%name, %error, "a group of the book is not there");
            }
        }
        Self { book: SharedBook::new(book), turn: tokio::sync::Mutex::new(()) }
    }
}

impl Node {
    /// Makes a group of these peers, now and after a restart; returns who is in it.
    ///
    /// # Errors
    /// When there would be too many groups, or too many in it, or it cannot be kept; nothing changes then.
    pub async fn set_group(&self, name: GroupName, peers: Vec<PeerId>) -> Result<Vec<PeerId>, OperateError> {
        let _turn = self.groups.turn.lock().await;
        let groups = self.host.groups();
        let before = groups.members(&name).ok();
        groups.set(&name, peers)?;
        let members = groups.members(&name)?;
        let (kept, of_book): (BTreeSet<PeerId>, _) = (members.iter().copied().collect(), name.clone());
        if let Err(error) = self.groups.book.write(move |book| book.set(of_book, kept)).await {
            match before {
                Some(before) => groups.set(&name, before)?,
                None => drop(groups.delete(&name)),
            }
            return Err(error.into());
        }
        Ok(members)
    }

    /// Forgets a group, now and after a restart.
    ///
    /// # Errors
    /// When there is none, or the change cannot be kept; nothing changes then.
    pub async fn remove_group(&self, name: GroupName) -> Result<(), OperateError> {
        let _turn = self.groups.turn.lock().await;
        let of_book = name.clone();
        let kept = self.groups.book.write(move |book| book.remove(&of_book)).await?;
        if self.host.groups().delete(&name) || kept { Ok(()) } else { Err(GroupError::Unknown(name).into()) }
    }
}
