//! skeleton
pub(crate) mod encode;
pub(crate) mod patience;
pub(crate) mod stream;
