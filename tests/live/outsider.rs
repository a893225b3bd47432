//! Somebody who runs as the sidecar's user beside it, and descends neither from it nor from the agent.

use std::process::{Command, Stdio};

use crate::place::Place;
use crate::support::{Options, skipped};

/// Opens whatever it can of every process with `argv[1]` among its arguments, until it is killed, and says
/// what it saw and what it could open.
const LOOK: &str = r#"
use Fcntl;
$| = 1;
my %seen;
while (1) {
    opendir(my $proc, "/proc") or die;
    for my $pid (grep { /^\d+$/ && $_ != $$ } readdir $proc) {
        open(my $file, "<", "/proc/$pid/cmdline") or next;
        my $line = join "", <$file>;
        next if index($line, $ARGV[0]) < 0 || $line !~ /__become|serve/;
        print "seen $pid\n" if !$seen{$pid}++;
        for my $name ("environ", "fd/0", "mem") {
            print "opened $name of $pid\n" if sysopen(my $handle, "/proc/$pid/$name", O_RDONLY | O_NONBLOCK);
        }
    }
}
"#;

const RESTARTS: usize = 60;

#[test]
fn nothing_of_a_starting_child_can_be_opened_by_others_of_its_user() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the mount namespace this needs");
        return;
    }
    // The stub keeps notes where the sandbox lets no child write.
    let place = Place {
        sandbox: false,
        ..Place::NOBODY
    };
    let sidecar = place.start(Options::stub()).ready();
    let bin = sidecar.data_dir().parent().unwrap().join("opencode");
    let mut outsider = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["/usr/bin/perl", "-e", LOOK, &bin.to_string_lossy()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..RESTARTS {
        assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    }
    outsider.kill().unwrap();
    let output = outsider.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.matches("seen").count() > RESTARTS / 2, "{said}");
    assert!(!said.contains("opened"), "{said}");
}
