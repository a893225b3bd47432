//! Files that go along with a prompt, as `parts` of the API.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::exit::Problem;

/// A sidecar takes less, and says how much.
const MAX_BYTES: u64 = 64 << 20;

/// The text and the files, in this order.
pub(super) fn parts(prompt: &str, files: &[PathBuf]) -> Result<Value, Problem> {
    let text = json!({ "type": "text", "text": prompt });
    let files = files.iter().map(|path| part(path));
    std::iter::once(Ok(text))
        .chain(files)
        .collect::<Result<Vec<Value>, _>>()
        .map(Value::from)
}

fn part(path: &Path) -> Result<Value, Problem> {
    let failed = |error: std::io::Error| {
        let reason = crate::text::plain(&error.to_string());
        Problem::usage(format!(
            "--file {} cannot be read: {reason}",
            path.display()
        ))
    };
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES)
        .read_to_end(&mut content)
        .map_err(failed)?;
    let url = format!(
        "data:{};base64,{}",
        mime(path, &content),
        STANDARD.encode(&content)
    );
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(json!({ "type": "file", "url": url, "filename": name }))
}

/// The type by the file's name, or by what is in it.
fn mime(path: &Path, content: &[u8]) -> &'static str {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("pdf") => "application/pdf",
        _ if std::str::from_utf8(content).is_ok() => "text/plain",
        // The sidecar says which types can be read.
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_along_with_its_name_and_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note.rs");
        std::fs::write(&path, "hi").unwrap();
        assert_eq!(
            parts("Read it", &[path]).unwrap(),
            json!([
                { "type": "text", "text": "Read it" },
                { "type": "file", "url": "data:text/plain;base64,aGk=", "filename": "note.rs" },
            ])
        );
        assert_eq!(mime(Path::new("a.PNG"), b""), "image/png");
        assert_eq!(mime(Path::new("a"), b"\xff"), "application/octet-stream");
        let missing = parts("x", &[PathBuf::from("/nonexistent")]).unwrap_err();
        assert!(
            missing
                .sentence
                .starts_with("--file /nonexistent cannot be read")
        );
    }
}
