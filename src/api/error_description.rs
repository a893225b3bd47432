//! The errors of a route, as the API description has them.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, Ref, RefOr, Response as Description};

use super::error::ErrorCode;

/// What any request to a guarded route may get.
const EVERYWHERE: [ErrorCode; 5] = [
    ErrorCode::Unauthorized,
    ErrorCode::ForeignOrigin,
    ErrorCode::AgentProcess,
    ErrorCode::UnknownHost,
    ErrorCode::Internal,
];

/// The answers with `codes`, and those that are possible everywhere, by status.
pub(super) fn describe(codes: &[ErrorCode]) -> BTreeMap<String, RefOr<Description>> {
    let mut sentences: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in codes.iter().chain(&EVERYWHERE) {
        let status = code.status().as_u16().to_string();
        sentences.entry(status).or_default().push(code.when());
    }
    let body = Content::new(Some(Ref::from_schema_name("Error")));
    let described = sentences.into_iter().map(|(status, sentences)| {
        let mut response = Description::new(sentences.join("; or "));
        response
            .content
            .insert("application/json".into(), RefOr::T(body.clone()));
        (status, RefOr::T(response))
    });
    described.collect()
}
