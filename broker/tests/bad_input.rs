//! What hostile or broken clients send: each is cut with the right code, others notice nothing,
//! and the broker keeps nothing of it.

mod support;

use support::{Ws, close_code, eventually, frame, handshake, metric, start, start_with};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn broken_frames_close_with_their_code_and_others_notice_nothing() {
    let server = start();
    let mut bystander = Ws::raw(&server, "t").await;
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000 / 16));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("/v1/topics/t", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("/v1/topics/t", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("/v1/topics/t", vec![0x81, 0x01, b'x'], 1002),
        ("/v1/topics/t", frame(0x80, b"x"), 1002),
        ("/v1/topics/t", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
        ("/v1/topics/t", frame(0x09, b"fragmented ping"), 1002),
        ("/v1/topics/t", vec![0x89, 0xfe, 0, 126], 1002),
        ("/v1/topics/t", vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("/v1/topics/t", vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
        ("/v1/topics/t", frame(0x82, &vec![0; 70_000]), 1009),
        ("/v1/topics/t", frame(0x81, b"\xff\xfe"), 1007),
        ("/v1/topics/t", frame(0x88, b"\x03"), 1002),
        ("/v1/topics/t", frame(0x88, b"\x03\xee"), 1002),
        ("/v1/topics/t", [frame(0x01, b"x"), frame(0x00, b"").repeat(20)].concat(), 1008),
        ("/v1/topics/t", frame(0x89, b"").repeat(300), 1008),
        ("/v1/ws", frame(0x81, b"nonsense"), 3500),
        ("/v1/ws", frame(0x81, deep.as_bytes()), 3500),
        ("/v1/ws", frame(0x81, b"{\"id\":1,\"publish\":{\"topic\":\"t\",\"data\":1}}"), 3501),
        ("/v1/ws", frame(0x82, b"\x80"), 1003),
    ];
    for (path, bytes, code) in cases {
        let mut stream = handshake(&server, path).await;
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(close_code(&mut stream).await, Some(code), "{path} {:02x?}", &bytes[..2]);
    }
    bystander.send("still here").await;
    assert_eq!(bystander.data().await.into_text().unwrap(), "still here");
    eventually("only the bystander is left", || server.connection_count() == 1).await;
    assert_eq!(metric(&server, "fanfare_unfinished_bytes").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn clients_that_vanish_leave_nothing_behind() {
    let server = start();
    for i in 0..50 {
        let mut stream = handshake(&server, "/v1/topics/t").await;
        let begun = frame(0x82, &[7; 1_000]);
        stream.write_all(&begun[..i * 20]).await.unwrap();
        if i % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    }
    eventually("all are gone", || server.connection_count() == 0).await;
    for gauge in ["fanfare_unfinished_bytes", "fanfare_outbox_bytes", "fanfare_subscriptions"] {
        assert_eq!(metric(&server, gauge).await, 0.0, "{gauge}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_finished_and_a_session_that_does_not_connect_are_ended() {
    let server = start_with(|l| {
        l.message_timeout_ms = 200;
        l.handshake_timeout_ms = 200;
    });
    let mut unfinished = handshake(&server, "/v1/topics/t").await;
    unfinished.write_all(&frame(0x82, b"never whole")[..10]).await.unwrap();
    assert_eq!(close_code(&mut unfinished).await, Some(3002));
    let mut silent = handshake(&server, "/v1/ws").await;
    assert_eq!(close_code(&mut silent).await, Some(3003));
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_ended() {
    let server = start_with(|l| {
        l.ping_interval_ms = 200;
        // Long for the polite one, whose answer may wait on a busy machine.
        l.pong_timeout_ms = 3_000;
    });
    let mut deaf = handshake(&server, "/v1/topics/t").await;
    let mut polite = Ws::raw(&server, "t").await;
    let listen = tokio::spawn(async move {
        // Reading is what makes the client answer pings.
        polite.closed().await
    });
    assert_eq!(close_code(&mut deaf).await, Some(3001));
    drop(deaf);
    eventually("who answers stays", || server.connection_count() == 1).await;
    server.stop().await;
    assert_eq!(listen.await.unwrap().0, 1012);
}
