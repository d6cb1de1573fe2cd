//! The table in the documentation is the one in the code, and every walk through it keeps the rules.

use proptest::prelude::*;

use super::*;

/// The table as `docs/lifecycle.md` has it.
fn table() -> String {
    let mut lines = vec!["| state | event: next state |".to_owned(), "|---|---|".to_owned()];
    for state in PluginState::ALL {
        let moves = Event::ALL.into_iter().filter_map(|event| {
            let next = state.next(event).ok()?;
            Some(format!("{event}: {next}"))
        });
        lines.push(format!("| {state} | {} |", moves.collect::<Vec<_>>().join(", ")));
    }
    lines.join("\n")
}

#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../docs/lifecycle.md");
    assert!(page.contains(&table()), "docs/lifecycle.md must have this table:\n{}", table());
}

#[test]
fn names_are_what_json_says() {
    for state in PluginState::ALL {
        assert_eq!(serde_json::to_value(state).expect("JSON"), state.name());
    }
    for event in Event::ALL {
        assert_eq!(serde_json::to_value(event).expect("JSON"), event.name());
    }
}

#[test]
fn a_whole_life_is_possible() {
    use Event::*;
    let life = [
        Verified, Compiled, Started, Committed, Crashed, Retried, Started, Committed, Drained, Resumed, Crashed,
        Exhausted, Retried, Started, Committed, Drained, Retired, Recalled, Verified, Compiled, Started, Committed,
    ];
    let end = life.into_iter().try_fold(PluginState::Staged, PluginState::next);
    assert_eq!(end, Ok(PluginState::Active));
}

proptest! {
    /// Nothing runs that was not verified, compiled and started before, in this order, and nothing is active whose
    /// start was not committed after the last time it was made.
    #[test]
    fn what_is_active_was_checked_first(events in proptest::collection::vec(0..Event::ALL.len(), 0..200)) {
        let (mut state, mut verified, mut compiled, mut started) = (PluginState::Staged, false, false, false);
        for at in events {
            let event = Event::ALL[at];
            let Ok(next) = state.next(event) else { continue };
            match event {
                Event::Verified => verified = true,
                Event::Compiled => compiled = true,
                Event::Started => started = true,
                Event::Crashed | Event::Retried | Event::Exhausted => started = false,
                Event::Recalled => (verified, compiled, started) = (false, false, false),
                _ => {}
            }
            if next == PluginState::Active {
                prop_assert!(verified && compiled && started);
            }
            state = next;
        }
    }

    /// From every state there is a way out for an operator: what runs, crashes or is quarantined can be ended, and what
    /// is not there yet can be refused.
    #[test]
    fn no_state_is_a_trap(at in 0..PluginState::ALL.len()) {
        let state = PluginState::ALL[at];
        let ended = [
            state.next(Event::Refused),
            state.next(Event::Drained).and_then(|state| state.next(Event::Retired)),
            state.next(Event::Retired),
        ];
        prop_assert!(state == PluginState::Retired || ended.into_iter().any(|end| end == Ok(PluginState::Retired)));
    }
}
