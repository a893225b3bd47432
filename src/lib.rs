//! skeleton
mod id;
mod secret;
