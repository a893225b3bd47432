//! The query of a request, read parameter by parameter, so that a refusal names the one at fault. Parameters that a
//! route does not know are left out of account.

use axum::extract::Query as Pairs;
use axum::http::Uri;

use super::error::ApiError;

#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

// === impl Query ===

impl Query {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::invalid("query", &error.body_text()))?;
        Ok(Self(pairs))
    }

    /// The value of the parameter `name`, if it is given once and can be read.
    pub(super) fn value<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        reason: impl Fn() -> String,
    ) -> Result<Option<T>, ApiError> {
        let mut given = self.0.iter().filter(|(key, _)| key == name);
        let Some((_, text)) = given.next() else {
            return Ok(None);
        };
        if given.next().is_some() {
            return Err(ApiError::invalid(name, "is given twice"));
        }
        let parsed = parse(text).ok_or_else(|| ApiError::invalid(name, &reason()))?;
        Ok(Some(parsed))
    }

    /// `limit`: how many entries a page may have.
    pub(super) fn limit(&self, most: usize) -> Result<Option<usize>, ApiError> {
        let parse = |text: &str| {
            let limit = text.parse().ok()?;
            (1..=most).contains(&limit).then_some(limit)
        };
        self.value("limit", parse, || format!("must be from 1 to {most}"))
    }

    /// Whether one of the lists in `include` has `wanted`.
    pub(super) fn includes(&self, wanted: &str) -> bool {
        let lists = self.0.iter().filter(|(key, _)| key == "include");
        lists
            .flat_map(|(_, list)| list.split(','))
            .any(|item| item.trim() == wanted)
    }
}
