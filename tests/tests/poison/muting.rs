//! What becomes of who sends poison, and of everybody else.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_poisons_is_muted_and_nobody_else() {
    let mute = MutePolicy { first: Duration::from_secs(2), ..MutePolicy::default() };
    let node = Node::start(PluginPolicy { mute, ..policy() }).await;
    let mut sent = 0;
    until("the attacker is muted", async || {
        assert!(node.send(HONEST, &[b"honest"]).await, "an honest peer is always heard");
        sent += 1;
        !node.send(ATTACKER, &[b"poison", b"poison", b"behind"]).await
    })
    .await
    .expect("in time");
    assert_eq!(node.muted(), [peer(ATTACKER)]);
    let info = node.info();
    assert_eq!((info.state, node.letters().len()), (PluginState::Active, 3), "the rest was not even tried");
    assert_eq!(info.counters.trials, 3);
    assert!(json!(info)["muted"][0]["reason"].as_str().is_some_and(|why| why.contains("poisonable.rs")));
    assert_eq!(node.count("honest").await, sent);
    until("its time is over", async || node.send(ATTACKER, &[b"nice"]).await).await.expect("in time");
    assert_eq!(node.count("nice").await, 1);
    node.send(ATTACKER, &[b"poison"]).await;
    until("it is muted again at once", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    assert_eq!(node.info().muted[0].times, 2);
    assert_eq!(node.plugins.unmute(NAME, &peer(ATTACKER)).await.expect("it is loaded"), 1);
    assert!(node.muted().is_empty() && node.send(ATTACKER, &[b"nice"]).await);
    assert_eq!(node.info().state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_state_gets_no_honest_peer_muted() {
    let node = Node::start(policy()).await;
    let plant = [b"plant ", &peer(HONEST).as_bytes()[..8]].concat();
    assert!(node.send(ATTACKER, &[&plant]).await);
    for round in 1..=4 {
        assert!(node.send(HONEST, &[b"honest"]).await);
        assert!(node.send(ATTACKER, &[b"looks good"]).await);
        node.dropped(round).await;
        assert!(node.muted().is_empty(), "round {round}");
    }
    assert_eq!(node.count("looks good").await, 4);
    // What was planted is the plugin's own fault: it is the plugin that goes, and the letters tell why.
    node.send(HONEST, &[b"honest"]).await;
    node.is(PluginState::Quarantined).await;
    assert!(node.muted().is_empty());
    assert!(node.letters().iter().all(|letter| {
        letter.report.failure.panic.as_ref().is_some_and(|panic| panic.message.contains("the store is poisoned"))
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_poison_of_two_is_the_plugins_own_fault() {
    let node = Node::start(policy()).await;
    for (round, from) in [ATTACKER, HONEST, ATTACKER, HONEST, ATTACKER].into_iter().enumerate() {
        assert!(node.send(HONEST, &[b"fine"]).await && node.send(ATTACKER, &[b"fine"]).await);
        assert!(node.send(from, &[b"poison"]).await, "round {round}");
        node.dropped(round as u64 + 1).await;
    }
    node.is(PluginState::Quarantined).await;
    assert!(node.muted().is_empty());
}

/// A peer that is never muted, because its poison comes too seldom: here, because no number of them is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_takes_no_new_version_back() {
    let node = Node::start(patient()).await;
    node.plugins.upgrade(NAME, another()).await.expect("upgraded");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.count("fine").await, 1);
    for round in 1..=6 {
        assert!(node.send(ATTACKER, &[b"poison"]).await);
        node.dropped(round).await;
    }
    assert_eq!(node.count("fine").await, 1);
    let info = node.info();
    assert_eq!((info.counters.rollbacks, info.probation.map(|watched| watched.crashes)), (0, Some(1)));
    // What another peer runs into, too, is the new version's own fault.
    assert!(node.send(HONEST, &[b"poison"]).await);
    until("it went back", async || node.info().counters.rollbacks == 1).await.expect("in time");
    assert!(node.info().fell_back.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_called_abusive_is_muted() {
    let node = Node::start(policy()).await;
    assert!(node.send(ATTACKER, &[b"abuse" as &[u8]; 7]).await);
    assert_eq!(node.count("abuse").await, 7);
    assert!(node.muted().is_empty());
    assert!(node.send(ATTACKER, &[b"abuse"]).await);
    until("it is muted", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.info().counters.crashes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_survives_the_node_until_it_is_lifted() {
    let disk = MemoryDisk::default();
    let started = async || {
        let node = Node::on(&disk, policy());
        node.plugins.load(source()).await.expect("it loads");
        node.network.connect(peer(ATTACKER));
        node
    };
    let ended = async |node: Node| {
        node.plugins.shutdown(tokio::time::Instant::now() + PATIENCE).await;
        node.store.close().await.expect("closed");
    };
    let node = started().await;
    assert!(node.send(ATTACKER, &[b"abuse" as &[u8]; 8]).await);
    until("it is muted", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    ended(node).await;

    let node = started().await;
    let muted = node.info().muted;
    assert_eq!((muted.len(), muted[0].peer, muted[0].times), (1, peer(ATTACKER), 1));
    assert_eq!(muted[0].reason, "called abusive by the plugin");
    assert!(muted[0].seconds_left <= 60 && !node.send(ATTACKER, &[b"nice"]).await);
    assert_eq!(node.plugins.unmute(NAME, &peer(ATTACKER)).await.expect("it is loaded"), 1);
    assert!(node.send(ATTACKER, &[b"nice"]).await);
    ended(node).await;

    let node = started().await;
    assert!(node.muted().is_empty() && node.send(ATTACKER, &[b"nice"]).await);
}

/// On the wire: a muted peer's requests are refused with a code, and its messages come back as undelivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_peer_is_told() -> anyhow::Result<()> {
    let (node, attacker, honest) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    node.load(NAME).await?;
    let (id, to) = (protocol(), node.host.peer_id());
    let spec = || ProtocolSpec { id: protocol(), delivery: Delivery::Ordered, max_message: 1 << 16 };
    let mut inboxes = Vec::new();
    for client in [&attacker, &honest] {
        let (handler, inbox) = native(64);
        client.host.network().register(spec(), "test", handler)?;
        inboxes.push(inbox);
        client.connect(&node).await?;
        until("it is reached", async || client.host.network().lane(&to, &id).is_ok()).await?;
    }
    let muted = async || {
        let all = node.host.plugins().list();
        all.iter().any(|info| info.muted.iter().any(|muted| muted.peer == attacker.host.peer_id()))
    };
    until("the attacker is muted", async || {
        let _ = honest.host.network().send(&to, &id, "fine".into());
        let _ = attacker.host.network().send(&to, &id, "poison".into());
        muted().await
    })
    .await?;
    let refused = ask(&attacker, to, "anybody there?").await;
    assert!(matches!(&refused, Err(AskError::Refused(failure)) if failure.code == "muted"), "{refused:?}");
    assert_eq!(ask(&honest, to, "and you?").await, Ok("and you?".into()));
    attacker.host.network().send(&to, &id, "a message".into())?;
    let told = async {
        loop {
            match inboxes[0].next().await {
                Some(NativeEvent::News(News::Undelivered { messages, .. })) => return messages,
                Some(_) => {}
                None => return 0,
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, told).await? > 0, "what is not taken is told");
    assert!(muted().await);
    Ok(())
}

async fn ask(from: &TestNode, to: PeerId, body: &'static str) -> Result<Bytes, AskError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let network = from.host.network();
    let reply = Box::new(move |outcome| drop(sender.send(outcome)));
    let (id, timeout) = (network.next_ask(), Duration::from_secs(20));
    network.commit(&to, &protocol(), vec![Outgoing::Ask { id, timeout, body: body.into(), reply }]);
    receiver.await.expect("every ask has an outcome")
}
