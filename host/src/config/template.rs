//! The text of a new `weir.toml`: every key with its unit, its default and the reason for it.

use std::net::SocketAddr;

use super::DEFAULT_LISTEN;

/// What `weir init` writes. Every key stands there as a comment with its default.
pub const TEMPLATE: &str = r#"# Configuration of a Weir node. Every key stands here with its default; remove the # in front of one to change it.
# Sizes are written "256 KiB", "64 MiB", "4 GiB"; durations "500ms", "30s", "5m".
# The node reads this file when it starts. All keys: docs/configuration.md.

# Where the node listens for peers: IP address and UDP port. Port 0 takes a free one.
# 0.0.0.0 is every IPv4 address of this machine, [::] every IPv6 address.
#listen = "0.0.0.0:4433"

# Where peers are told to dial this node, at most 16. Empty: where it listens, or the machine's own address when it
# listens on all of them. Name the public address when the machine stands behind a translation.
#advertise = []

[limits]
# Most peers connected at once. Together with the sizes below it decides how much memory peers can take.
#max_peers = 64

# Most connections of one peer at once. A second one helps where one stream of packets is not enough; each costs as
# much memory as a peer.
#connections_per_peer = 1

# Places that ordinary peers who dial cannot take, so that the node always finds some for peers it dials: an eighth of
# max_peers unless you say otherwise.
#reserved_outbound = 8

# Who goes when a peer comes and all places are taken: with "lifo" an ordinary newcomer is refused, with "fifo" the
# oldest ordinary peer goes, with "random" any. A necessary newcomer always gets an ordinary peer's place.
#eviction = "lifo"

# Most handshakes in progress at once, and connections not yet admitted, so that strangers who only knock cannot take
# more.
#max_pending_handshakes = 32

# Most of them from one source: an IPv4 address or an IPv6 network of 64 bits. This machine itself is none.
#max_pending_per_source = 16

# Most connections that one source has dialed. Necessary peers come in beyond it.
#max_connections_per_source = 32

# Most streams a peer may have open to this node. A busy protocol uses one at a time; 48 leave room for many protocols.
#max_streams = 48

# What a peer may send on one stream before the node has read it. Larger is faster over long distances:
# a stream moves at most one window per round trip.
#stream_window = "256 KiB"

# What the node keeps of one stream until the peer has acknowledged it.
#send_buffer = "128 KiB"

# Largest single message. Bulk data belongs into many messages.
#max_message = "1 MiB"

# Handlers written in Rust that a program which embeds the node may register besides plugins. `weir` itself has none.
#native_handlers = 2

# The node refuses to start when peers and plugins together could make it need more than this.
#memory_limit = "4 GiB"

[timeouts]
# A peer that is silent for this long is gone.
#idle = "30s"

# A silent peer is asked for a sign of life this often. At most half of idle, so that one lost packet is harmless.
#keep_alive = "10s"

# A new connection must be established within this time.
#handshake = "10s"

# A further connection to a peer that its load has not needed for this long is closed again.
#spare_connection = "60s"

[access]
# Whom to let in; everybody when it is empty. PEER_ID, IP, IP/PREFIX, IP:PORT or [IPV6]:PORT.
#allow = []

# Whom to keep out, whatever the other list says. `weir access block` adds more while the node runs.
#block = []

[reconnect]
# The longest wait between two attempts to reach a peer that is to be kept connected. They begin 1, 2, 3, 5, 8 s apart.
#max_wait = "60s"

# A connection that lived this long counts as good: the next loss is answered at once again.
#settled = "10s"

# When a peer has several addresses: how long one is given before the next is tried beside it.
#next_address = "250ms"

# Most peers whose own word on where they are is remembered, half a KiB each, also across restarts.
#remembered_peers = 1024

# Peers to know from the start, one section each. `weir peers add` adds more while the node runs.
#[[peers]]
#address = "PEER_ID@192.0.2.7:4433"
# Keep it connected: dial at start and again whenever the connection is lost.
#necessary = true

[plugins]
# Most plugins loaded at once.
#max_plugins = 8

# Memory of one plugin. One that needs more fails; the node does not.
#max_memory = "64 MiB"

# CPU time a plugin may take for one batch of events before it is stopped.
#max_turn_time = "1s"

# What one plugin may keep in its store on disk.
#max_store = "256 MiB"

# What may wait for one plugin before its peers are held back.
#max_mailbox = "4 MiB"

# A new version of a plugin is watched for this long after an upgrade, and when it crashes this often meanwhile, the one
# before comes back by itself.
#probation = "5m"
#probation_crashes = 3

