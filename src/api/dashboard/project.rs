//! The header `X-Project-Dir`: in which directory of the workspace a request looks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::State;
use crate::api::error::{ApiError, ErrorCode};
use crate::workspace::{FileError, resolve_dir};

const NAME: &str = "X-Project-Dir";

/// The directory, every link in its path followed. Absent: the workspace.
#[derive(Debug)]
pub(super) struct ProjectDir(pub(super) PathBuf);

impl FromRequestParts<Arc<State>> for ProjectDir {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(NAME).iter();
        let first = given.next();
        if given.next().is_some() {
            return Err(ApiError::invalid(NAME, "is given twice"));
        }
        let path = first.map_or(Path::new("."), |value| {
            Path::new(OsStr::from_bytes(value.as_bytes()))
        });
        let found = resolve_dir(&state.workspace_dir, path).await;
        found.map(Self).map_err(|error| match (error, first) {
            (FileError::Outside, _) => outside(),
            (FileError::Missing, Some(_)) => {
                ApiError::invalid(NAME, "there is no such directory in the workspace")
            }
            (FileError::NotADirectory | FileError::NotAFile, _) => {
                ApiError::invalid(NAME, "is not a directory")
            }
            (error @ FileError::Silent, _) => unavailable(error.to_string()),
            (FileError::Missing, None) => unavailable("the workspace is not there".into()),
        })
    }
}

fn outside() -> ApiError {
    ApiError::invalid(NAME, "must be the workspace or a directory below it")
}

fn unavailable(sentence: String) -> ApiError {
    ApiError::new(ErrorCode::WorkspaceUnavailable, sentence)
}
