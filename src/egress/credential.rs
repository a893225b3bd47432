//! The credential of a session: made of its id with a key that only the sidecar and the present child know.
//!
//! So the child's plugin can tell each command its own without asking, nothing of it is on disk, and no session can find that
//! of another. It is HMAC-SHA-256, written out: for one key and one message the crate would be a dependency more for ten lines, and the
//! test holds it against the one of Node.js.

use sha2::{Digest as _, Sha256};

use crate::secret::Secret;
use crate::text::hex;

/// Of SHA-256.
const BLOCK: usize = 64;

/// The password of `session` under `key`, whose text is one block long.
pub(super) fn password(key: &Secret, session: &str) -> Secret {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        for (byte, key) in block.iter_mut().zip(key.expose().bytes()) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(session)
        .finalize();
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize();
    Secret::new(hex(&outer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `createHmac("sha256", key).update(session).digest("hex")` of the plugin has it.
    #[test]
    fn it_is_the_one_that_the_plugin_makes() {
        let key = Secret::new("0123456789abcdef".repeat(4));
        assert_eq!(
            password(&key, "ses_1").expose(),
            "83456624e7770ee6c31f9e570df44ed071681925c26356e48ae50824f85a9d65"
        );
    }
}
