//! A node with its admin API, from start to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::AdminServer;
use crate::config::Config;
use crate::folder::{Folder, FolderLock};
use crate::host::Environment;
use crate::node::{Node, NodeMode, StartError};

/// How long answers to admin requests may still take when the node ends.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// How long the host may take to end. Together with [`ADMIN_GRACE`] it stays below the five seconds that are promised.
const HOST_GRACE: Duration = Duration::from_millis(3_900);

/// A node from start to end. Dropping it leaves the socket file behind; [`RunningNode::shutdown`] does not.
pub struct RunningNode {
    node: Arc<Node>,
    admin: AdminServer,
    // The last field, so that it is dropped last: nobody may start in this folder before all else has ended.
    _lock: FolderLock,
}

impl RunningNode {
    /// Starts a node with all its plugins, then opens the admin API. See [`Node::start_in`].
    ///
    /// # Errors
    /// When anything but a plugin is wrong; the message says what to do.
    pub async fn start(folder: Folder, config: Config) -> Result<Self, StartError> {
        Self::start_in(NodeMode::Normal, folder, config, Environment::default()).await
    }

    /// [`RunningNode::start`] with or without plugins, and in another environment than the machine's own.
    ///
    /// # Errors
    /// As for [`RunningNode::start`].
    pub async fn start_in(
        mode: NodeMode,
        folder: Folder,
        config: Config,
        environment: Environment,
    ) -> Result<Self, StartError> {
        let (node, lock) = Node::start_in(mode, folder, config, environment).await?;
        match AdminServer::start(Arc::clone(&node)) {
            Ok(admin) => Ok(Self { node, admin, _lock: lock }),
            Err(error) => {
                node.host().shutdown().await;
                Err(error.into())
            }
        }
    }

    /// The node, for whoever wants to look at it or operate it from the same process.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where the node really listens.
    pub fn address(&self) -> SocketAddr {
        self.node.host().local_address()
    }

    /// Ends in order, within five seconds: no new admin requests, the host, the lock.
    pub async fn shutdown(self) {
        self.admin.shutdown(ADMIN_GRACE).await;
        if tokio::time::timeout(HOST_GRACE, self.node.host().shutdown()).await.is_err() {
            tracing::warn!("the host did not end within {HOST_GRACE:?}; what was open is cut");
        }
    }
}
