//! The console: a page for people that watch and steer sessions in a browser. Its files are in `src/console/`.
//!
//! Owns the files, what they are, and how a browser is to hold them: compressed, with an entity tag, and under a
//! policy that runs nothing else. The page has no data and no secret; it asks the API as any client does.

use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::text::hex;

/// What the page may do: run and show its own files, and call its own origin. No inline script or style, no frame
/// around it, and no text that becomes HTML.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// One file of the page.
#[derive(Debug)]
pub(crate) struct File {
    name: &'static str,
    pub(crate) media_type: &'static str,
    content: &'static str,
    encoded: OnceLock<Encoded>,
}

/// A file as it is sent, made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) plain: Bytes,
    pub(crate) gzip: Bytes,
    /// Of the content, without quotes.
    pub(crate) tag: String,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The file `src/console/$name`.
macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File {
            name: $name,
            media_type: $media_type,
            content: include_str!(concat!("console/", $name)),
            encoded: OnceLock::new(),
        }
    };
}

static PAGE: File = file!("index.html", "text/html; charset=utf-8");

static FILES: [File; 36] = [
    file!("icon.svg", "image/svg+xml"),
    file!("content.css", STYLE),
    file!("layout.css", STYLE),
    file!("theme.css", STYLE),
    file!("actions.js", SCRIPT),
    file!("ansi.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("asks.js", SCRIPT),
    file!("changes.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("conversation.js", SCRIPT),
    file!("dialogs.js", SCRIPT),
    file!("diff.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("engine.js", SCRIPT),
    file!("events.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("highlight.js", SCRIPT),
    file!("list.js", SCRIPT),
    file!("markdown.js", SCRIPT),
    file!("memory.js", SCRIPT),
    file!("overview.js", SCRIPT),
    file!("prompt.js", SCRIPT),
    file!("rail.js", SCRIPT),
    file!("rows.js", SCRIPT),
    file!("session.js", SCRIPT),
    file!("sessions.js", SCRIPT),
    file!("setup.js", SCRIPT),
    file!("spend.js", SCRIPT),
    file!("sse.js", SCRIPT),
    file!("start.js", SCRIPT),
    file!("status.js", SCRIPT),
    file!("stream.js", SCRIPT),
    file!("timeline.js", SCRIPT),
    file!("why.js", SCRIPT),
];

/// The page itself.
pub(crate) fn page() -> &'static File {
    &PAGE
}

/// A file that the page names, if it is one of them.
pub(crate) fn file(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

// === impl File ===

impl File {
    pub(crate) fn encoded(&self) -> &Encoded {
        self.encoded.get_or_init(|| {
            let hash = Sha256::digest(self.content);
            let tag = hex(&hash[..12]);
            Encoded {
                plain: Bytes::from_static(self.content.as_bytes()),
                gzip: compress(self.content.as_bytes()).into(),
                tag,
            }
        })
    }
}

/// Writing to memory does not fail; if it did, the empty result would not be used.
fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    if encoder.write_all(content).is_err() {
        return Vec::new();
    }
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All that a browser loads to show the console for the first time.
    const MOST_BYTES: usize = 120 * 1024;

    #[test]
    fn the_whole_page_is_small() {
        let all = FILES.iter().chain([&PAGE]);
        let sizes: Vec<(&str, usize)> = all
            .map(|file| (file.name, file.encoded().gzip.len()))
            .collect();
        let total: usize = sizes.iter().map(|(_, size)| size).sum();
        assert!(sizes.iter().all(|(_, size)| *size > 0));
        assert!(total <= MOST_BYTES, "{total} bytes: {sizes:?}");
    }

    #[test]
    fn every_file_of_the_directory_is_served_and_named_by_the_page() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
        let names = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let present: BTreeSet<String> = names.filter(|name| name != PAGE.name).collect();
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(present, served);
        for name in &served {
            assert!(
                PAGE.content.contains(&format!("\"console/{name}\"")),
                "{name} is not preloaded"
            );
        }
    }

    #[test]
    fn nothing_in_it_makes_html_of_text_or_leaves_the_origin() {
        for file in FILES.iter().chain([&PAGE]) {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
                "style=\"",
                "onclick=\"",
            ] {
                assert!(!file.content.contains(word), "{} has {word}", file.name);
            }
            let addresses = file
                .content
                .split("://")
                .skip(1)
                .filter(|rest| rest.starts_with(|one: char| one.is_ascii_alphanumeric()));
            for rest in addresses {
                assert!(
                    rest.starts_with("www.w3.org/2000/svg"),
                    "{} names another server: {}",
                    file.name,
                    rest.lines().next().unwrap()
                );
            }
        }
    }
}
