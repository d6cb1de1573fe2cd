//! The rules of a turn, as a plugin under `TestHost` sees them.

use serde_json::json;
use weir_sdk::prelude::*;
use weir_sdk::testing::{Crash, TestHost};

/// Does what the first letter of a message says.
struct Obedient {
    seen: u64,
}

impl Plugin for Obedient {
    fn manifest() -> Manifest {
        Manifest::new("obedient", "0.1.0").protocol(Protocol::new(1, "/obedient/1.0.0"))
    }

    fn start(_: Init, ctx: &Context) -> Result<Self> {
        Ok(Self { seen: ctx.store().get("seen")?.unwrap_or(0) })
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        ctx.send_bytes(message.peer, message.protocol, message.body)?;
        ctx.store().put("last", message.body)?;
        match message.body.first() {
            Some(b'e') => return Err(Error::new("told-so", "the message said so")),
            Some(b'p') => panic!("the message said so"),
            Some(b'f') => return Err(Error::fatal("the message said so")),
            Some(b'c') => {
                self.seen += 1;
                return Err(Error::new("told-so", "changed first"));
            }
            _ => self.seen += 1,
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        ctx.store().put("command", &1)?;
        command.answer(ctx, &command.args::<u32>()?)
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        ctx.store().put("seen", &self.seen)
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        weir_sdk::encode(&self.seen)
    }
}

fn sent(host: &mut TestHost) -> Vec<String> {
    host.sent().into_iter().map(|sent| String::from_utf8(sent.body).expect("text")).collect()
}

#[test]
fn an_error_drops_its_own_effects_only() {
    let mut host = TestHost::new::<Obedient>(());
    let peer = host.peer(1);
    host.messages(peer, 1, ["a", "e", "b", "e"]);
    assert_eq!(sent(&mut host), ["a", "b"]);
    assert_eq!(weir_sdk::decode::<&[u8]>(&host.stored("last").expect("kept")).expect("bytes"), b"b");
    assert_eq!(host.logs().len(), 2);
    assert!(host.crashes().is_empty());
}

#[test]
fn a_panic_or_a_fatal_error_costs_the_culprit_only() {
    // A panic names the event. Who gives up says nothing of it: then each event is handled alone, and the culprit fails again.
    for (culprit, named) in [("p", vec![Some(1)]), ("f", vec![None, None])] {
        let mut host = TestHost::new::<Obedient>(());
        let peer = host.peer(1);
        host.messages(peer, 1, ["a", culprit, "b"]);
        assert_eq!(sent(&mut host), ["a", "b"]);
        let crashes = host.crashes();
        assert_eq!(crashes.iter().map(|crash: &Crash| crash.event).collect::<Vec<_>>(), named);
        assert!(crashes.iter().all(|crash| crash.message.contains("said so")));
        assert_eq!(host.snapshot(), Ok(vec![2]));
    }
}

#[test]
#[should_panic(expected = "Check first, change afterwards")]
fn a_failed_event_must_not_change_the_plugin() {
    let mut host = TestHost::new::<Obedient>(());
    let peer = host.peer(1);
    host.message(peer, 1, b"c");
}

#[test]
fn a_failed_command_is_answered_and_leaves_nothing() {
    let mut host = TestHost::new::<Obedient>(());
    let failure = host.command("any", json!("text")).expect_err("no number");
    assert_eq!(failure.code, "bad-arguments");
    assert_eq!(host.stored("command"), None);
    assert_eq!(host.command("any", json!(7)), Ok(json!(7)));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let seeded = |seed| TestHost::with_seed::<Obedient>((), seed).node();
    assert_eq!(seeded(5), seeded(5));
    assert_ne!(seeded(5), seeded(6));
}
