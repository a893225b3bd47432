//! Many readers of one session.

use super::*;
use crate::support::sse::Stream;

#[test]
fn five_hundred_sockets_and_sixty_streams_read_one_session() {
    let sidecar = running(Options::stub());
    let mut sockets: Vec<Socket> = (0..500).map(|_| open(&sidecar, "")).collect();
    let mut streams: Vec<Stream> = (0..60).map(|_| sidecar.stream("s1", "")).collect();
    assert_eq!(figure(&sidecar, OPEN), 500);
    assert_eq!(figure(&sidecar, "sidecar_streams_open "), 60);
    let mut other = open(&sidecar, "");
    other.say(&json!({"type": "cancel"}));
    assert_eq!(other.answer()["type"], "ack");
    let expected = streams[0].rest();
    assert!(expected.last().unwrap().is_terminal());
    for stream in streams.iter_mut().skip(1) {
        assert_eq!(stream.rest(), expected);
    }
    for socket in &mut sockets {
        let seen: Vec<_> = expected.iter().map(|_| socket.event()).collect();
        assert_eq!(seen, expected);
    }
    drop((sockets, other));
    all_gone(&sidecar);
}

#[test]
fn the_513th_socket_of_a_session_is_refused_until_one_goes() {
    let sidecar = running(Options::stub());
    create(&sidecar, "s2");
    let mut sockets: Vec<Socket> = (0..512).map(|_| open(&sidecar, "")).collect();
    let refused = Socket::open(sidecar.address, PATH, &[]);
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("too_many_streams"));
    assert_eq!(
        Socket::open(sidecar.address, "/sessions/s2/ws", &[]).status,
        101
    );
    sockets.pop();
    sidecar.until("free", |sidecar| {
        Socket::open(sidecar.address, PATH, &[]).status == 101
    });
}
