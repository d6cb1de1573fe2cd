//! The admin API: HTTP/1.1 with JSON on a Unix socket. `docs/admin-api.md` describes it.

mod access;
mod call;
mod client;
mod error;
mod groups;
mod guard;
mod logs;
mod peers;
mod plugin_faults;
mod plugins;
mod router;
mod running;
mod server;
mod socket;
mod stores;
mod stream;

pub use client::{AdminClient, AdminRequest, ApiFailure, ClientError};
pub use plugins::SETTINGS_HEADER;
pub use router::router;
pub use running::RunningNode;
pub use server::AdminServer;
pub use stores::BYTES_HEADER;
pub use stream::UploadBody;

use std::time::Duration;

/// Largest body of a request that carries no plugin, in bytes; what a plugin takes as one message at most.
pub const MAX_BODY: usize = 1 << 20;

/// How long a command of a plugin may take unless the caller says otherwise.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time a caller may grant a command.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(600);

/// How long loading or upgrading may take: compiling the largest plugin takes a small machine a minute.
pub const PLUGIN_CHANGE_TIMEOUT: Duration = Duration::from_secs(150);

/// How long a plugin's store may be on its way in or out: a GiB over a slow disk.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long everything else may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