# "require" refuses plugin files that are not signed by one of trusted_keys, "warn" loads them and says so in the log,
# "off" loads them. `weir plugin keygen` makes a key, `weir plugin sign` signs.
#signatures = "off"
#trusted_keys = []

# Files that are put into, replaced in or taken out of the folder plugins/ are loaded, upgraded and unloaded at once.
#watch = true

# Largest file of a plugin. A whole Python interpreter has 18 MB.
#max_file = "64 MiB"

# Plugins are compiled by a process that may take this much CPU time and address space, so that a file made to be
# expensive costs no more.
#compile_time = "120s"
#compile_memory = "4 GiB"

# What compiled plugins may take on disk, so that they start at once the next time. 0 keeps none.
#code_cache = "1 GiB"

# A plugin that crashes is started again at once; from the third crash of one cause within crash_window on after backoff,
# twice as long each time, up to longest_backoff. With so many crashes it is quarantined: its protocols go, and it is
# tried again after quarantine, twice as long each time, up to longest_quarantine, until it ran for calm without one.
#crashes = 5
#crash_window = "60s"
#backoff = "100ms"
#longest_backoff = "10s"
#quarantine = "60s"
#longest_quarantine = "1h"
#calm = "10m"

# A peer is muted when so many of its events within mute_window made a plugin crash and others' did not, or when the
# plugin itself called it abusive so often: for mute, twice as long each time, up to longest_mute. After mute_memory
# without poison it is like any other. mute_poisons belongs below crashes, or the plugin is quarantined first.
#mute_poisons = 3
#mute_reports = 8
#mute_window = "60s"
#mute = "60s"
#longest_mute = "1h"
#mute_memory = "4h"

# Events on which a plugin crashed, kept so that they can be looked at and tried again: how many, and bytes of bodies.
#dead_letters = 256
#dead_letter_bytes = "4 MiB"

# Grants, configuration and budgets of one plugin, by the name of its file without .wasm.
# All but the digest may also stand in NAME.toml beside the file; what stands here counts more. With a digest no other
# content is loaded under this name.
#[plugins.NAME]
#grants = ["sign"]
# When what the plugin sends may leave: "relaxed" at once, and a crash may lose its last 50 ms; "strict" when what it
# wrote is on the disk.
#durability = "relaxed"
#config = { key = "value" }
#digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# CPU time of one batch of events, and of starting.
#turn_time = "1s"
#start_time = "5s"
# Memory, and how many functions it may keep in tables.
#memory = "64 MiB"
#tables = 100000
# What may wait for it: bytes and number of messages, and commands.
#mailbox = "4 MiB"
#mailbox_events = 4096
#mailbox_commands = 1024
# What one turn is given at most.
#batch = "256 KiB"
#batch_events = 256
# What one turn may send, how many things it may do, and how much memory its writes may take.
#turn_bytes = "1 MiB"
#turn_effects = 4096
#turn_writes = "4 MiB"
# What one call of an import may carry.
#host_call = "4 MiB"
# What it may keep on disk, and what it may hand to its next version.
#store = "256 MiB"
#snapshot = "16 MiB"
# How many of each it may have.
#timers = 4096
#open_asks = 1024
#open_calls = 256
#calls_per_second = 10000
#protocols = 64
#metrics = 256
# Lines it may log in a second.
#log_lines = 256
# When it is quarantined, whom it mutes and what it keeps of what it crashed on, as above.
#crashes = 5
#crash_window = "60s"
#backoff = "100ms"
#longest_backoff = "10s"
#quarantine = "60s"
#longest_quarantine = "1h"
#calm = "10m"
#mute_poisons = 3
#mute_reports = 8
#mute_window = "60s"
#mute = "60s"
#longest_mute = "1h"
#mute_memory = "4h"
#dead_letters = 256
#dead_letter_bytes = "4 MiB"

[log]
# off, error, warn, info, debug or trace; or directives like "info,weir_host::plugin=debug". RUST_LOG counts more.
#level = "info"

# "text" for people, "json" for machines. Logs go to stderr.
#format = "text"
"#;

/// The template, with an own listen address when one is given.
pub fn render_template(listen: Option<SocketAddr>) -> String {
    match listen {
        Some(listen) => {
            TEMPLATE.replacen(&format!("#listen = \"{DEFAULT_LISTEN}\""), &format!("listen = \"{listen}\""), 1)
        }
        None => TEMPLATE.to_owned(),
    }
}
