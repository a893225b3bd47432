//! Lists that change while tunnels are open, what the session is told, and tunnels in which nothing moves.

use super::*;

fn only(entries: &str) -> impl FnOnce() -> SessionEgress {
    let list = AllowList::parse_setting(entries).unwrap();
    || SessionEgress::List(list)
}

/// A tunnel that is open.
async fn tunnel(world: &World, target: &str) -> TcpStream {
    let credential = world.credential("ses_1");
    let request = format!("CONNECT {target} HTTP/1.1\r\n{credential}\r\n");
    let mut stream = world.open(&request).await;
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let echo = async {
        stream.write_all(b"x").await?;
        stream.read_exact(&mut byte).await
    };
    let echoed = tokio::time::timeout(WITHIN, echo).await.unwrap();
    echoed.is_ok()
}

#[tokio::test]
async fn a_list_that_changes_holds_from_then_on_and_cuts_what_it_does_not_have() {
    let world = world("SERVER, a.example:*, b.example:*", loopback).await;
    let grant = world.grant("ses_1");
    let port = world.server.port();
    let (a, b) = (format!("a.example:{port}"), format!("b.example:{port}"));
    let (mut to_a, mut to_b) = (tunnel(&world, &a).await, tunnel(&world, &b).await);
    let server = world.server;
    grant.refresh(only(&format!("{server}, a.example:*")));
    let mut rest = Vec::new();
    let cut = to_b.read_to_end(&mut rest);
    tokio::time::timeout(WITHIN, cut).await.unwrap().ok();
    assert!(echoes(&mut to_a).await, "it is still listed");
    let answer = world.tunnel_to("ses_1", &b).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // The name stays, and the address that it leads to goes.
    world.handle.refresh("ses_1", only("a.example:*"));
    tokio::time::timeout(WITHIN, to_a.read_to_end(&mut rest))
        .await
        .unwrap()
        .ok();
    world.handle.refresh("ses_2", || SessionEgress::AsInstance);
    let answer = world.tunnel_to("ses_1", &a).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    world.handle.refresh("ses_1", || SessionEgress::AsInstance);
    assert!(echoes(&mut tunnel(&world, &b).await).await);
    grant.refresh(|| SessionEgress::None);
    let answer = world.tunnel_to("ses_1", &b).await;
    assert!(answer.contains("X-Sidecar-Egress: none"), "{answer}");
}

#[tokio::test]
async fn the_session_is_told_what_was_refused_to_it_and_not_what_failed() {
    let world = world("SERVER, a.example:*", |_, _| Vec::new()).await;
    let (grant, other) = (world.grant("ses_1"), world.grant("ses_2"));
    for _ in 0..5 {
        world.tunnel_to("ses_1", "evil.example:443").await;
    }
    world.tunnel_to("ses_1", "a.example:443").await;
    let told = tokio::time::timeout(WITHIN, grant.decided()).await.unwrap();
    let denied = Decision {
        target: Some((
            crate::egress_policy::Host::parse("evil.example").unwrap(),
            443,
        )),
        refused: Some("not_listed"),
        count: 5,
    };
    assert_eq!(told, [denied]);
    assert_eq!(grant.undisclosed(), []);
    assert_eq!(other.undisclosed(), []);
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_cut() {
    let world = world("SERVER", loopback).await;
    let _grant = world.grant("ses_1");
    let mut stream = tunnel(&world, &world.server.to_string()).await;
    tokio::time::pause();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty());
}
