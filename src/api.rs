//! skeleton
pub(crate) mod encode;
pub(crate) mod patience;
pub(crate) mod preface;
pub(crate) mod stream;
