//! Another user for the child and its commands (`ENGINE_USER`).

use rustix::thread::{CapabilitySet, capabilities};

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

// === impl User ===

impl User {
    /// A name of `/etc/passwd`, a number, or `uid:gid`. Never root, which would be no other user.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::parse_with(text, &passwd)
            .ok_or("the name of a user, its number or uid:gid, and not root")
    }

    fn parse_with(text: &str, passwd: &str) -> Option<Self> {
        let user = match text.split_once(':') {
            Some((uid, gid)) => Self {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            },
            None => match text.parse() {
                Ok(uid) => find(passwd, |_, known| known == uid).unwrap_or(Self { uid, gid: uid }),
                Err(_) => find(passwd, |name, _| name == text)?,
            },
        };
        // The highest number means "no change" to the kernel.
        (user.uid != 0 && user.uid != u32::MAX && user.gid != u32::MAX).then_some(user)
    }

    /// What this process lacks to start another as this user, if anything.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        let now = rustix::process::geteuid().as_raw();
        let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let needed = CapabilitySet::SETUID
            | CapabilitySet::SETGID
            | CapabilitySet::KILL
            | CapabilitySet::CHOWN
            | CapabilitySet::DAC_OVERRIDE;
        if now == self.uid || effective.contains(needed) {
            return None;
        }
        Some(
            "the capabilities SETUID, SETGID, KILL, CHOWN and DAC_OVERRIDE: add them, or leave it out",
        )
    }
}

fn find(passwd: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        wanted(name, uid).then_some(User { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_a_number_or_both_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nagent:x:1001:1002::/home/agent:/bin/sh\n";
        let parse = |text| User::parse_with(text, passwd);
        let user = |uid, gid| Some(User { uid, gid });
        assert_eq!(parse("agent"), user(1001, 1002));
        assert_eq!(parse("1001"), user(1001, 1002));
        assert_eq!(parse("4000"), user(4000, 4000));
        assert_eq!(parse("4000:50"), user(4000, 50));
        for wrong in [
            "root",
            "0",
            "0:0",
            "nobody-here",
            "1:x",
            "",
            ":",
            "4294967295",
            "-1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
