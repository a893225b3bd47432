//! Whom the gateway trusts.

use std::io::Write;

use super::*;
use crate::gateway::BindError;
use crate::gateway::llm::{Identity, Turn};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn a_provider_nobody_vouches_for_gets_no_key() {
    let (rig, llm) = (Rig::start().await, Llm::start_tls(&Identity::new()).await);
    let _grant = rig.register(Dialect::Chat, &llm);
    let answered = rig.call(Dialect::Chat).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (424, "provider_certificate")
    );
    assert_eq!(llm.requests().len(), 0);
}

#[tokio::test]
async fn an_extra_authority_is_trusted_and_http2_spoken() {
    let identity = Identity::new();
    let llm = Llm::start_tls(&identity).await;
    let authority = file(identity.authority_pem());
    let extra_ca_file = Some(authority.path().to_owned());
    let rig = Rig::with(Config {
        extra_ca_file,
        ..config()
    })
    .await;
    for dialect in DIALECTS {
        llm.reply(Turn::new().text("hi"));
        let _grant = rig.register(dialect, &llm);
        assert_eq!(rig.call(dialect).await.status, 200);
    }
    assert!(
        llm.requests()
            .iter()
            .all(|call| call.http2 && call.key == "KEY-A")
    );
    // Another name than the certificate's.
    let base = llm.base().replace("localhost", "127.0.0.1");
    let _grant = rig.handle.register(route(Dialect::Chat, &base));
    assert_eq!(rig.call(Dialect::Chat).await.code(), "provider_certificate");
    // Over HTTP/2 too, the child's hanging up and the provider's stalling are seen.
    llm.reply(Turn::new().text("half").drop_here());
    let _grant = rig.register(Dialect::Chat, &llm);
    assert!(rig.call(Dialect::Chat).await.broken);
}

#[tokio::test]
async fn a_wrong_setting_is_known_at_start() {
    let bind = |config| async { Bound::bind(config, Finder::new()).await.map(drop) };
    let missing = Config {
        extra_ca_file: Some("/nonexistent/ca.pem".into()),
        ..config()
    };
    let error = bind(missing).await.unwrap_err();
    assert!(
        matches!(error, BindError::Upstream(_))
            && error.to_string().contains("/nonexistent/ca.pem")
    );
    let empty = file("no certificate");
    let error = bind(Config {
        extra_ca_file: Some(empty.path().to_owned()),
        ..config()
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("holds no certificate"),
        "{error}"
    );
    let proxy = ProxySettings {
        https: Some("::".to_owned()),
        ..ProxySettings::default()
    };
    let error = bind(Config { proxy, ..config() }).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTPS_PROXY is not a proxy address");
}
