//! From the bytes of `/global/event` to the JSON a client gets.

use crate::clock::Timestamp;
use crate::driver::translate::{Settings, Translator};
use crate::opencode::sse::{Decoder, Frame, MAX_EVENT};
use crate::opencode::types::decode;

/// From the bytes of `/global/event` to the JSON a client gets, for one session.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    translator: Translator,
    now: Timestamp,
}

/// What came through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub frames: u64,
    pub events: u64,
    /// Bytes of JSON for the client; 0 unless it was asked for.
    pub encoded: u64,
}

// === impl Pipeline ===

impl Pipeline {
    /// A pipeline in the middle of a turn of this session.
    pub fn new(root: &str) -> Self {
        let settings = Settings {
            root: root.to_owned(),
            directory: "/workspace".to_owned(),
            loop_limit: 10,
        };
        let mut translator = Translator::new(settings, None);
        let now = Timestamp::now();
        translator.begin_turn(now);
        Self {
            decoder: Decoder::new(MAX_EVENT),
            translator,
            now,
        }
    }

    /// Takes a piece of the stream; unreadable frames are skipped.
    pub fn push(&mut self, bytes: &[u8], encode: bool) -> Count {
        let mut count = Count::default();
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next() {
            count.frames += 1;
            let Frame::Data(data) = frame else { continue };
            let Ok(event) = decode(data) else { continue };
            self.translator.apply(event, self.now);
            count.events += self.translator.events.len() as u64;
            for event in self.translator.events.drain(..) {
                if encode {
                    let sizes = event
                        .encode(1)
                        .into_iter()
                        .map(|encoded| encoded.data.len() as u64);
                    count.encoded += sizes.sum::<u64>();
                }
            }
            self.translator.signals.clear();
        }
        count
    }
}
