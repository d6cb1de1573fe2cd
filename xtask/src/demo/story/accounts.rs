//! The accounts of the demo: who has how much, from `examples/data/stakes.csv`, and what they have signed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use weir_ledger::keys::KeyPair;
use weir_ledger::{Hash, Id, Key};
use weir_plugin_dividend::items::{Body, LABEL};
use weir_plugin_staking::items::{Action, Operation, Signed};

/// The first line of the file.
const HEAD: &str = "number,account,mint,stake";

/// One account, which signs for itself.
pub struct Account {
    pair: KeyPair,
    /// What the issuer mints for it.
    pub mint: u128,
    /// What it stakes at first.
    pub stake: u128,
    /// What is at stake when everything signed is included.
    pub staked: u128,
    seq: u64,
    before: Option<Id>,
}

impl Account {
    fn new(number: u64, mint: u128, stake: u128) -> Self {
        Self { pair: pair(number), mint, stake, staked: 0, seq: 0, before: None }
    }

    pub fn key(&self) -> Key {
        self.pair.key()
    }

    /// Signs the next operation of its log.
    pub fn sign(&mut self, action: Action, genesis: Id) -> Vec<u8> {
        let before = self.before.unwrap_or(genesis);
        let signed =
            Signed::sign(Operation { account: self.key(), seq: self.seq, before, action }, &self.pair, genesis);
        (self.seq, self.before) = (self.seq + 1, Some(signed.id()));
        match action {
            Action::Stake(amount) => self.staked += amount,
            Action::Unstake(amount) => self.staked -= amount,
            Action::Withdraw => {}
        }
        signed.bytes().to_vec()
    }

    /// Signs a claim of everything due up to an epoch.
    pub fn claim(&self, up_to_epoch: u64, genesis: Id) -> Vec<u8> {
        self.pair.sign(LABEL, genesis, &Body::Claim { account: self.key(), up_to_epoch }.encode())
    }
}

/// The key of an account of the demo. Whoever reads this has it: it is worth nothing anywhere else.
fn pair(number: u64) -> KeyPair {
    KeyPair::from_secret(&Hash::new("weir-demo-account-v1").with(&number.to_be_bytes()).id().0)
}

/// Reads the file, or the first so many accounts of it, dealt out to so many nodes: an account always speaks to the same one.
pub fn read(file: &Path, nodes: usize, most: Option<u64>) -> Result<Vec<Vec<Account>>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut accounts = parse(&text).with_context(|| format!("read {}", file.display()))?;
    if let Some(most) = most {
        let (here, asked) = (accounts.len(), usize::try_from(most)?);
        ensure!(here >= asked, "{} has {here} accounts, and --accounts asks for {asked}", file.display());
        accounts.truncate(asked);
    }
    let mut dealt: Vec<_> = (0..nodes).map(|_| Vec::new()).collect();
    accounts.into_iter().enumerate().for_each(|(place, account)| dealt[place % nodes].push(account));
    Ok(dealt)
}

fn parse(text: &str) -> Result<Vec<Account>> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some(HEAD), "the first line must be `{HEAD}`");
    let accounts = lines.enumerate().map(|(place, line)| {
        let parts: Vec<_> = line.split(',').collect();
        let [number, key, mint, stake] = parts[..] else { bail!("line {}: not four columns", place + 2) };
        let account = Account::new(number.parse()?, mint.parse()?, stake.parse()?);
        ensure!(account.key() == key.parse()?, "line {}: the account is not that of number {number}", place + 2);
        ensure!(account.mint > account.stake, "line {}: an account must keep something to go on with", place + 2);
        Ok(account)
    });
    let accounts = accounts.collect::<Result<Vec<_>>>()?;
    ensure!(accounts.len() >= 10, "there are only {} accounts", accounts.len());
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few have much and many have little: the n-th has five million divided by n, and up to a quarter of it more.
    fn generate() -> String {
        let line = |number: u64| {
            let key = pair(number).key();
            let base = u128::from(5_000_000 / number);
            let stake = base + u128::from(u16::from_be_bytes([key.0[0], key.0[1]])) % (base / 4 + 1);
            format!("{number},{key},{},{stake}\n", stake + stake / 3 + 1_000)
        };
        format!("{HEAD}\n{}", (1..=1_000).map(line).collect::<String>())
    }

    #[test]
    fn the_file_of_stakes_is_what_its_readme_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/stakes.csv");
        if std::env::var_os("WEIR_WRITE_DATA").is_some() {
            fs::write(&file, generate()).expect("written");
        }
        assert_eq!(fs::read_to_string(&file).expect("there"), generate());
        let dealt = read(&file, 5, None).expect("readable");
        assert!(dealt.iter().all(|accounts| accounts.len() == 200));
        let few = read(&file, 5, Some(21)).expect("readable");
        assert_eq!(few.iter().map(Vec::len).collect::<Vec<_>>(), [5, 4, 4, 4, 4]);
        assert!(read(&file, 5, Some(1_001)).is_err());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        let error = |text: &str| format!("{:#}", parse(text).err().expect("wrong"));
        assert!(error("").contains("first line"));
        assert!(error(&format!("{HEAD}\n1,2\n")).contains("line 2"));
        let other = pair(2).key();
        assert!(error(&format!("{HEAD}\n1,{other},10,1\n")).contains("not that of number 1"));
    }
}
