//! What every instance of one plugin shares: the node's services, its ledger and its counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::calls::CallDesk;
use super::info::{Counters, PluginInfo};
use super::ledger::Ledger;
use super::lifecycle::{Archive, Lineage};
use super::log_budget::LogBudget;
use super::logs::{LogEntry, LogLevel, Logs, PluginLog};
use super::mailbox::Mailbox;
use super::metrics::{Metric, MetricBoard};
use super::poison::{Letters, Muting};
use super::store::{Namespace, Store};
use super::{CallError, PluginPolicy, Signer};
use crate::peer::PeerId;
use crate::protocol::Network;
use crate::runtime::Runtime;
use crate::wire::Failure;

/// The services all plugins of a node share.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) network: Arc<dyn Network>,
    pub(super) runtime: Runtime,
    /// The budgets of a plugin for which nothing else was set; [`Home::policy`] has those of one plugin.
    pub(super) policy: Arc<PluginPolicy>,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) store: Store,
    pub(super) desk: Arc<CallDesk>,
    pub(super) archive: Arc<Archive>,
    pub(super) logs: Arc<Logs>,
    /// Where the plugins' stopwatch began.
    pub(super) started: Instant,
}

/// See the module. It outlives instances and revisions.
pub(super) struct Home {
    pub(super) name: String,
    pub(super) services: Services,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) namespace: Namespace,
    pub(super) counts: Counts,
    pub(super) log: Arc<PluginLog>,
    /// Events that failed alone.
    pub(super) letters: Letters,
    ledger: Mutex<Ledger>,
    muting: Mutex<Muting<Instant>>,
    /// Who is muted is not what was written down last.
    pub(super) mutes_changed: AtomicBool,
    /// Held by whoever writes down who is muted.
    pub(super) mutes_written: tokio::sync::Mutex<()>,
    policy: Mutex<Arc<PluginPolicy>>,
    log_budget: Mutex<LogBudget<Instant>>,
    metrics: MetricBoard,
    lineage: Mutex<Lineage>,
    info: Mutex<PluginInfo>,
}

/// Counters the actor and the imports write.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) events: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) turns: AtomicU64,
    pub(super) crashes: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) reports: AtomicU64,
    pub(super) log_lines_dropped: AtomicU64,
    pub(super) slow_turns: AtomicU64,
    pub(super) calls_refused: AtomicU64,
    pub(super) memory: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) rollbacks: AtomicU64,
    pub(super) replays: AtomicU64,
    pub(super) trials: AtomicU64,
    /// Events of a batch that the plugin's end cut off.
    pub(super) given_up: AtomicU64,
}

/// Adds to a counter that nobody synchronises by.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What who waits for an answer is told when nobody is left to give it.
pub(super) fn gone() -> Failure {
    let message = "the plugin was restarted or unloaded before it answered".to_owned();
    Failure { code: "gone".to_owned(), message }
}

impl Home {
    pub(super) fn new(services: Services, policy: Arc<PluginPolicy>, mailbox: Arc<Mailbox>, info: PluginInfo) -> Self {
        Self {
            namespace: services.store.namespace(&info.name),
            log: services.logs.open(&info.name, &policy),
            letters: Letters::new(&services.store, &info.name),
            muting: Mutex::new(Muting::new(policy.mute)),
            mutes_changed: AtomicBool::new(false),
            mutes_written: tokio::sync::Mutex::const_new(()),
            metrics: MetricBoard::new(policy.metrics),
            policy: Mutex::new(policy),
            log_budget: Mutex::default(),
            name: info.name.clone(),
            counts: Counts::default(),
            ledger: Mutex::default(),
            lineage: Mutex::default(),
            info: Mutex::new(info),
            services,
            mailbox,
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ran before, and can run again.
    pub(super) fn lineage(&self) -> MutexGuard<'_, Lineage> {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn muting(&self) -> MutexGuard<'_, Muting<Instant>> {
        self.muting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn network(&self) -> &dyn Network {
        self.services.network.as_ref()
    }

    /// The plugin's own budgets, as its running revision was loaded with them.
    pub(super) fn policy(&self) -> Arc<PluginPolicy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The budgets of the revision that runs from now on.
    pub(super) fn set_policy(&self, policy: &Arc<PluginPolicy>) {
        self.mailbox.set_bounds(policy);
        self.metrics.set_most(policy.metrics);
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone_from(policy);
    }

    pub(super) fn log_budget(&self) -> MutexGuard<'_, LogBudget<Instant>> {
        self.log_budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what the node has to say of the plugin, where its own lines are.
    pub(super) fn note(
        &self,
        level: LogLevel,
        revision: u64,
        event: Option<&str>,
        peer: Option<PeerId>,
        message: String,
    ) {
        self.log.push(LogEntry {
            unix_ms: self.services.runtime.clock.unix_ms(),
            level,
            target: "weir".to_owned(),
            revision,
            event: event.map(str::to_owned),
            peer,
            replay: false,
            message,
        });
    }

    /// The plugin takes nothing more: what waits for it hears that it is gone.
    pub(super) fn close_mailbox(&self) {
        let (requests, commands) = self.mailbox.close();
        for token in requests {
            self.network().respond(token, Err(gone()));
        }
        for command in commands {
            // It came in beside the farewell at the desk.
            self.services.desk.answer(command, Err(CallError::Gone), None);
        }
    }

    pub(super) fn metrics(&self) -> &MetricBoard {
        &self.metrics
    }

    pub(super) fn all_metrics(&self) -> BTreeMap<String, Metric> {
        self.metrics.all()
    }

    pub(super) fn update_info(&self, change: impl FnOnce(&mut PluginInfo)) {
        change(&mut self.info.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// `sha256:…` of the file that runs.
    pub(super) fn digest(&self) -> String {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).digest.clone()
    }

    /// The plugin as an operator sees it now.
    pub(super) fn info(&self) -> PluginInfo {
        let mut info = self.info.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.services.runtime.clock.unix_ms();
        info.probation = info.probation.filter(|probation| now < probation.until_ms);
        info.counters = Counters {
            events: read(&self.counts.events),
            messages: read(&self.counts.messages),
            turns: read(&self.counts.turns),
            crashes: read(&self.counts.crashes),
            dropped: read(&self.counts.dropped),
            purged: self.mailbox.purged() + read(&self.counts.given_up),
            restarts: read(&self.counts.restarts),
            rollbacks: read(&self.counts.rollbacks),
            replays: read(&self.counts.replays),
            trials: read(&self.counts.trials),
            turned_away: self.mailbox.turned_away(),
            dead_letters: self.letters.count(),
            reports: read(&self.counts.reports),
            log_lines_dropped: read(&self.counts.log_lines_dropped),
            slow_turns: read(&self.counts.slow_turns),
            calls_refused: read(&self.counts.calls_refused),
            memory_bytes: read(&self.counts.memory),
            store_bytes: self.namespace.used(),
        };
        info.muted = self.mutes();
        info.budgets = self.usage(info.counters.memory_bytes);
        info
    }
}
