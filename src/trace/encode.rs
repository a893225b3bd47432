//! Spans as OTLP has them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Encoded, Status, span,
};
use prost::Message as _;

use super::span::{Attribute, Kind, Span, SpanEvent, Value};

/// The flags of a span: that it is recorded, in the bits of the `traceparent`.
const SAMPLED: u32 = 1;

/// The status of a span that ended with an error.
const FAILED: i32 = 2;

/// One request of the protocol, with all of `spans`.
pub(super) fn request(resource: &[(String, String)], spans: Vec<Span>) -> Vec<u8> {
    let attributes = resource
        .iter()
        .map(|(key, value)| key_value(key, Value::Text(value.clone())));
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: spans.into_iter().map(encoded).collect(),
        ..ScopeSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

fn encoded(span: Span) -> Encoded {
    let kind = match span.kind {
        Kind::Internal => span::SpanKind::Internal,
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
    };
    let links = span.links.iter().map(|link| span::Link {
        trace_id: link.trace.to_vec(),
        span_id: link.span.to_vec(),
        ..span::Link::default()
    });
    let status = span.error.map(|error| Status {
        message: error.into_owned(),
        code: FAILED,
    });
    Encoded {
        trace_id: span.context.trace.to_vec(),
        span_id: span.context.span.to_vec(),
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        links: links.collect(),
        status,
        ..Encoded::default()
    }
}

fn event(event: SpanEvent) -> span::Event {
    span::Event {
        time_unix_nano: event.at,
        name: event.name.to_owned(),
        attributes: attributes(event.attributes),
        ..span::Event::default()
    }
}

fn attributes(attributes: Vec<Attribute>) -> Vec<KeyValue> {
    let pairs = attributes.into_iter();
    pairs.map(|(key, value)| key_value(key, value)).collect()
}

fn key_value(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Float(number) => any_value::Value::DoubleValue(number),
        Value::Flag(flag) => any_value::Value::BoolValue(flag),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
