use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::opencode::call::MAX_ANSWER;

/// A child that answers one request with `length` bytes, and says so beforehand if `told`.
async fn answering(length: usize, told: bool) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap(), Secret::random()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test's runtime owns it")]
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        drop(socket.read(&mut [0; 4096]).await);
        let head = if told {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")
        } else {
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned()
        };
        drop(socket.write_all(head.as_bytes()).await);
        drop(socket.write_all(&vec![b' '; length]).await);
    });
    client
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_only() {
    let deadline = Duration::from_secs(20);
    for told in [false, true] {
        let client = answering(MAX_ANSWER + 1, told).await;
        let error = client.health(deadline).await.unwrap_err();
        assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
        let client = answering(MAX_ANSWER, told).await;
        let error = client.health(deadline).await.unwrap_err();
        assert!(matches!(error, CallError::Body { .. }), "{error}");
        let client = answering(MAX_ANSWER + 1, told).await;
        let error = client.messages("ses_1").await.unwrap_err();
        assert!(matches!(error, CallError::Body { .. }), "{error}");
    }
}
