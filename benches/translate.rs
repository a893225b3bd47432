//! From OpenCode's bytes to our events: `cargo bench --features bench --bench translate`.
//!
//! The stream is what the child really sends under an unpaced model: about 200 bytes per delta in its
//! shortest form and 415 with long ids and directory, in pieces of 64 KiB. The goal is 250 000 events/s.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use opencode_sidecar::bench::{Count, Pipeline};

const ROOT: &str = "ses_e07bba9a0ffexcFSuSAlsV2Gva";
const PIECE: usize = 64 << 10;
const AT_LEAST: Duration = Duration::from_secs(2);

fn main() {
    for (name, padding) in [("deltas of 200 B", 0), ("deltas of 415 B", 1)] {
        let stream = deltas(20_000, padding);
        measure(&format!("{name}, decode + translate"), &stream, ROOT, false);
        measure(&format!("{name}, and encode"), &stream, ROOT, true);
    }
    let mut files: Vec<_> = std::fs::read_dir("tests/recordings")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let stream: String = text.lines().map(frame).collect();
        measure(&name, stream.as_bytes(), session(&text), true);
    }
}

/// One session that writes `count` small pieces of text.
fn deltas(count: usize, padding: usize) -> Vec<u8> {
    let (message, part) = (
        "msg_1f8445695001hPv1ozuPVxLPQz",
        "prt_1f8445769001JV4M1ecJmSIiIo",
    );
    let (head, id) = match padding {
        0 => (String::new(), ""),
        _ => (
            format!(
                r#""directory":"/workspace","project":"{}","#,
                "fdd2ad70a33f9b686c681bb1a0756757df17bc93"
            ),
            r#""id":"evt_1f844565f002PrTbQxF1K1EuJG","#,
        ),
    };
    let event = |kind: &str, properties: String| {
        let payload = format!(
            r#"{{{id}"type":"{kind}","properties":{{"sessionID":"{ROOT}",{properties}}}}}"#
        );
        format!("data: {{{head}\"payload\":{payload}}}\n\n")
    };
    let info = format!(
        r#""info":{{"id":"{message}","sessionID":"{ROOT}","role":"assistant","time":{{"created":1}}}}"#
    );
    let mut stream = event("message.updated", info);
    let start = format!(
        r#""part":{{"id":"{part}","messageID":"{message}","sessionID":"{ROOT}","type":"text","text":"","time":{{"start":1}}}}"#
    );
    stream += &event("message.part.updated", start);
    for number in 0..count {
        let mut text = format!("tok{number} ");
        if padding > 0 {
            write!(
                text,
                "{:60}",
                "and a little more text, with a \\\"quote\\\""
            )
            .unwrap_or_default();
        }
        let delta =
            format!(r#""messageID":"{message}","partID":"{part}","field":"text","delta":"{text}""#);
        stream += &event("message.part.delta", delta);
    }
    stream.into_bytes()
}

fn frame(line: &str) -> String {
    let json = line.split_once(", ").map_or(line, |(_, json)| json);
    format!("data: {{{json}\n\n")
}

fn session(text: &str) -> &str {
    let at = text.find("ses_").unwrap_or_default();
    text.get(at..at + ROOT.len()).unwrap_or(ROOT)
}

fn measure(name: &str, stream: &[u8], root: &str, encode: bool) {
    let mut best = Duration::MAX;
    let (mut rounds, mut count) = (0_u32, Count::default());
    let began = Instant::now();
    while began.elapsed() < AT_LEAST / if stream.len() > 1 << 20 { 1 } else { 10 } || rounds < 3 {
        let mut pipeline = Pipeline::new(root);
        let round = Instant::now();
        count = Count::default();
        for piece in stream.chunks(PIECE) {
            let more = black_box(pipeline.push(black_box(piece), encode));
            count.frames += more.frames;
            count.events += more.events;
            count.encoded += more.encoded;
        }
        best = best.min(round.elapsed());
        rounds += 1;
    }
    let seconds = best.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    let (frames, bytes) = (count.frames as f64, stream.len() as f64);
    println!(
        "{name:44} {:>9.0} frames/s {:>7.2} us each {:>7.0} MB/s  ({} frames, {} events, best of {rounds})",
        frames / seconds,
        seconds * 1e6 / frames,
        bytes / seconds / 1e6,
        count.frames,
        count.events,
    );
}
