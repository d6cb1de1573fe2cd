//! Puts a crash into the log and where the operator sees it.

use super::LogLevel;
use super::actor::Actor;
use super::crash::{CallFailure, CrashReport};
use super::revision::Revision;
use crate::peer::PeerId;

impl Actor {
    /// A crash of the running revision.
    pub(super) fn report(
        &self,
        event: &str,
        position: Option<usize>,
        peer: Option<PeerId>,
        failure: CallFailure,
    ) -> CrashReport {
        self.report_of(&self.revision, event, position, peer, failure)
    }

    /// The same for a revision that is not the one that runs.
    pub(super) fn report_of(
        &self,
        revision: &Revision,
        event: &str,
        position: Option<usize>,
        peer: Option<PeerId>,
        failure: CallFailure,
    ) -> CrashReport {
        let report = CrashReport::new(&revision.manifest, revision.number, event, position, peer, failure);
        tracing::error!(target: "weir::plugin", plugin = %report.plugin, "{report}");
        self.home.note(LogLevel::Error, report.revision, Some(event), peer, report.to_string());
        self.home.update_info(|info| {
            info.last_error = Some(report.to_string());
            info.last_crash = Some(report.clone());
        });
        report
    }
}
