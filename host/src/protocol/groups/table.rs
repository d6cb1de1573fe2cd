//! Named groups of peers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;

/// Most groups a node has.
pub const MAX_GROUPS: usize = 256;
/// Most members of one group: what a node may know.
pub const MAX_GROUP_MEMBERS: usize = 1024;
/// Longest name of a group, in bytes.
pub const MAX_GROUP_NAME: usize = 64;

/// The name of a group: up to 64 ASCII letters, digits, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

/// Why nothing was done with a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The text is no name.
    #[error("`{0}` is no name of a group: write 1 to {MAX_GROUP_NAME} letters, digits, `.`, `-` or `_`")]
    Name(String),
    /// Nobody made it.
    #[error("no group is called `{0}`; `weir groups` lists those that are there")]
    Unknown(GroupName),
    /// There are too many.
    #[error("the node has {MAX_GROUPS} of {MAX_GROUPS} groups: remove one with `weir groups remove NAME`")]
    TooManyGroups,
    /// It would be too large.
    #[error("a group has at most {MAX_GROUP_MEMBERS} members, this one would have {0}: make several")]
    TooManyMembers(usize),
}

impl GroupError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "bad-request",
            Self::Unknown(_) => "unknown-group",
            Self::TooManyGroups => "too-many-groups",
            Self::TooManyMembers(_) => "too-many-members",
        }
    }
}

impl GroupName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let sound = (1..=MAX_GROUP_NAME).contains(&text.len()) && text.bytes().all(good);
        if sound { Ok(Self(text.to_owned())) } else { Err(GroupError::Name(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for GroupName {
    type Error = GroupError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One group, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it is called.
    pub name: GroupName,
    /// Who is in it, in the order of their ids.
    pub peers: Vec<PeerId>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<GroupName, BTreeSet<PeerId>>);

impl Table {
    /// Makes a group of these, whatever it was before.
    pub(super) fn set(&mut self, name: GroupName, peers: BTreeSet<PeerId>) -> Result<(), GroupError> {
        if peers.len() > MAX_GROUP_MEMBERS {
            return Err(GroupError::TooManyMembers(peers.len()));
        }
        if !self.0.contains_key(&name) && self.0.len() >= MAX_GROUPS {
            return Err(GroupError::TooManyGroups);
        }
        self.0.insert(name, peers);
        Ok(())
    }

    /// Adds a member; says whether it is new.
    pub(super) fn add(&mut self, name: &GroupName, peer: PeerId) -> Result<bool, GroupError> {
        let peers = self.0.get_mut(name).ok_or_else(|| GroupError::Unknown(name.clone()))?;
        if peers.len() >= MAX_GROUP_MEMBERS && !peers.contains(&peer) {
            return Err(GroupError::TooManyMembers(peers.len() + 1));
        }
        Ok(peers.insert(peer))
    }

    /// Removes a member; says whether it was there. The group stays, even when it is empty now.
    pub(super) fn remove(&mut self, name: &GroupName, peer: &PeerId) -> Result<bool, GroupError> {
        let peers = self.0.get_mut(name).ok_or_else(|| GroupError::Unknown(name.clone()))?;
        Ok(peers.remove(peer))
    }

    /// Forgets the group; says whether it was there.
    pub(super) fn delete(&mut self, name: &GroupName) -> bool {
        self.0.remove(name).is_some()
    }

    /// Who is in it.
    pub(super) fn members(&self, name: &GroupName) -> Result<Vec<PeerId>, GroupError> {
        let peers = self.0.get(name).ok_or_else(|| GroupError::Unknown(name.clone()))?;
        Ok(peers.iter().copied().collect())
    }

    /// All of them, by name.
    pub(super) fn list(&self) -> Vec<Group> {
        let group = |(name, peers): (&GroupName, &BTreeSet<PeerId>)| Group {
            name: name.clone(),
            peers: peers.iter().copied().collect(),
        };
        self.0.iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GroupName {
        text.parse().expect("a name")
    }

    fn peer(number: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    #[test]
    fn groups_are_made_changed_and_forgotten() {
        let mut table = Table::default();
        let unknown = Err(GroupError::Unknown(name("a")));
        assert_eq!(table.add(&name("a"), peer(1)), unknown);
        table.set(name("a"), BTreeSet::from([peer(2), peer(1)])).expect("room");
        assert_eq!(table.members(&name("a")), Ok(vec![peer(1), peer(2)]));
        assert_eq!((table.add(&name("a"), peer(3)), table.add(&name("a"), peer(3))), (Ok(true), Ok(false)));
        assert_eq!((table.remove(&name("a"), &peer(3)), table.remove(&name("a"), &peer(3))), (Ok(true), Ok(false)));
        assert_eq!(table.list(), [Group { name: name("a"), peers: vec![peer(1), peer(2)] }]);
        assert!(table.delete(&name("a")) && !table.delete(&name("a")));
    }

    #[test]
    fn groups_are_bounded_in_number_size_and_name() {
        let mut table = Table::default();
        for number in 0..MAX_GROUPS {
            table.set(name(&format!("g{number}")), BTreeSet::new()).expect("room");
        }
        assert_eq!(table.set(name("more"), BTreeSet::new()), Err(GroupError::TooManyGroups));
        let many: BTreeSet<PeerId> = (0..MAX_GROUP_MEMBERS).map(peer).collect();
        table.set(name("g0"), many.clone()).expect("a known one may be set again");
        assert_eq!(table.add(&name("g0"), peer(0)), Ok(false));
        let too_many = MAX_GROUP_MEMBERS + 1;
        assert_eq!(table.add(&name("g0"), peer(too_many)), Err(GroupError::TooManyMembers(too_many)));
        let more = many.into_iter().chain([peer(too_many)]).collect();
        assert_eq!(table.set(name("g1"), more), Err(GroupError::TooManyMembers(too_many)));
        for text in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(text.parse::<GroupName>().is_err(), "{text}");
        }
    }
}
