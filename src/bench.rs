//! What `benches/` measure, made public by the feature `bench` and for nothing else.

// === the event stream (benches/stream.rs) ===

mod stream;

#[cfg(test)]
pub(crate) use self::stream::serve_connection;
pub use self::stream::{StreamLog, StreamReader, serve_stream};

// === bytes of the child to our events (benches/translate.rs) ===

mod translate;

pub use self::translate::{Count, Pipeline};

// === the model gateway (benches/gateway.rs) ===

mod gateway;

pub use self::gateway::{Gateway, SESSION};

// === the journal (benches/journal.rs) ===

mod journal;

pub use self::journal::{Disk, DiskSession};

// === the agent's commands (benches/commands.rs) ===

mod commands;

pub use self::commands::Commands;
