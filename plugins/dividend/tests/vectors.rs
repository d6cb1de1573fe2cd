//! Every number of other implementations' tests.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_plugin_dividend::{Accumulator, Position, Rule};

/// 100 a block, ten times that before the bonus ends.
fn reward(from: u64, to: u64, bonus_end: u64) -> u128 {
    let bonus = to.min(bonus_end).saturating_sub(from);
    u128::from(bonus * 1_000 + (to - from - bonus) * 100)
}

struct Pool {
    weight: u128,
    accumulator: Accumulator,
    positions: BTreeMap<String, Position>,
    total: u128,
    at: u64,
}

/// The contract around the accumulator, as far as its tests go.
struct Farm {
    pools: BTreeMap<String, Pool>,
    start: u64,
    bonus_end: u64,
    minted: u128,
    paid: BTreeMap<String, u128>,
    developer: u128,
}

impl Farm {
    fn pool(&mut self, name: &str, weight: u128, block: u64) {
        self.update_all(block);
        let accumulator = Accumulator::new(Rule::Reference { unit: 1_000_000_000_000 });
        let at = block.max(self.start);
        let pool = Pool { weight, accumulator, positions: BTreeMap::new(), total: 0, at };
        self.pools.insert(name.to_owned(), pool);
    }

    fn weights(&self) -> u128 {
        self.pools.values().map(|pool| pool.weight).sum()
    }

    fn update_all(&mut self, block: u64) {
        let names: Vec<_> = self.pools.keys().cloned().collect();
        names.iter().for_each(|name| self.update(name, block));
    }

    fn update(&mut self, name: &str, block: u64) {
        let weights = self.weights();
        let Some(pool) = self.pools.get_mut(name).filter(|pool| block > pool.at) else { return };
        if pool.total > 0 {
            let reward = reward(pool.at, block, self.bonus_end) * pool.weight / weights;
            pool.accumulator.add(reward, pool.total).expect("in range");
            self.developer += reward / 10;
            self.minted += reward + reward / 10;
        }
        pool.at = block;
    }

    fn move_stake(&mut self, name: &str, who: &str, by: i64, block: u64) {
        self.update(name, block);
        let pool = self.pools.get_mut(name).expect("a pool");
        let position = pool.positions.entry(who.to_owned()).or_default();
        let stake = (position.stake() as i64 + by) as u128;
        position.restake(stake, &pool.accumulator).expect("in range");
        pool.total = (pool.total as i64 + by) as u128;
        // The contract pays with every move.
        *self.paid.entry(who.to_owned()).or_default() = position.due(&pool.accumulator);
    }

    fn pending(&self, who: &str, block: u64) -> u128 {
        let of_pool = |pool: &Pool| {
            let mut accumulator = pool.accumulator;
            if pool.total > 0 && block > pool.at {
                let reward = reward(pool.at, block, self.bonus_end) * pool.weight / self.weights();
                accumulator.add(reward, pool.total).expect("in range");
            }
            pool.positions.get(who).map_or(0, |position| position.due(&accumulator))
        };
        self.pools.values().map(of_pool).sum::<u128>() - self.paid.get(who).copied().unwrap_or(0)
    }
}

fn number(value: &Value) -> u128 {
    u128::from(value.as_u64().expect("a number"))
}

#[test]
fn masterchef() {
    let file: Value = serde_json::from_str(include_str!("../vectors/masterchef.json")).expect("json");
    let mut checks = 0;
    for case in file["cases"].as_array().expect("cases") {
        let (start, bonus_end) = (case["start"].as_u64().expect("start"), case["bonus_end"].as_u64().expect("end"));
        let mut farm =
            Farm { pools: BTreeMap::new(), start, bonus_end, minted: 0, paid: BTreeMap::new(), developer: 0 };
        let steps = case["steps"].as_array().expect("steps");
        if !steps.iter().any(|step| step.get("pool").is_some()) {
            farm.pool("p0", 100, 0);
        }
        let mut block = 0;
        for step in steps {
            block = step.get("block").map_or(block, |block| block.as_u64().expect("block"));
            let name = |value: &Value| value[2].as_str().unwrap_or("p0").to_owned();
            let who = |value: &Value| value[0].as_str().expect("a name").to_owned();
            if let Some(pool) = step.get("pool") {
                farm.pool(&who(pool), number(&pool[1]), block);
            }
            if let Some(stake) = step.get("stake") {
                farm.move_stake(&name(stake), &who(stake), stake[1].as_i64().expect("amount"), block);
            }
            if let Some(unstake) = step.get("unstake") {
                farm.move_stake(&name(unstake), &who(unstake), -unstake[1].as_i64().expect("amount"), block);
            }
            if let Some(claim) = step.get("claim") {
                farm.move_stake("p0", &who(claim), 0, block);
            }
            let Some(check) = step.get("check") else { continue };
            for (what, value) in check.as_object().expect("a check") {
                let paid: u128 = farm.paid.values().sum();
                match what.as_str() {
                    "supply" => assert_eq!(farm.minted, number(value), "{what} at {block}"),
                    "developer" => assert_eq!(farm.developer, number(value), "{what} at {block}"),
                    "undistributed" => {
                        assert_eq!(farm.minted - farm.developer - paid, number(value), "{what} at {block}")
                    }
                    "paid" | "pending" => {
                        for (who, value) in value.as_object().expect("accounts") {
                            let paid = farm.paid.get(who).copied().unwrap_or(0);
                            let found = if what == "paid" { paid } else { farm.pending(who, block) };
                            assert_eq!(found, number(value), "{what} of {who} at {block}");
                            checks += 1;
                        }
                        continue;
                    }
                    other => panic!("unknown check {other}"),
                }
                checks += 1;
            }
        }
    }
    assert_eq!(checks, 23, "every number was looked at");
}

#[test]
fn nomination_pools() {
    let file: Value = serde_json::from_str(include_str!("../vectors/nomination_pools.json")).expect("json");
    let mut checks = 0;
    for case in file["cases"].as_array().expect("cases") {
        let mut accumulator = Accumulator::new(Rule::Exact);
        let (mut positions, mut paid) = (BTreeMap::<String, Position>::new(), BTreeMap::<String, u128>::new());
        for (who, stake) in case["stakes"].as_object().expect("stakes") {
            positions.entry(who.clone()).or_default().restake(number(stake), &accumulator).expect("in range");
        }
        for step in case["steps"].as_array().expect("steps") {
            if let Some(amount) = step.get("distribute") {
                let total = positions.values().map(Position::stake).sum();
                accumulator.add(number(amount), total).expect("in range");
            } else if let Some(who) = step.get("claim") {
                let who = who.as_str().expect("a name");
                let due = positions[who].due(&accumulator);
                let before = paid.insert(who.to_owned(), due).unwrap_or(0);
                assert_eq!(due - before, number(&step["pays"]), "{who} in {}", case["name"]);
                checks += 1;
            } else if let Some(join) = step.get("join") {
                let position = positions.entry(join[0].as_str().expect("a name").to_owned()).or_default();
                position.restake(number(&join[1]), &accumulator).expect("in range");
            } else if let Some(leave) = step.get("unstake") {
                let position = positions.get_mut(leave[0].as_str().expect("a name")).expect("a member");
                position.restake(position.stake() - number(&leave[1]), &accumulator).expect("in range");
            } else if let Some(total) = step.get("total_paid") {
                assert_eq!(paid.values().sum::<u128>(), number(total));
                checks += 1;
            } else {
                panic!("unknown step {step}");
            }
        }
    }
    assert_eq!(checks, 26, "every number was looked at");
}
