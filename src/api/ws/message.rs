//! Messages of clients, and our answers to them: `{"type":…,"ref":…}`. Pure.
//!
//! `ref` is the client's own name for its message; the answer has the same. Fields of a command are beside it, as they are in
//! the body of the route that does the same.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantNames};

use crate::api::encode::ws;
use crate::api::error::{ApiError, Envelope};
use crate::api::extract::parse;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    /// Shows the token; without effect where that was done.
    Auth,
    /// Is answered and does nothing: for pages, which do not see the pings of the protocol.
    Ping,
    Cancel,
    Prompt,
    Permission,
    Question,
}

/// One message, understood as far as its kind.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) kind: Kind,
    pub(super) reference: Option<Reference>,
}

/// A client's name for its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Reference {
    Text(String),
    Number(i64),
}

const MAX_REFERENCE: usize = 128;

#[derive(Deserialize)]
struct Named {
    #[serde(default, rename = "ref")]
    reference: Option<Reference>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

/// The message that shows the token.
#[derive(Deserialize)]
pub(super) struct Auth {
    pub(super) token: String,
}

#[derive(Serialize)]
struct Ack<'a, T> {
    r#type: &'static str,
    r#ref: Option<&'a Reference>,
    /// What the route would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    r#type: &'static str,
    r#ref: Option<&'a Reference>,
    /// What the route would have answered.
    status: u16,
    #[serde(flatten)]
    envelope: Envelope<'a>,
}

// === impl Incoming ===

impl Incoming {
    /// Reads a message. An error goes with the reference, as far as there is one.
    pub(super) fn read(text: &[u8]) -> Result<Self, Box<(Option<Reference>, ApiError)>> {
        let named = parse::<Named>(text).map_err(|error| Box::new((None, error)))?;
        let reference = named.reference;
        match kind(text) {
            Ok(kind) => Ok(Self { kind, reference }),
            Err(error) => Err(Box::new((reference, error))),
        }
    }
}

fn kind(text: &[u8]) -> Result<Kind, ApiError> {
    let head = parse::<Head>(text)?;
    head.kind.parse().map_err(|_| {
        let kinds = Kind::VARIANTS.join(", ");
        ApiError::invalid("type", &format!("must be one of {kinds}"))
    })
}

/// The answer to a message that was carried out.
pub(super) fn ack<T: Serialize>(reference: Option<&Reference>, result: Option<T>) -> Bytes {
    frame(&Ack {
        r#type: "ack",
        r#ref: reference,
        result,
    })
}

/// The answer to one that was not.
pub(super) fn refusal(reference: Option<&Reference>, error: &ApiError, request_id: &str) -> Bytes {
    frame(&Refusal {
        r#type: "error",
        r#ref: reference,
        status: error.status().as_u16(),
        envelope: error.envelope(request_id),
    })
}

fn frame(message: &impl Serialize) -> Bytes {
    // Structs of texts and numbers always become JSON.
    ws::message(&serde_json::to_string(message).unwrap_or_default())
}

// === impl Reference ===

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a whole number or a text of at most {MAX_REFERENCE} bytes"
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Reference, E> {
                if text.len() > MAX_REFERENCE {
                    return Err(E::custom(format!(
                        "must have at most {MAX_REFERENCE} bytes"
                    )));
                }
                Ok(Reference::Text(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Reference, E> {
                Ok(Reference::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Reference, E> {
                let number = i64::try_from(number);
                number
                    .map(Reference::Number)
                    .map_err(|_| E::custom("is too large a number"))
            }
        }

        deserializer
            .deserialize_any(Either)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<(Kind, Option<Reference>), Value> {
        match Incoming::read(text.as_bytes()) {
            Ok(incoming) => Ok((incoming.kind, incoming.reference)),
            Err(wrong) => {
                let (reference, error) = *wrong;
                let frame = refusal(reference.as_ref(), &error, "r-1");
                // Two or four bytes of a header.
                let start = frame.iter().position(|byte| *byte == b'{').unwrap();
                let mut answer: Value = serde_json::from_slice(&frame[start..]).unwrap();
                answer["timestamp"] = Value::Null;
                Err(answer)
            }
        }
    }

    #[test]
    fn a_message_is_read_with_its_reference() {
        let text = |text: &str| Some(Reference::Text(text.into()));
        assert_eq!(read(r#"{"type":"cancel"}"#), Ok((Kind::Cancel, None)));
        assert_eq!(
            read(r#"{"ref":"a","type":"ping","x":1}"#),
            Ok((Kind::Ping, text("a")))
        );
        assert_eq!(
            read(r#"{"type":"auth","ref":-7}"#),
            Ok((Kind::Auth, Some(Reference::Number(-7))))
        );
        assert_eq!(
            read(r#"{"type":"ping","ref":null}"#),
            Ok((Kind::Ping, None))
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_the_reference_comes_back() {
        let said = |text: &str| {
            let answer = read(text).unwrap_err();
            (
                answer["ref"].clone(),
                answer["error"].as_str().unwrap().to_owned(),
            )
        };
        assert_eq!(
            read(r#"{"type":"nope","ref":4}"#).unwrap_err(),
            json!({
                "type": "error", "ref": 4, "status": 400, "code": "invalid_request", "request_id": "r-1", "timestamp": null,
                "error": format!("type: must be one of {}", Kind::VARIANTS.join(", ")),
                "details": {"field": "type", "reason": format!("must be one of {}", Kind::VARIANTS.join(", "))},
            })
        );
        assert_eq!(
            said(r#"{"ref":"a"}"#),
            (json!("a"), "type: is missing".into())
        );
        for (odd, field) in [
            (r#"{"type":"ping","ref":1.5}"#.to_owned(), "ref: "),
            (r#"{"type":"ping","ref":[]}"#.to_owned(), "ref: "),
            (
                format!(r#"{{"type":"ping","ref":"{}"}}"#, "x".repeat(129)),
                "ref: must have",
            ),
            ("garbage".to_owned(), "the body is not"),
            ("[]".to_owned(), "the body is not"),
            ("{} {}".to_owned(), "there is more"),
        ] {
            let (reference, error) = said(&odd);
            assert_eq!(reference, Value::Null, "{odd}");
            assert!(error.starts_with(field), "{odd}: {error}");
        }
    }
}
