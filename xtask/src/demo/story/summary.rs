//! What the story came to: a table that adds up for people, one JSON document for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::number::grouped;

/// The figures the story ends with. Amounts are those that the demo computed itself; each node's must be the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub accounts: u64,
    /// Mints, operations and epochs that nodes took.
    pub submitted: u64,
    pub claims: u64,
    pub declared: u128,
    pub claimed: u128,
    pub claimable: u128,
    pub apart: [u64; 2],
    pub healed: Duration,
    pub pauses: Vec<Duration>,
    pub flowing: u64,
    pub back: Duration,
    pub acts: Vec<(&'static str, Duration)>,
    pub nodes: Vec<NodeEnd>,
    pub elapsed: Duration,
}

/// What one node says at the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeEnd {
    pub name: &'static str,
    pub version: String,
    pub epoch: u64,
    pub root: String,
    /// Mints, operations and epochs in its closed state.
    pub included: u64,
    pub pending: u64,
    pub dividend_root: String,
    pub claimed: u128,
    pub claimable: u128,
    pub claims: u64,
    /// Accounts whose due is not what it must be.
    pub wrong_shares: u64,
    pub stakes_as_signed: bool,
}

impl Summary {
    /// What rounding leaves in the pot.
    fn dust(&self) -> u128 {
        self.declared.saturating_sub(self.claimed).saturating_sub(self.claimable)
    }

    /// What was taken and is not in the closed state of the node that has least.
    fn lost(&self) -> u64 {
        let least = self.nodes.iter().map(|node| node.included).min().unwrap_or(0);
        self.submitted.saturating_sub(least)
    }

    fn equal(&self, of: impl Fn(&NodeEnd) -> &str) -> bool {
        self.nodes.windows(2).all(|pair| of(&pair[0]) == of(&pair[1]))
    }

