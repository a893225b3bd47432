//! Which files the agent can read, and as what they are handed to it. Pure.
//!
//! A type that OpenCode cannot hand to a model would fail this prompt and every later one of the session.

use std::path::Path;

const TEXT: &str = "text/plain";

/// Types that models take as they are.
const AS_THEY_ARE: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
];

/// Endings of files that are no text, with their types.
const NO_TEXT: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("jar", "application/java-archive"),
    ("gz", "application/gzip"),
    ("tgz", "application/gzip"),
    ("bz2", "application/x-bzip2"),
    ("xz", "application/x-xz"),
    ("zst", "application/zstd"),
    ("tar", "application/x-tar"),
    ("7z", "application/x-7z-compressed"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("bmp", "image/bmp"),
    ("ico", "image/vnd.microsoft.icon"),
    ("tiff", "image/tiff"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("wasm", "application/wasm"),
    ("so", "application/x-sharedlib"),
    ("exe", "application/vnd.microsoft.portable-executable"),
    ("dll", "application/vnd.microsoft.portable-executable"),
    ("class", "application/java-vm"),
    ("sqlite", "application/vnd.sqlite3"),
    ("db", "application/vnd.sqlite3"),
];

/// Types of `application/` that are text.
const TEXTS: &[&str] = &[
    "json",
    "ld+json",
    "jsonc",
    "json5",
    "x-ndjson",
    "jsonl",
    "xml",
    "yaml",
    "x-yaml",
    "toml",
    "javascript",
    "x-javascript",
    "ecmascript",
    "typescript",
    "x-typescript",
    "x-sh",
    "x-shellscript",
    "sql",
    "graphql",
    "x-python",
    "x-ruby",
    "x-perl",
    "x-php",
    "x-httpd-php",
    "rtf",
    "x-tex",
    "x-toml",
];

/// What a file of this type is handed over as; `None`: not at all.
pub(super) fn sent_as(mime: &str) -> Option<&'static str> {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let mime = mime.to_ascii_lowercase();
    if let Some(same) = AS_THEY_ARE.into_iter().find(|known| *known == mime) {
        return Some(same);
    }
    if mime == "image/jpg" {
        return Some("image/jpeg");
    }
    let is_text = mime.starts_with("text/")
        || mime.ends_with("+json")
        || mime.ends_with("+xml")
        || mime.ends_with("+yaml")
        || mime
            .strip_prefix("application/")
            .is_some_and(|kind| TEXTS.contains(&kind));
    is_text.then_some(TEXT)
}

/// The type of a file by the ending of its name.
pub(super) fn type_of(path: &Path) -> &'static str {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let known = NO_TEXT.iter().find(|(known, _)| ending == *known);
    known.map_or(TEXT, |(_, mime)| mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_any_form_is_handed_over_as_text_and_pictures_as_they_are() {
        for text in [
            "text/plain",
            "text/markdown; charset=utf-8",
            "application/json",
            "Application/JSON",
            "application/vnd.api+json",
            "image/svg+xml",
            "application/yaml",
            "text/x-rust",
        ] {
            assert_eq!(sent_as(text), Some(TEXT), "{text}");
        }
        assert_eq!(sent_as("image/png"), Some("image/png"));
        assert_eq!(sent_as("image/JPG"), Some("image/jpeg"));
        assert_eq!(sent_as("application/pdf"), Some("application/pdf"));
    }

    #[test]
    fn what_would_break_the_session_is_not_handed_over() {
        for other in [
            "application/zip",
            "application/octet-stream",
            "image/tiff",
            "audio/mpeg",
            "",
            "text",
            "application/",
        ] {
            assert_eq!(sent_as(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_is_text_unless_its_name_says_otherwise() {
        let of = |name: &str| sent_as(type_of(Path::new(name)));
        assert_eq!(of("/w/main.rs"), Some(TEXT));
        assert_eq!(of("/w/Makefile"), Some(TEXT));
        assert_eq!(of("/w/a.PNG"), Some("image/png"));
        assert_eq!(of("/w/a.tar.gz"), None);
    }
}
