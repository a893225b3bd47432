//! Clients that mean no good.

use super::client::{BINARY, CLOSE, CONTINUE, Got, PING, TEXT, frame};
use super::*;

/// What comes of these bytes, as a code.
async fn code_of(bytes: &[u8]) -> u16 {
    let world = World::new();
    let mut client = world.client();
    client.raw(bytes).await;
    let code = loop {
        match client.next().await {
            Got::Close(code) => break code,
            Got::Text(_) => {}
            other => panic!("{other:?}"),
        }
    };
    drop(client);
    world.nothing_is_left().await;
    code
}

#[tokio::test(start_paused = true)]
async fn what_is_no_websocket_is_closed_with_its_code() {
    let whole = |opcode, payload: &[u8]| frame(true, opcode, payload);
    let unmasked = b"\x81\x02{}".to_vec();
    let reserved = {
        let mut bits = whole(TEXT, b"{}");
        bits[0] |= 0x40;
        bits
    };
    let mut twice = frame(false, TEXT, b"{");
    twice.extend(whole(TEXT, b"}"));
    let too_long = whole(TEXT, &vec![b' '; MAX_MESSAGE + 1]);
    let mut too_long_in_parts = frame(false, TEXT, &vec![b' '; MAX_MESSAGE]);
    too_long_in_parts.extend(frame(true, CONTINUE, b"  "));
    let claims = b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec();
    for (what, bytes, code) in [
        ("garbage", vec![0xaa; 5000], 1002),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
        ("without a mask", unmasked, 1002),
        ("a reserved bit", reserved, 1002),
        ("an unknown opcode", whole(7, b""), 1002),
        ("an unknown control frame", whole(11, b""), 1002),
        ("a ping that is too large", whole(PING, &[0; 126]), 1002),
        ("a ping in parts", frame(false, PING, b""), 1002),
        ("the rest of nothing", whole(CONTINUE, b"x"), 1002),
        ("a text in a text", twice, 1002),
        ("a close of one byte", whole(CLOSE, b"x"), 1002),
        ("bytes", whole(BINARY, b"{}"), 1003),
        ("no UTF-8", whole(TEXT, b"\"\xff\""), 1007),
        ("half a character", whole(TEXT, &"ü".as_bytes()[..1]), 1007),
        ("too long", too_long, 1009),
        ("too long in parts", too_long_in_parts, 1009),
        ("a length of 2^63", claims, 1009),
    ] {
        let got = code_of(&bytes).await;
        assert_eq!(got, code, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_no_messages_are_answered_and_the_socket_stays() {
    let world = World::new();
    let mut client = world.client();
    for odd in [
        "",
        "{",
        "[]",
        "null",
        "{\"type\":7}",
        "{\"type\":\"nope\",\"ref\":1}",
    ] {
        client.send(TEXT, odd.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(
            (&answer["type"], &answer["status"]),
            (&json!("error"), &json!(400)),
            "{odd}"
        );
    }
    client.say(&json!({"type": "ping", "ref": 7})).await;
    assert_eq!(client.answer().await, json!({"type": "ack", "ref": 7}));
}

#[tokio::test(start_paused = true)]
async fn a_message_may_come_in_any_pieces_with_pings_between() {
    let world = World::new();
    let mut client = world.client();
    let mut bytes = Vec::new();
    let text = br#"{"type":"ping","ref":"in parts"}"#;
    for (nth, byte) in text.iter().enumerate() {
        let opcode = if nth == 0 { TEXT } else { CONTINUE };
        bytes.extend(frame(nth + 1 == text.len(), opcode, &[*byte]));
        if nth % 10 == 5 {
            bytes.extend(frame(true, PING, b"p"));
        }
    }
    for byte in bytes {
        client.raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(
        client.answer().await,
        json!({"type": "ack", "ref": "in parts"})
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_is_read_no_faster_than_allowed_and_holds_up_no_event() {
    let world = World::new();
    let client = world.attach("earliest", FOLLOW, 1 << 20);
    let (mut reading, mut writing) = tokio::io::split(client.pipe);
    let start = Instant::now();
    let flood = TaskTracker::new().spawn(async move {
        let ping = frame(true, PING, b"x");
        for _ in 0..264 {
            tokio::io::AsyncWriteExt::write_all(&mut writing, &ping)
                .await
                .unwrap();
        }
        writing
    });
    world.log.append("output", "{}");
    let mut bytes = vec![0; 1 << 16];
    let (mut pongs, mut seen_event) = (0, false);
    while pongs < 264 {
        let count = tokio::io::AsyncReadExt::read(&mut reading, &mut bytes)
            .await
            .unwrap();
        let got = &bytes[..count];
        pongs += got
            .windows(3)
            .filter(|frame| *frame == b"\x8a\x01x")
            .count();
        if !seen_event {
            seen_event = got.windows(6).any(|text| text == b"output");
            assert!(seen_event && start.elapsed() < Duration::from_millis(100));
        }
    }
    // 64 at once, and 20 a second after that.
    assert_eq!(start.elapsed().as_secs(), 10);
    drop((flood.await.unwrap(), reading));
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn endless_fragments_are_bounded_by_their_bytes() {
    let world = World::new();
    let mut client = world.attach("earliest", FOLLOW, 1 << 16);
    client.raw(&frame(false, TEXT, b"{")).await;
    let start = Instant::now();
    let empty = frame(false, CONTINUE, b"").repeat(10_000);
    for _ in 0..200 {
        client.raw(&empty).await;
    }
    // 12 MB; a million bytes at once, and four million a second after that.
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    drop(client);
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_answers_is_read_no_further() {
    let world = World::new();
    let mut client = world.attach("earliest", FOLLOW, 2000);
    let sent = async {
        for nth in 0..10_000 {
            client.say(&json!({"type": "ping", "ref": nth})).await;
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(20), sent).await;
    assert!(sent.is_err(), "it is not read any more");
    drop(client);
    world.nothing_is_left().await;
}
