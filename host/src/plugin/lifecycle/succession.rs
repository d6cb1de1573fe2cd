//! Who may follow whom on the same store: layouts, and what is kept when one revision follows another. Pure.

use serde::{Deserialize, Serialize};

use super::record::KeptRecord;

/// The layout of the store that a revision writes, and the oldest one that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::plugin) struct Layouts {
    pub(in crate::plugin) reads_from: u32,
    pub(in crate::plugin) data_version: u32,
}

impl Layouts {
    /// Whether it may run on a store of this layout: it can read it, and would not write an older one into it.
    pub(in crate::plugin) fn fits(self, layout: u32) -> bool {
        self.reads_from <= layout && layout <= self.data_version
    }

    /// Whether running on a store of this layout makes it one that older revisions may not read.
    pub(in crate::plugin) fn raises(self, layout: u32) -> bool {
        self.data_version > layout
    }
}

/// How one revision follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Step {
    /// Other code: it is watched, and the one before is kept.
    Upgrade,
    /// The same code with other settings: nothing that could be taken back by a rollback.
    Reload,
    /// The one before comes back.
    Rollback,
}

/// What the node keeps of a plugin's revisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::plugin) struct Chain {
    /// What runs, or ran last.
    pub(in crate::plugin) running: KeptRecord,
    /// What ran before and can be taken up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::plugin) previous: Option<KeptRecord>,
    /// The digest of a file that was rolled back from: where it lies in the plugin folder it is not loaded again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::plugin) set_aside: Option<String>,
    /// When the probation of what runs ends, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::plugin) probation_until: Option<u64>,
}

impl Chain {
    pub(in crate::plugin) fn first(running: KeptRecord) -> Self {
        Self { running, previous: None, set_aside: None, probation_until: None }
    }

    /// How a revision with this digest would follow what ran last, when it is loaded or put in its place.
    pub(in crate::plugin) fn step_to(&self, digest: &str) -> Step {
        if self.running.digest == digest { Step::Reload } else { Step::Upgrade }
    }

    /// The chain after `next` followed. `broken` says that what ran was quarantined: then what ran before it stays the
    /// one to go back to, because nobody wants to come back to a revision that did not work.
    pub(in crate::plugin) fn follow(
        self,
        next: KeptRecord,
        step: Step,
        broken: bool,
        watched_until: Option<u64>,
    ) -> Self {
        match step {
            Step::Reload => Self { running: next, ..self },
            Step::Upgrade => {
                let previous = match self.previous {
                    Some(good) if broken && good.digest != next.digest => good,
                    _ => self.running,
                };
                Self { running: next, previous: Some(previous), set_aside: None, probation_until: watched_until }
            }
            Step::Rollback => {
                let set_aside = Some(self.running.digest.clone());
                Self { running: next, previous: Some(self.running), set_aside, probation_until: None }
            }
        }
    }

    /// The digests whose bytes must be kept.
    pub(in crate::plugin) fn digests(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.running).chain(&self.previous).map(|kept| kept.digest.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(digest: &str) -> KeptRecord {
        KeptRecord { digest: digest.to_owned(), ..KeptRecord::default() }
    }

    fn names(chain: &Chain) -> (&str, Option<&str>, Option<&str>) {
        let previous = chain.previous.as_ref().map(|kept| kept.digest.as_str());
        (&chain.running.digest, previous, chain.set_aside.as_deref())
    }

    #[test]
    fn an_upgrade_keeps_the_one_before_and_a_rollback_brings_it_back() {
        let chain = Chain::first(kept("a")).follow(kept("b"), Step::Upgrade, false, Some(9));
        assert_eq!((names(&chain), chain.probation_until), (("b", Some("a"), None), Some(9)));
        let back = chain.follow(kept("a"), Step::Rollback, false, None);
        assert_eq!((names(&back), back.probation_until), (("a", Some("b"), Some("b")), None));
        let again = back.follow(kept("c"), Step::Upgrade, false, None);
        assert_eq!(names(&again), ("c", Some("a"), None));
    }

    #[test]
    fn other_settings_change_nothing_that_a_rollback_takes_back() {
        let chain = Chain::first(kept("a")).follow(kept("b"), Step::Upgrade, false, Some(9));
        assert_eq!((chain.step_to("b"), chain.step_to("a")), (Step::Reload, Step::Upgrade));
        let reloaded = chain.clone().follow(kept("b"), Step::Reload, false, None);
        assert_eq!(reloaded, chain);
    }

    #[test]
    fn nobody_goes_back_to_what_was_quarantined() {
        let chain = Chain::first(kept("good")).follow(kept("bad"), Step::Upgrade, false, None);
        let repaired = chain.clone().follow(kept("new"), Step::Upgrade, true, None);
        assert_eq!(names(&repaired), ("new", Some("good"), None));
        let returned = chain.follow(kept("good"), Step::Upgrade, true, None);
        assert_eq!(names(&returned), ("good", Some("bad"), None));
    }

    #[test]
    fn layouts_fit_from_the_oldest_read_to_the_one_written() {
        let layouts = Layouts { reads_from: 2, data_version: 4 };
        assert_eq!([1, 2, 3, 4, 5].map(|layout| layouts.fits(layout)), [false, true, true, true, false]);
        assert_eq!([3, 4, 5].map(|layout| layouts.raises(layout)), [true, false, false]);
    }

    proptest! {
        #[test]
        fn a_chain_never_goes_back_to_itself(
            steps in proptest::collection::vec((0_u8..3, 0_u8..4, any::<bool>()), 0..50),
        ) {
            let mut chain = Chain::first(kept("0"));
            for (step, code, broken) in steps {
                let digest = code.to_string();
                let (next, step) = match (step, &chain.previous) {
                    (2, Some(previous)) => (previous.clone(), Step::Rollback),
                    _ => (kept(&digest), chain.step_to(&digest)),
                };
                chain = chain.follow(next, step, broken, None);
                let previous = chain.previous.as_ref().map(|kept| &kept.digest);
                prop_assert!(previous != Some(&chain.running.digest));
                prop_assert!(chain.set_aside.as_ref() != Some(&chain.running.digest));
            }
        }
    }
}
