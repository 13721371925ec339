//! Asking for history and for who is there.

use fanfare_client::{
    Codec, Error, ErrorCode, ErrorReply, HistoryOptions, Member, Payload, PresenceList,
};
use fanfare_protocol::{
    Command, History, HistoryMessage, HistoryPage, Presence, ReplyBody, Request,
};

use crate::peer::{Peer, position};

fn history_of(command: &Command) -> &History {
    match &command.request {
        Request::History(history) => history,
        other => panic!("{other:?} instead of history"),
    }
}

fn page(offsets: &[u64], more: bool) -> ReplyBody {
    let message = |offset: &u64| {
        let payload = Payload::text(offset.to_string());
        HistoryMessage { offset: *offset, prev: (*offset == 44).then_some(42), payload }
    };
    ReplyBody::History(HistoryPage {
        epoch: "e1".to_owned(),
        offset: 57,
        recovered: true,
        more,
        messages: offsets.iter().map(message).collect(),
    })
}

#[tokio::test]
async fn history_is_read_page_by_page_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        let options = HistoryOptions::new().after(position("e1", 41)).limit(2);
        let (first, ()) = tokio::join!(client.history("t", options), async {
            let command = link.command().await;
            let expected =
                History { topic: "t".to_owned(), after: Some(position("e1", 41)), limit: Some(2) };
            assert_eq!(*history_of(&command), expected);
            link.confirm(&command, page(&[42, 44], true)).await;
        });
        let first = first.unwrap();
        assert_eq!((first.head, first.is_recovered), (position("e1", 57), true));
        let positions: Vec<_> = first.messages.iter().map(|m| m.position()).collect();
        assert_eq!(positions, [Some(position("e1", 42)), Some(position("e1", 44))]);
        assert_eq!(first.messages[1].previous_offset(), 42);

        let next = first.next.expect("there is more");
        let (second, ()) = tokio::join!(client.history("t", next), async {
            let command = link.command().await;
            let asked = history_of(&command);
            assert_eq!((&asked.after, asked.limit), (&Some(position("e1", 44)), Some(2)));
            link.confirm(&command, page(&[57], false)).await;
        });
        let second = second.unwrap();
        assert_eq!((second.messages[0].payload.as_text(), second.next), (Some("57"), None));
    }
}

#[tokio::test]
async fn a_page_that_promises_more_and_holds_nothing_leads_nowhere() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (page, ()) = tokio::join!(client.history("t", HistoryOptions::new()), async {
        let command = link.command().await;
        let expected = History { topic: "t".to_owned(), after: None, limit: None };
        assert_eq!(*history_of(&command), expected);
        link.confirm(&command, page(&[], true)).await;
    });
    assert_eq!(page.unwrap().next, None);
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_told_without_a_word_to_the_broker() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    for limit in [0, 1_001] {
        let error = client.history("t", HistoryOptions::new().limit(limit)).await.unwrap_err();
        assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
    }
    let error = client.history("t.*", HistoryOptions::new()).await.unwrap_err();
    assert!(matches!(error, Error::BadTopic(_)), "{error:?}");
    assert!(matches!(client.presence("t.*").await, Err(Error::BadTopic(_))));
    link.nothing().await;
}

#[tokio::test]
async fn refusals_are_told_as_the_broker_said_them() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let unknown = ErrorReply::new(ErrorCode::UnknownTopic, "there is no topic t");
    let (page, ()) = tokio::join!(client.history("t", HistoryOptions::new()), async {
        let command = link.command().await;
        link.refuse(&command, unknown.clone()).await;
    });
    assert_eq!(page, Err(Error::Refused(unknown)));
    let off = ErrorReply::new(ErrorCode::NotEnabled, "no presence here");
    let (list, ()) = tokio::join!(client.presence("t"), async {
        let command = link.command().await;
        link.refuse(&command, off.clone()).await;
    });
    assert_eq!(list, Err(Error::Refused(off)));
}

#[tokio::test]
async fn who_is_there_is_told_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        let alice = Member { connection: "n-0-7".to_owned(), name: Some("alice".to_owned()) };
        let expected = PresenceList { count: 2, version: 17, members: vec![alice] };
        let (list, ()) = tokio::join!(client.presence("rooms.lobby"), async {
            let command = link.command().await;
            let asked = Presence { topic: "rooms.lobby".to_owned(), limit: Some(1_000) };
            assert_eq!(command.request, Request::Presence(asked));
            link.confirm(&command, ReplyBody::Presence(expected.clone())).await;
        });
        assert_eq!(list, Ok(expected));
    }
}

#[tokio::test]
async fn a_question_is_asked_again_on_the_next_connection() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (history, presence, ()) =
        tokio::join!(client.history("t", HistoryOptions::new()), client.presence("t"), async {
            link.command().await;
            link.command().await;
            drop(link);
            let (mut link, _) = peer.serve().await;
            let command = link.command().await;
            history_of(&command);
            link.confirm(&command, page(&[57], false)).await;
            let command = link.command().await;
            let list = PresenceList { count: 0, version: 0, members: Vec::new() };
            link.confirm(&command, ReplyBody::Presence(list)).await;
        });
    assert_eq!(history.unwrap().messages.len(), 1);
    assert_eq!(presence.unwrap().count, 0);
}

#[tokio::test]
async fn a_reply_of_another_kind_costs_the_connection_not_the_client() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (outcome, ()) = tokio::join!(client.history("t", HistoryOptions::new()), async {
        let command = link.command().await;
        link.confirm_publish(&command, 1).await;
    });
    assert_eq!(outcome, Err(Error::ConnectionLost));
    peer.serve().await;
}
