//! How sessions meet the child: what OpenCode says becomes what we publish.

pub(crate) mod ending;
pub(crate) mod translate;
