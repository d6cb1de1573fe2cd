//! The command line: reads the arguments, does one thing, prints the answer as text or as one JSON document.

mod render;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use directories::ProjectDirs;
use serde::Serialize;
use serde_json::{Value, json};
use weir_ledger::{Key, amount};
use weir_plugin_staking::items::Action;

use crate::actions::{GenesisOptions, write_genesis};
use crate::api::{Api, ApiError};
use crate::{Wallet, WalletError, key_file};

/// A wallet for the plugins `staking` and `dividend` of a node.
#[derive(Debug, Parser)]
#[command(name = "weir-wallet", version, about)]
struct Cli {
    /// The node's data folder [default: the platform's folder for application data]
    #[arg(long, global = true, env = "WEIR_DIR", value_name = "D")]
    dir: Option<PathBuf>,
    /// The file with the secret key; what was signed with it is kept beside it, in FILE.book
    #[arg(long, global = true, env = "WEIR_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON document on stdout, errors included
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key; a file that exists is never overwritten
    New,
    /// Show the account
    Show {
        /// Ask no node: print only the public key
        #[arg(long)]
        offline: bool,
    },
    /// Write the genesis of a new network, whose issuer is this key
    Genesis(Genesis),
    /// Make new tokens (as the issuer)
    Mint {
        /// Whose: an account, in hexadecimal digits
        to: Key,
        /// How many
        #[arg(value_parser = whole)]
        amount: u128,
    },
    /// Close the next epoch with everything that is new (as the issuer)
    Epoch,
    /// Move tokens from the balance to the stake
    Stake {
        /// How many
        #[arg(value_parser = whole)]
        amount: u128,
    },
    /// Move tokens from the stake back; they can be withdrawn when they are mature
    Unstake {
        /// How many
        #[arg(value_parser = whole)]
        amount: u128,
    },
    /// Move everything that is mature back to the balance
    Withdraw,
    /// Declare a dividend (as a payer)
    Declare {
        /// How much, for everybody together
        #[arg(value_parser = whole)]
        amount: u128,
    },
    /// Claim every dividend that is due
    Claim,
    /// Name a new issuer (with the recovery key)
    Rotate {
        /// The new issuer's public key; without it one is made, in a file beside that of the recovery key
        new_key: Option<Key>,
        /// Let the issuer's log go on behind this epoch: what was signed later does not count. Without it nothing is taken back
        #[arg(long, value_name = "N")]
        epoch: Option<u64>,
    },
}

#[derive(Debug, Args)]
struct Genesis {
    /// Where to write it: settings of a plugin when it ends with `.toml`, else JSON
    #[arg(default_value = "genesis.json")]
    file: PathBuf,
    /// What the token is called, 1 to 64 bytes
    #[arg(long, default_value = "Example")]
    name: String,
    /// Its symbol, 1 to 12 capital letters and digits
    #[arg(long, default_value = "EXM")]
    symbol: String,
    /// Who replaces a lost issuer key; without it a key is made, in KEYFILE.recovery
    #[arg(long, value_name = "KEY")]
    recovery: Option<Key>,
    /// Who may declare dividends, at most 64 times; without it the issuer
    #[arg(long = "payer", value_name = "KEY")]
    payers: Vec<Key>,
    /// How many epochs an unstaked amount waits, at most 4,096
    #[arg(long, value_name = "N", default_value_t = 3)]
    unbonding_epochs: u64,
}

