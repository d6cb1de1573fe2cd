//! Gives up the connections that `spare` finds, and takes one back that is needed after all.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::spare::Standing;
use super::state::Load;
use super::{Pools, SendStreamPoolManager};
use crate::connection::ConnectionId;
use crate::peer::PeerId;
use crate::stream::pool::SendStreamPool;

impl SendStreamPoolManager {
    /// Looks which connections are needed no more. Those lend nothing from then on: their lanes go on on others, in
    /// order, with all that was under way handed over before. When nothing is left on one, from this side or, as
    /// `is_busy` says, from the peer's, it is given to whoever closes it. To be called now and then; looks once a
    /// second, and never waits.
    pub fn look_for_spare(&self, is_busy: impl Fn(ConnectionId) -> bool) {
        let now = Instant::now();
        if !self.retire(now) {
            return;
        }
        let over: Vec<_> = {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            let Pools { by_connection, retired, .. } = &mut *pools;
            let waiting = retired.iter_mut().filter(|(_, told)| !**told);
            let ready = waiting.filter_map(|(id, told)| Some((by_connection.get(id)?, told)));
            let over = ready.filter(|(pool, _)| pool.is_drained() && !is_busy(pool.connection()));
            over.map(|(pool, told)| {
                *told = true;
                (pool.peer(), pool.connection())
            })
            .collect()
        };
        for (peer, connection) in over {
            self.connections_spared.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, connection = connection.0, "a further connection is needed no more");
            if let Some(dialer) = self.dialer.get() {
                dialer.no_longer(peer, connection);
            }
        }
    }

    /// Has what is needed no more lend nothing; whether it was time to look.
    fn retire(&self, now: Instant) -> bool {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if !spares.is_time(now) {
            return false;
        }
        let several: BTreeSet<PeerId> = {
            let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
            pools.by_peer.iter().filter(|(_, of_peer)| of_peer.len() > 1).map(|(peer, _)| *peer).collect()
        };
        spares.retain(|peer| several.contains(peer));
        for peer in several {
            let (open, loads) = self.open_pools(&peer);
            let standing = |(pool, load): (&SendStreamPool, &Load)| Standing { load: *load, dialed: pool.is_dialed() };
            let standing: Vec<_> = open.iter().zip(&loads).map(standing).collect();
            let Some(spare) = spares.look(peer, &standing, now) else { continue };
            self.give_up(&peer, spare);
        }
        true
    }

    /// Has a connection lend nothing more, unless it is the only one of its peer that does.
    ///
    /// Under one lock with what the pool does: else it could stay without streams although the peer's others are gone
    /// by now, or it is wanted again.
    pub(in crate::stream) fn give_up(&self, peer: &PeerId, spare: ConnectionId) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let Pools { by_connection, by_peer, retired, .. } = &mut *pools;
        let is_open = |id: &&ConnectionId| by_connection.get(*id).is_some_and(SendStreamPool::is_open);
        let open: Vec<_> = by_peer.get(peer).into_iter().flatten().filter(is_open).collect();
        if open.len() < 2 || !open.contains(&&spare) {
            return;
        }
        let Some(pool) = by_connection.get(&spare) else { return };
        retired.insert(spare, false);
        let tell = pool.retire();
        drop(pools);
        tell();
    }

    /// Lets a connection that was retired lend again; whether there is one. With `even_told`, also one that is to be
    /// closed.
    pub(in crate::stream) fn resume(&self, peer: &PeerId, even_told: bool) -> bool {
        let resumed = {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            let Pools { by_connection, by_peer, retired, .. } = &mut *pools;
            let of_peer = by_peer.get(peer).into_iter().flatten();
            let mut fit = of_peer.filter(|id| retired.get(id).is_some_and(|told| even_told || !told)).copied();
            let Some(pool) = fit.next().and_then(|id| by_connection.get(&id)) else { return false };
            retired.remove(&pool.connection());
            // Nobody waits at a pool that drains, so nobody is told.
            pool.resume();
            pool.connection()
        };
        tracing::debug!(%peer, connection = resumed.0, "a further connection is needed again");
        self.added.add_one();
        true
    }

    /// Of a peer whose other connections went, the retired one is all that is left.
    pub(super) fn resume_if_alone(&self, peer: &PeerId) {
        if !self.of_peer(peer).iter().any(SendStreamPool::is_open) {
            self.resume(peer, true);
        }
    }
}
