//! The command line: each command reads its arguments, asks the node, and prints the answer.

mod access;
mod call;
mod client;
mod compile_plugin;
mod failure;
mod groups;
mod init;
mod limits;
mod metrics;
mod output;
mod peers;
mod plugin;
mod protocols;
mod run;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use directories::ProjectDirs;

use crate::folder::Folder;
use failure::Failure;
use output::Output;

/// What a task that nobody waits for may still take when a command has ended.
const RUNTIME_GRACE: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
#[command(name = "weir", version, about = "A peer-to-peer node whose protocols are WebAssembly plugins")]
struct Cli {
    /// The node's data folder [default: the platform's folder for application data]
    #[arg(long, global = true, env = "WEIR_DIR", value_name = "D")]
    dir: Option<PathBuf>,
    /// Print one JSON document on stdout, errors included
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data folder with a configuration and a key
    Init(init::Init),
    /// Run the node until SIGINT or SIGTERM
    Run(run::Run),
    /// Show the running node
    Status(status::Status),
    /// Show peers, add or remove one
    Peers(peers::Peers),
    /// Show who may connect, block or allow somebody
    Access(access::Access),
    /// Show every limit, its value and what is in use
    Limits(limits::Limits),
    /// Show what the node has counted
    Metrics(metrics::Metrics),
    /// Show the registered protocols
    Protocols(protocols::Protocols),
    /// Show groups of peers, change one, or send to one
    Groups(groups::Groups),
    /// Show, load, upgrade, roll back, unload or sign plugins
    Plugin(plugin::Plugin),
    /// Call a command of a plugin
    Call(call::Call),
    /// Compile a plugin from stdin to stdout, within limits; what a node starts for each one
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    if let Command::CompilePlugin(command) = cli.command {
        return command.execute();
    }
    let output = Output::new(cli.json);
    match execute(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli, output: &Output) -> Result<(), Failure> {
    let folder = data_folder(cli.dir)?;
    let runtime = runtime(&cli.command)?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Init(command) => command.execute(&folder, output),
            Command::Run(command) => command.execute(folder, output).await,
            Command::Status(command) => command.execute(&folder, output).await,
            Command::Peers(command) => command.execute(&folder, output).await,
            Command::Access(command) => command.execute(&folder, output).await,
            Command::Limits(command) => command.execute(&folder, output).await,
            Command::Metrics(command) => command.execute(&folder, output).await,
            Command::Protocols(command) => command.execute(&folder, output).await,
            Command::Groups(command) => command.execute(&folder, output).await,
            Command::Plugin(command) => command.execute(&folder, output).await,
            Command::Call(command) => command.execute(&folder, output).await,
            // It was taken care of before there was a runtime.
            Command::CompilePlugin(_) => Ok(()),
        }
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

/// A node uses all processors, unless it is told otherwise; a question to a node needs one thread.
fn runtime(command: &Command) -> Result<tokio::runtime::Runtime, Failure> {
    use tokio::runtime::Builder;
    let mut builder = match command {
        Command::Run(run) => {
            let mut builder = Builder::new_multi_thread();
            if let Some(threads) = run.threads {
                builder.worker_threads(threads.into());
            }
            builder
        }
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    runtime.map_err(|e| Failure::new("start-failed", format!("cannot start the asynchronous runtime: {e}")))
}

fn data_folder(dir: Option<PathBuf>) -> Result<Folder, Failure> {
    let platform = || ProjectDirs::from("", "", "weir").map(|dirs| dirs.data_dir().to_owned());
    dir.filter(|dir| !dir.as_os_str().is_empty()).or_else(platform).map(Folder::at).ok_or_else(|| {
        let message = "this system names no folder for application data: name one with --dir D or WEIR_DIR";
        Failure::new("no-folder", message)
    })
}

/// Help and version go where they always go; wrong arguments are an error like any other for `--json`.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let json = arguments.iter().take_while(|a| *a != "--").any(|a| a == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        Output::new(true).failure(&Failure::new("usage", message));
    } else if error.print().is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
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
        let peer = format!("{}@127.0.0.1:1", "0a".repeat(32));
        let forms: [&[&str]; 47] = [
            &["init", "--listen", "127.0.0.1:0"],
            &["run"],
            &["run", "--listen", "[::1]:0", "--json"],
            &["--dir", "x", "status"],
            &["status", "--dir", "x", "--json"],
            &["peers"],
            &["peers", "add", &peer, "--necessary"],
            &["peers", "remove", &peer[..64], "--json"],
            &["access"],
            &["access", "list", "--json"],
            &["access", "block", "203.0.113.0/24"],
            &["access", "unblock", "[2001:db8::1]:4433"],
            &["access", "allow", &peer[..64]],
            &["access", "disallow", "203.0.113.7:4433"],
            &["limits", "--json"],
            &["metrics"],
            &["protocols"],
            &["groups"],
            &["groups", "set", "validators", &peer[..64], &peer[..64]],
            &["groups", "remove", "validators"],
            &["groups", "send", "validators", "/votes/1.0.0", "aye", "--timeout", "5s"],
            &["plugin", "list"],
            &["plugin", "load", "ping.wasm", "--save"],
            &["plugin", "upgrade", "ping", "ping.wasm"],
            &["plugin", "upgrade", "ping", "ping.wasm", "--skip-snapshot", "--adopt"],
            &["plugin", "load", "ping.wasm", "--adopt", "--restore-store"],
            &["plugin", "unload", "ping", "--save"],
            &["plugin", "rollback", "ping", "--restore-store"],
            &["plugin", "keygen", "publisher.key"],
            &["plugin", "sign", "ping.wasm", "--key", "publisher.key"],
            &["plugin", "logs", "ping", "--follow", "--level", "warn"],
            &["plugin", "logs", "ping", "--since", "5m", "--lines", "9", "--json"],
            &["plugin", "dev", "."],
            &["plugin", "dev", "plugins/ping", "--target-dir", "x"],
            &["plugin", "store", "export", "ping", "ping.store"],
            &["plugin", "store", "import", "ping", "ping.store", "--replace", "--other"],
            &["plugin", "store", "purge", "ping", "--json"],
            &["plugin", "dead-letters", "ping", "--json"],
            &["plugin", "dead-letters", "ping", "show", "3"],
            &["plugin", "dead-letters", "ping", "retry", "3"],
            &["plugin", "dead-letters", "ping", "drop", "3"],
            &["plugin", "lift", "ping"],
            &["plugin", "muted", "ping"],
            &["plugin", "unmute", "ping", &peer[..64]],
            &["run", "--safe-mode"],
            &["call", "ping", "stats"],
            &["call", "ping", "ping", "{\"count\": 1}", "--timeout", "5s"],
        ];
        for form in forms {
            let arguments = std::iter::once("weir").chain(form.iter().copied());
            if let Err(error) = Cli::try_parse_from(arguments) {
                panic!("{form:?}: {error}");
            }
        }
    }
}
