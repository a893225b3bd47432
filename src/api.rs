//! What clients see: so far the event stream, and the sockets under it.
pub(crate) mod encode;
pub(crate) mod patience;
pub(crate) mod preface;
pub(crate) mod stream;
