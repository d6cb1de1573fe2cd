//! When to look at the plugin folder: at once when the system says that something changed there, and every few seconds
//! in any case, because some file systems say nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// How often the folder is looked at when nothing is heard of it.
const RESCAN: Duration = Duration::from_secs(10);
/// How often when the system cannot tell of changes.
const POLL: Duration = Duration::from_secs(2);
/// The least time between two looks, however often something changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at the folder until the token is cancelled. A plugin that is being loaded then is loaded first.
pub(in crate::node) async fn watch(node: Arc<Node>, stop: CancellationToken) {
    let folder = node.folder.plugins();
    // One word that something changed is as good as many.
    let (tell, mut changed) = mpsc::channel(1);
    let mut watcher = None;
    loop {
        if watcher.is_none() {
            watcher = start(&folder, tell.clone());
        }
        node.desk.look(false).await;
        let now = Instant::now();
        let idle = now + if watcher.is_some() { RESCAN } else { POLL };
        let next = node.desk.dropin.next_look().unwrap_or(idle).clamp(now + PAUSE, idle);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = changed.recv() => {}
            () = sleep_until(next) => {}
        }
        // A folder that was removed and made again is another one to the system.
        if !folder.exists() {
            watcher = None;
        }
        if timeout_at(now + PAUSE, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// None when the folder is not there or the system does not tell of changes; the folder is polled then.
fn start(folder: &Path, tell: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        // To be read is no change, and looking at the folder would wake the one who looks.
        let read = |kind: &EventKind| match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        };
        if event.map_or(true, |event| !read(&event.kind)) {
            // Full means that a look follows anyway.
            let _ = tell.try_send(());
        }
    };
    let watching = RecommendedWatcher::new(heard, notify::Config::default()).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::debug!("{} is polled, because it cannot be watched: {error}", folder.display());
            None
        }
    }
}
