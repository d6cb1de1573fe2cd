//! Several independent networks on one node, and groups of peers: three and more nodes with native handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::time::timeout;
use weir_host::peer::PeerId;
use weir_host::protocol::{
    AskError, GroupName, Inbound, Inbox, MemberError, NativeEvent, News, ProtocolId, ProtocolSpec, SendError, native,
};
use weir_tests::node::{PATIENCE, TestNode, until};

const SECOND: Duration = Duration::from_secs(1);

fn id(text: &str) -> Result<ProtocolId> {
    Ok(text.parse()?)
}

fn register(node: &TestNode, protocol: &str, max_message: u32) -> Result<Inbox> {
    let (handler, inbox) = native(8);
    let spec = ProtocolSpec { id: id(protocol)?, delivery: Default::default(), max_message };
    node.host.network().register(spec, protocol, handler)?;
    Ok(inbox)
}

async fn reaches(node: &TestNode, protocol: &str, peers: &[&TestNode]) -> Result<()> {
    let (protocol, mut expected) = (id(protocol)?, peers.iter().map(|peer| peer.host.peer_id()).collect::<Vec<_>>());
    expected.sort();
    let network = node.host.network();
    let reachable = || network.reachable(&protocol).into_iter().map(|one| one.peer).collect::<Vec<_>>();
    until("the right peers", async || reachable() == expected).await
}

/// The next message, and from whom; news are passed over.
async fn message(inbox: &mut Inbox) -> Result<(PeerId, Bytes)> {
    let next = async {
        while let Some(event) = inbox.next().await {
            let NativeEvent::Batch(batch) = event else { continue };
            if let [Inbound::Message(body)] = &batch.items[..] {
                return Ok((batch.peer, body.clone()));
            }
        }
        anyhow::bail!("unregistered")
    };
    timeout(PATIENCE, next).await.context("no message")?
}

