//! What the sandbox adds to the start of a command. `cargo bench --features bench --bench commands`.
//!
//! The command does nothing. Plain bash and OpenCode's shell take turns, from one process in OpenCode's
//! place, so that both meet the same noise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking, prints its table and takes PATH as it is"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use opencode_sidecar::bench::Commands;

const PAIRS: usize = 200;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let sidecar = Path::new(env!("CARGO_BIN_EXE_opencode-sidecar"));
    let commands = Commands::start(sidecar, dir.path()).unwrap();
    println!("sandbox: {}", commands.level);
    for (name, text) in [
        ("true", "true"),
        ("a program", "/bin/true; /bin/true"),
        ("1 MB of output", "head -c 1000000 /dev/zero"),
    ] {
        let (mut plain, mut confined) = (Vec::new(), Vec::new());
        // The first ones start the runner's threads and fill caches.
        for round in 0..PAIRS + 5 {
            let pair = (
                timed(&mut Command::new("/bin/bash"), text),
                timed(&mut commands.shell(), text),
            );
            if round >= 5 {
                plain.push(pair.0);
                confined.push(pair.1);
            }
        }
        let [plain, confined] = [plain, confined].map(middle);
        println!(
            "{name}: plain bash {:.2} ms, confined {:.2} ms, added {:.2} ms (median of {PAIRS}; goal 4 ms)",
            millis(plain),
            millis(confined),
            millis(confined) - millis(plain),
        );
    }
}

/// From the spawn to the end of the output.
fn timed(command: &mut Command, text: &str) -> Duration {
    let begun = Instant::now();
    let output = command
        .args(["-c", text])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    begun.elapsed()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
