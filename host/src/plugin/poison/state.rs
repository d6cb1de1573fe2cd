//! Which events of a failed batch run again, in which company and in which order, until each is handled or is the
//! culprit. Pure.
//!
//! Everything before `done` is settled for good: it was committed or is a culprit. Runs go from there on, so events are
//! handled in order and nothing that was committed runs again. A run that failed is the *suspect*: it holds a culprit.
//! Where the panic hook named one, what came before it runs together, it alone, and the rest together. Without a name
//! the suspect is halved until one event is left. Only an event that failed alone, on an instance that has handled
//! nothing else, is a culprit.
//!
//! | a run of | went well | failed | failed for want of memory | failed for the store |
//! |---|---|---|---|---|
//! | all that is left | done | is the suspect | again, half as many at a time | again |
//! | what came before the name | the named one alone | is the suspect, and names count no more | again, half as many | again |
//! | half of the suspect | the other half is the suspect | is the suspect | again, half as many | again |
//! | one event on a used instance | settled | alone on a fresh one | alone on a fresh one | again |
//! | one event on a fresh instance | settled; the rest together | **culprit** | **culprit** | again |
//!
//! A culprit costs at most two failed runs with a name and one for each halving without, so a batch of n events with k
//! culprits takes at most k · (log2 n + 4) + 1 runs, and any batch at most n · (log2 n + 4) + log2 n + 1, whatever its
//! plugin does and says. A store that fails adds runs of its own, which whoever starts plugins again bounds.

use std::ops::Range;

/// Events to run together in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Run {
    /// Their positions in the batch.
    pub(in crate::plugin) events: Range<usize>,
    /// On an instance that has handled nothing else.
    pub(in crate::plugin) fresh: bool,
}

/// Why a run failed, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Why {
    /// The guest did: it trapped, ran for too long, returned an error or what cannot be read.
    Guest {
        /// The event that the panic hook named, counted from the beginning of the run.
        named: Option<usize>,
    },
    /// It was refused memory before it trapped, so the number of events may be all that is wrong.
    Memory,
    /// The store refused its writes, which is nobody's fault here.
    Store,
}

/// What became of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Event {
    /// The run was committed.
    Went,
    /// Nothing of the run happened, and its instance is gone.
    Failed(Why),
    /// The culprit was put aside.
    Buried,
    /// The culprit is such that the plugin cannot go on without it: it runs alone again.
    Kept,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) enum Next {
    /// Run these and say how it went.
    Run(Run),
    /// This one failed alone; [`Event::Buried`] or [`Event::Kept`] follows.
    Culprit(usize),
    /// Every event is settled.
    Done,
}

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::plugin) struct Replay {
    end: usize,
    done: usize,
    /// The end of what failed together: it begins at `done`.
    suspect: Option<usize>,
    /// The position that the panic hook named within the suspect.
    named: Option<usize>,
    /// Names count. They no longer do when what came before a named event failed as well.
    trusting: bool,
    /// Most events of one run.
    most: usize,
    running: Run,
    failures: usize,
    culprits: usize,
}

impl Replay {
    /// A batch of so many events, at most `most` of them in one run.
    pub(in crate::plugin) fn new(events: usize, most: usize) -> Self {
        let running = Run { events: 0..events.min(most.max(1)), fresh: false };
        Self {
            end: events,
            done: 0,
            suspect: None,
            named: None,
            trusting: true,
            most: most.max(1),
            running,
            failures: 0,
            culprits: 0,
        }
    }

    /// The first run.
    pub(in crate::plugin) fn begin(&mut self) -> Next {
        self.next()
    }

    /// Takes what happened and says what comes next.
    pub(in crate::plugin) fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Went => self.went(),
            Event::Failed(why) => {
                self.failures += 1;
                if self.failed(why) {
                    return Next::Culprit(self.done);
                }
            }
            Event::Buried => {
                self.culprits += 1;
                self.done += 1;
                self.acquit();
            }
            Event::Kept => self.suspect = Some(self.done + 1),
        }
        self.next()
    }

    /// Positions that are not settled yet.
    pub(in crate::plugin) fn left(&self) -> Range<usize> {
        self.done..self.end
    }

    /// Most events of one run, as far as memory goes.
    pub(in crate::plugin) fn most(&self) -> usize {
        self.most
    }

    /// Runs failed, and yet every event went well in smaller company.
    pub(in crate::plugin) fn only_together(&self) -> bool {
        self.failures > 0 && self.culprits == 0
    }

    fn went(&mut self) {
        self.done = self.running.events.end;
        let named_one_went = self.named.is_some_and(|named| named < self.done);
        if named_one_went || self.suspect.is_some_and(|end| end <= self.done) {
            self.acquit();
        }
    }

    /// Whether the culprit is found.
    fn failed(&mut self, why: Why) -> bool {
        let Run { events, fresh } = self.running.clone();
        let alone = events.len() == 1;
        match why {
            Why::Store => return false,
            _ if alone && fresh => return true,
            Why::Memory if !alone => {
                self.most = (events.len() / 2).max(1);
                self.acquit();
                return false;
            }
            Why::Guest { named } => {
                let before_a_name = self.named.is_some_and(|of| events.end == of);
                self.trusting &= !before_a_name;
                let position = named.filter(|at| self.trusting && *at < events.len());
                self.named = position.map(|at| events.start + at);
            }
            Why::Memory => self.named = None,
        }
        self.suspect = Some(events.end);
        false
    }

    /// Nothing is suspected any more.
    fn acquit(&mut self) {
        (self.suspect, self.named, self.trusting) = (None, None, true);
    }

    fn next(&mut self) -> Next {
        if self.done >= self.end {
            return Next::Done;
        }
        let start = self.done;
        let end = match (self.suspect, self.named) {
            (None, _) => self.end.min(start.saturating_add(self.most)),
            (Some(_), Some(named)) if named > start => named,
            (Some(_), Some(_)) => start + 1,
            (Some(end), None) => start + ((end - start) / 2).max(1),
        };
        let fresh = self.suspect.is_some() && end - start == 1;
        self.running = Run { events: start..end, fresh };
        Next::Run(self.running.clone())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