    /// What must not have happened, in words. Empty if all went well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |bad: bool, text: String| failures.extend(bad.then_some(text));
        fail(self.lost() > 0, format!("{} of {} operations are lost", self.lost(), self.submitted));
        fail(!self.equal(|node| &node.root), "the roots of staking differ".into());
        fail(!self.equal(|node| &node.dividend_root), "the roots of dividend differ".into());
        fail(self.dust() >= u128::from(self.accounts), format!("rounding left {} in the pot", self.dust()));
        for node in &self.nodes {
            let name = node.name;
            let paid = (node.claimed, node.claimable);
            let ours = (self.claimed, self.claimable);
            fail(node.included > self.submitted, format!("node {name} includes more than was sent: {}", node.included));
            fail(node.pending > 0, format!("node {name} has {} operations pending", node.pending));
            fail(!node.stakes_as_signed, format!("the stakes of node {name} are not those that were signed"));
            fail(node.wrong_shares > 0, format!("node {name} has {} wrong shares", node.wrong_shares));
            fail(paid != ours, format!("node {name} has claimed and claimable {paid:?}, and they must be {ours:?}"));
            fail(node.claims != self.claims, format!("node {name} has {} claims of {}", node.claims, self.claims));
            fail(node.version != "1.1.0", format!("node {name} runs staking {}", node.version));
        }
        failures
    }

    /// The table the story ends with.
    pub fn table(&self) -> String {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let longest = self.pauses.iter().max().copied().unwrap_or_default();
        let included = self.nodes.iter().map(|node| node.included).min().unwrap_or(0);
        let last = self.nodes.first().cloned().unwrap_or_default();
        let equal = |same: bool, root: &str| {
            if same {
                format!("{} on all {} nodes", root.get(..20).unwrap_or(root), self.nodes.len())
            } else {
                "DIFFER".into()
            }
        };
        let [one, other] = self.apart;
        let rows = [
            ("accounts", grouped(self.accounts)),
            ("operations sent", format!("{} (mints, operations of accounts, epochs)", grouped(self.submitted))),
            ("in the closed state", grouped(included)),
            ("lost", grouped(self.lost())),
            ("root of staking", equal(self.equal(|node| &node.root), &last.root)),
            ("root of dividend", equal(self.equal(|node| &node.dividend_root), &last.dividend_root)),
            ("", String::new()),
            ("declared", format!("{:>12}", grouped(self.declared))),
            ("claimed", format!("{:>12}  in {} claims", grouped(self.claimed), grouped(self.claims))),
            ("+ claimable", format!("{:>12}", grouped(self.claimable))),
            ("+ dust", format!("{:>12}  stays in the pot", grouped(self.dust()))),
            ("= declared", format!("{:>12}", grouped(self.claimed + self.claimable + self.dust()))),
            ("", String::new()),
            ("cut", format!("{one} and {other} operations apart, equal {} after the healing", seconds(self.healed))),
            (
                "upgrade 1.0 → 1.1",
                format!(
                    "{} operations meanwhile, longest pause {:.1} ms",
                    grouped(self.flowing),
                    longest.as_secs_f64() * 1e3
                ),
            ),
            ("dropped back in", format!("equal {} later", seconds(self.back))),
            ("whole demo", seconds(self.elapsed)),
        ];
        let line = |(name, value): &(&str, String)| format!("  {name:<22}{value}").trim_end().to_owned() + "\n";
        rows.iter().map(line).collect()
    }

    /// The same for programs. Amounts are decimal strings, durations whole microseconds.
    pub fn json(&self) -> Value {
        let micros = |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let nodes = self.nodes.iter().map(|node| {
            json!({
                "name": node.name,
                "staking": node.version,
                "epoch": node.epoch,
                "root": node.root,
                "included": node.included,
                "pending": node.pending,
                "dividend_root": node.dividend_root,
                "claimed": node.claimed.to_string(),
                "claimable": node.claimable.to_string(),
                "claims": node.claims,
            })
        });
        let acts = self.acts.iter().map(|(name, took)| json!({"act": name, "took_us": micros(took)}));
        json!({
            "ok": self.failures().is_empty(),
            "failures": self.failures(),
            "accounts": self.accounts,
            "operations": {
                "submitted": self.submitted,
                "included": self.nodes.iter().map(|node| node.included).min(),
                "lost": self.lost(),
            },
            "roots_equal": self.equal(|node| &node.root),
            "dividend": {
                "roots_equal": self.equal(|node| &node.dividend_root),
                "declared": self.declared.to_string(),
                "claimed": self.claimed.to_string(),
                "claimable": self.claimable.to_string(),
                "dust": self.dust().to_string(),
                "claims": self.claims,
                "back_us": micros(&self.back),
            },
            "partition": {"operations": self.apart, "equal_after_us": micros(&self.healed)},
            "upgrade": {
                "from": "1.0.0",
                "to": "1.1.0",
                "operations": self.flowing,
                "pauses_us": self.pauses.iter().map(micros).collect::<Vec<_>>(),
            },
            "nodes": nodes.collect::<Vec<_>>(),
            "acts": acts.collect::<Vec<_>>(),
            "elapsed_us": micros(&self.elapsed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        let node = NodeEnd {
            name: "a",
            version: "1.1.0".to_owned(),
            root: "ab".repeat(32),
            included: 100,
            claimed: 60,
            claimable: 37,
            claims: 4,
            stakes_as_signed: true,
            ..NodeEnd::default()
        };
        Summary {
            accounts: 10,
            submitted: 100,
            claims: 4,
            declared: 100,
            claimed: 60,
            claimable: 37,
            nodes: vec![node.clone(), NodeEnd { name: "b", ..node }],
            ..Summary::default()
        }
    }

    fn failures(change: impl FnOnce(&mut Summary)) -> Vec<String> {
        let mut summary = good();
        change(&mut summary);
        summary.failures()
    }

    #[test]
    fn a_good_run_has_no_failures_and_adds_up() {
        assert_eq!(good().failures(), Vec::<String>::new());
        let json = good().json();
        assert_eq!(
            (&json["ok"], &json["dividend"]["dust"], &json["operations"]["lost"]),
            (&true.into(), &"3".into(), &0.into())
        );
        assert!(good().table().contains("= declared"));
    }

    #[test]
    fn each_harm_is_a_failure() {
        assert_eq!(failures(|summary| summary.nodes[1].included = 98), ["2 of 100 operations are lost"]);
        assert_eq!(failures(|summary| summary.nodes[1].root.clear()), ["the roots of staking differ"]);
        assert_eq!(failures(|summary| summary.nodes[1].dividend_root.push('1')), ["the roots of dividend differ"]);
        assert_eq!(failures(|summary| summary.nodes[1].claimed -= 1).len(), 1);
        assert_eq!(failures(|summary| summary.nodes[1].claims = 3), ["node b has 3 claims of 4"]);
        assert_eq!(failures(|summary| summary.nodes[1].stakes_as_signed = false).len(), 1);
        assert_eq!(failures(|summary| summary.nodes[1].wrong_shares = 1).len(), 1);
        assert_eq!(failures(|summary| summary.nodes[1].pending = 1).len(), 1);
        assert_eq!(failures(|summary| summary.nodes[1].included = 101).len(), 1);
        assert_eq!(failures(|summary| summary.declared = 107), ["rounding left 10 in the pot"]);
    }
}
