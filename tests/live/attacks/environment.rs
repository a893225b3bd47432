//! What processes show of themselves.

use super::Victim;

/// Reads the environment and the arguments of every process that can be seen, while another session runs.
pub(super) fn read_keys(victim: &mut Victim) {
    let command = "for p in /proc/[0-9]*; do timeout 2 cat $p/environ $p/cmdline; done 2>/dev/null | tr '\\0' '\\n'; echo searched";
    let seen = victim.run([command]);
    let output = seen.result("bash")["result"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(output.contains("searched"), "{output}");
    assert!(!output.contains("sk-attacker-"), "{output}");
}