#[tokio::test(flavor = "multi_thread")]
async fn two_networks_on_one_node_keep_their_own_peers_and_handlers() -> Result<()> {
    let (node, of_a, of_b) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    let mut node_a = register(&node, "/a/staking/1.0.0", 1 << 10)?;
    let mut node_b = register(&node, "/b/staking/1.0.0", 1 << 10)?;
    let mut at_a = register(&of_a, "/a/staking/1.0.0", 1 << 10)?;
    let mut at_b = register(&of_b, "/b/staking/1.0.0", 1 << 10)?;
    for other in [&of_a, &of_b] {
        node.connect(other).await?;
    }
    // All three are connected with each other; what they share decides who reaches whom.
    of_a.connect(&of_b).await?;
    reaches(&node, "/a/staking/1.0.0", &[&of_a]).await?;
    reaches(&node, "/b/staking/1.0.0", &[&of_b]).await?;
    reaches(&of_a, "/a/staking/1.0.0", &[&node]).await?;
    reaches(&of_b, "/b/staking/1.0.0", &[&node]).await?;
    let manager = node.host.protocol_manager();
    let names: Vec<_> = manager.networks().into_iter().map(|network| (network.name, network.peers)).collect();
    let (a, b) = (of_a.host.peer_id(), of_b.host.peer_id());
    ensure!(names == [("/a".to_owned(), vec![a]), ("/b".to_owned(), vec![b])], "{names:?}");
    ensure!(manager.peers_of_network("/a") == [a] && manager.peers_of_network("/c").is_empty(), "by network");
    let both = [id("/a/staking/1.0.0")?, id("/b/staking/1.0.0")?];
    ensure!(manager.peers_supporting(&both).is_empty() && manager.peers_supporting(&both[..1]) == [a], "by list");

    let network = node.host.network();
    ensure!(network.send(&b, &both[0], "x".into()) == Err(SendError::Unsupported), "the other network's peer");
    ensure!(of_a.host.network().send(&b, &both[0], "x".into()) == Err(SendError::Unsupported), "across");
    ensure!(of_a.host.network().send(&b, &both[1], "x".into()) == Err(SendError::Closed), "not ours");
    network.send(&a, &both[0], "for a".into())?;
    network.send(&b, &both[1], "for b".into())?;
    ensure!(message(&mut at_a).await? == (node.host.peer_id(), "for a".into()), "a hears a");
    ensure!(message(&mut at_b).await? == (node.host.peer_id(), "for b".into()), "b hears b");
    of_a.host.network().send(&node.host.peer_id(), &both[0], "from a".into())?;
    of_b.host.network().send(&node.host.peer_id(), &both[1], "from b".into())?;
    ensure!(message(&mut node_a).await? == (a, "from a".into()), "the handler of a");
    ensure!(message(&mut node_b).await? == (b, "from b".into()), "the handler of b");

    // One network goes, the other does not notice.
    network.unregister(&both[0]);
    let unsupported = News::Unsupported { peer: node.host.peer_id(), protocol: both[0].clone() };
    let told = loop {
        match timeout(PATIENCE, at_a.next()).await? {
            // A stream that was stopped is told at once, the set a little later.
            Some(NativeEvent::News(News::Congested { .. })) => {}
            other => break other,
        }
    };
    ensure!(told == Some(NativeEvent::News(unsupported)), "{told:?}");
    of_b.host.network().send(&node.host.peer_id(), &both[1], "still here".into())?;
    ensure!(message(&mut node_b).await? == (b, "still here".into()), "undisturbed");
    ensure!(node.host.protocol_manager().networks().len() == 1, "one is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_group_has_an_outcome_for_every_member() -> Result<()> {
    let (node, takes, small) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    let (deaf, absent) = (TestNode::start().await?, TestNode::start().await?);
    let protocol = id("/votes/1.0.0")?;
    let _own = register(&node, "/votes/1.0.0", 1 << 10)?;
    let mut at_takes = register(&takes, "/votes/1.0.0", 1 << 10)?;
    let mut at_small = register(&small, "/votes/1.0.0", 16)?;
    for other in [&takes, &small, &deaf] {
        node.connect(other).await?;
    }
    reaches(&node, "/votes/1.0.0", &[&takes, &small]).await?;
    let (groups, name): (_, GroupName) = (node.host.groups(), "validators".parse()?);
    groups.set(&name, [&takes, &small, &deaf, &absent].map(|member| member.host.peer_id()))?;
    groups.add(&name, takes.host.peer_id())?;
    let long = Bytes::from(vec![7; 100]);
    let outcomes = groups.send_to_group_collect(&name, &protocol, long.clone(), SECOND).await?;
    let expected = BTreeMap::from([
        (takes.host.peer_id(), Ok(())),
        (small.host.peer_id(), Err(SendError::TooLarge)),
        (deaf.host.peer_id(), Err(SendError::Unsupported)),
        (absent.host.peer_id(), Err(SendError::NotConnected)),
    ]);
    ensure!(outcomes == expected, "{outcomes:?}");
    ensure!(message(&mut at_takes).await?.1 == long, "once, and whole");
    ensure!(groups.send_to_group(&name, &protocol, "short".into())? == 2, "two take it");
    ensure!(message(&mut at_takes).await?.1 == "short" && message(&mut at_small).await?.1 == "short", "both heard it");
    let unknown = id("/nobody/1.0.0")?;
    let outcomes = groups.send_to_group_collect(&name, &unknown, long, SECOND).await?;
    ensure!(outcomes.values().all(|outcome| *outcome == Err(SendError::Closed)), "{outcomes:?}");
    ensure!(groups.send_to_group(&"others".parse()?, &protocol, "x".into()).is_err(), "no such group");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_reads_nothing_is_busy_at_the_deadline_and_holds_up_nobody() -> Result<()> {
    let (node, reads, stuck) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    let protocol = id("/votes/1.0.0")?;
    let _own = register(&node, "/votes/1.0.0", 1 << 20)?;
    let mut at_reads = register(&reads, "/votes/1.0.0", 1 << 20)?;
    let _never_read = register(&stuck, "/votes/1.0.0", 1 << 20)?;
    for other in [&reads, &stuck] {
        node.connect(other).await?;
    }
    reaches(&node, "/votes/1.0.0", &[&reads, &stuck]).await?;
    let (groups, name): (_, GroupName) = (node.host.groups(), "both".parse()?);
    groups.set(&name, [reads.host.peer_id(), stuck.host.peer_id()])?;
    let body = Bytes::from(vec![1; 256 << 10]);
    for _ in 0..1000 {
        let outcomes = groups.send_to_group_collect(&name, &protocol, body.clone(), SECOND).await?;
        ensure!(outcomes[&reads.host.peer_id()] == Ok(()), "{outcomes:?}");
        ensure!(message(&mut at_reads).await?.1.len() == body.len(), "arrives each time");
        if outcomes[&stuck.host.peer_id()] == Err(SendError::Busy) {
            return Ok(());
        }
    }
    anyhow::bail!("the lane of who reads nothing was never full")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_to_a_group_has_one_answer_or_reason_from_every_member() -> Result<()> {
    let (node, answers, silent) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    let absent = TestNode::start().await?;
    let protocol = id("/ask/1.0.0")?;
    let _own = register(&node, "/ask/1.0.0", 1 << 10)?;
    let mut at_answers = register(&answers, "/ask/1.0.0", 1 << 10)?;
    let _at_silent = register(&silent, "/ask/1.0.0", 1 << 10)?;
    for other in [&answers, &silent] {
        node.connect(other).await?;
    }
    reaches(&node, "/ask/1.0.0", &[&answers, &silent]).await?;
    let replies = answers.host.network();
    tokio::spawn(async move {
        while let Some(event) = at_answers.next().await {
            let NativeEvent::Batch(batch) = event else { continue };
            for item in batch.items {
                if let Inbound::Request { token, body, .. } = item {
                    replies.respond(token, Ok(body));
                }
            }
        }
    });
    let (groups, name): (_, GroupName) = (node.host.groups(), "all".parse()?);
    groups.set(&name, [&answers, &silent, &absent].map(|member| member.host.peer_id()))?;
    let outcomes = groups.ask_group(&name, &protocol, "well?".into(), SECOND).await?;
    let expected = BTreeMap::from([
        (answers.host.peer_id(), Ok(Bytes::from("well?"))),
        (silent.host.peer_id(), Err(MemberError::Ask(AskError::TimedOut))),
        (absent.host.peer_id(), Err(MemberError::Send(SendError::NotConnected))),
    ]);
    ensure!(outcomes == expected, "{outcomes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_waits_for_any_more_is_withdrawn() -> Result<()> {
    let (node, asked) = (TestNode::start().await?, TestNode::start().await?);
    let protocol = id("/ask/1.0.0")?;
    let _own = register(&node, "/ask/1.0.0", 1 << 10)?;
    let mut at_asked = register(&asked, "/ask/1.0.0", 1 << 10)?;
    node.connect(&asked).await?;
    reaches(&node, "/ask/1.0.0", &[&asked]).await?;
    let (groups, name): (_, GroupName) = (node.host.groups(), "all".parse()?);
    groups.set(&name, [asked.host.peer_id()])?;
    let question = groups.ask_group(&name, &protocol, "well?".into(), PATIENCE);
    let heard = async {
        while let Some(event) = at_asked.next().await {
            if matches!(event, NativeEvent::Batch(_)) {
                return;
            }
        }
    };
    // The question is dropped as soon as it was heard, long before its own deadline.
    tokio::select! {
        outcome = question => anyhow::bail!("nobody answers: {outcome:?}"),
        heard = timeout(PATIENCE, heard) => heard?,
    }
    let withdrawn = async {
        while let Some(event) = at_asked.next().await {
            if matches!(event, NativeEvent::News(News::Withdrawn(_))) {
                return true;
            }
        }
        false
    };
    ensure!(timeout(PATIENCE / 4, withdrawn).await?, "the member is told");
    Ok(())
}