/// Runs what the process was started for.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let json = cli.json;
    match execute(cli) {
        Ok((document, text)) => {
            print(&if json { document.to_string() } else { text });
            ExitCode::SUCCESS
        }
        Err(error) => {
            fail(json, error.code(), &error.to_string(), next_step(&error));
            // As for arguments that cannot be read.
            if matches!(error, WalletError::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

type Answer = (Value, String);

fn execute(cli: Cli) -> Result<Answer, WalletError> {
    let key = cli.key.as_deref().filter(|key| !key.as_os_str().is_empty());
    let key = key.ok_or_else(|| WalletError::Usage("name the key file with --key FILE, or WEIR_KEY".to_owned()))?;
    let wallet = || -> Result<Wallet<Api>, WalletError> { Wallet::open(key, Api::new(&folder(cli.dir.clone())?)) };
    match cli.command {
        Command::New => {
            let account = key_file::create(key)?.key();
            answer(json!({"account": account, "key": key}), render::made)
        }
        Command::Show { offline: true } => {
            let account = key_file::load(key)?.key();
            Ok((json!({"account": account}), account.to_string()))
        }
        Command::Show { offline: false } => answer(wallet()?.show()?, render::shown),
        Command::Genesis(genesis) => answer(write_genesis(key, genesis.options())?, render::genesis),
        Command::Mint { to, amount } => answer(wallet()?.mint(to, amount)?, render::minted),
        Command::Epoch => answer(wallet()?.epoch()?, render::epoch),
        Command::Stake { amount } => answer(wallet()?.operate(Action::Stake(amount))?, render::operation),
        Command::Unstake { amount } => answer(wallet()?.operate(Action::Unstake(amount))?, render::operation),
        Command::Withdraw => answer(wallet()?.operate(Action::Withdraw)?, render::operation),
        Command::Declare { amount } => answer(wallet()?.declare(amount)?, render::declared),
        Command::Claim => answer(wallet()?.claim()?, render::claimed),
        Command::Rotate { new_key, epoch } => answer(wallet()?.rotate(new_key, epoch)?, render::rotated),
    }
}

impl Genesis {
    fn options(self) -> GenesisOptions {
        let Self { file, name, symbol, recovery, payers, unbonding_epochs } = self;
        GenesisOptions { name, symbol, recovery, payers, unbonding_epochs, file }
    }
}

fn answer(document: impl Serialize, render: fn(&Value) -> String) -> Result<Answer, WalletError> {
    let unprintable = |error: serde_json::Error| ApiError::Unexpected(error.to_string());
    let document = serde_json::to_value(document).map_err(unprintable)?;
    let text = render(&document);
    Ok((document, text))
}

/// The same folder as the `weir` command line takes.
fn folder(dir: Option<PathBuf>) -> Result<PathBuf, WalletError> {
    let platform = || ProjectDirs::from("", "", "weir").map(|dirs| dirs.data_dir().to_owned());
    let named = dir.filter(|dir| !dir.as_os_str().is_empty()).or_else(platform);
    let none = || "this system names no folder for application data: name one with --dir D or WEIR_DIR".to_owned();
    named.ok_or_else(|| WalletError::Usage(none()))
}

fn whole(text: &str) -> Result<u128, String> {
    match amount::parse(text) {
        Some(0) => Err("the amount is zero: nothing in a ledger moves zero".to_owned()),
        Some(amount) => Ok(amount),
        None => {
            Err("an amount is written with decimal digits only, without leading zeros, and is below 2^128".to_owned())
        }
    }
}

/// What a node adds to an error where a plugin failed.
fn next_step(error: &WalletError) -> Option<String> {
    let source = match error {
        WalletError::Node(source) | WalletError::Unconfirmed { source, .. } => source,
        _ => return None,
    };
    match source {
        ApiError::Refused(refusal) => refusal.error["next_step"].as_str().map(str::to_owned),
        _ => None,
    }
}

fn fail(json: bool, code: &str, message: &str, next_step: Option<String>) {
    if json {
        let mut error = json!({"code": code, "message": message});
        if let Some(next_step) = next_step {
            error["next_step"] = next_step.into();
        }
        print(&json!({"error": error}).to_string());
    } else {
        let next_step = next_step.map(|step| format!("\n{step}")).unwrap_or_default();
        writeln!(io::stderr(), "error: {message}{next_step}").ok();
    }
}

/// Help and version go where they always go; wrong arguments are an error like any other for `--json`.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        fail(true, "usage", text.trim().trim_start_matches("error: "), None);
    } else if error.print().is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whoever reads us may have stopped reading; that is no failure of ours.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()).ok();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_forms_parse() {
        let key = "0a".repeat(32);
        let forms: [&[&str]; 16] = [
            &["new"],
            &["show"],
            &["show", "--offline", "--json"],
            &["genesis"],
            &["genesis", "staking.toml", "--name", "N", "--symbol", "S", "--payer", &key, "--payer", &key],
            &["genesis", "--recovery", &key, "--unbonding-epochs", "0"],
            &["mint", &key, "100"],
            &["epoch", "--json"],
            &["stake", "340282366920938463463374607431768211455"],
            &["unstake", "1"],
            &["withdraw"],
            &["declare", "7"],
            &["claim"],
            &["rotate"],
            &["rotate", &key],
            &["rotate", &key, "--epoch", "3"],
        ];
        for form in forms {
            let arguments = ["weir-wallet", "--dir", "d", "--key", "k"].into_iter().chain(form.iter().copied());
            if let Err(error) = Cli::try_parse_from(arguments) {
                panic!("{form:?}: {error}");
            }
        }
        for form in [&["stake", "0"][..], &["stake", "-1"], &["stake", "1.5"], &["stake", "01"], &["mint", "xyz", "1"]]
        {
            assert!(Cli::try_parse_from(["weir-wallet"].into_iter().chain(form.iter().copied())).is_err(), "{form:?}");
        }
    }
}
