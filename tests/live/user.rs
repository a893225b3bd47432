//! `ENGINE_USER`: a sidecar of root's whose child and commands are somebody else.

use std::os::unix::fs::chown;

use crate::llm::Turn;
use crate::place::Place;
use crate::support::{Options, skipped};
use crate::world::{World, bash};

#[test]
fn the_child_and_its_commands_are_another_user_and_reach_nothing_of_ours() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can start another user's processes");
        return;
    }
    for sandbox in [true, false] {
        let place = Place {
            root: true,
            first: false,
            sandbox,
        };
        let options = Options::real()
            .env("ENGINE_USER", "65534:65534")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        chown(
            options.dir.path().join("workspace"),
            Some(65534),
            Some(65534),
        )
        .unwrap();
        let world = World::around(place.start(options));
        let data = world.data_dir();
        let script = format!(
            "id -u; id -g; id -G; echo works > file; for f in $(find {0} -path {0}/engine -prune -o -type f -print 2>/dev/null); do \
             case $f in {0}/shell/policy.json) ;; *) [ -n \"$(head -c 1 $f 2>/dev/null | tr '\\0' 0)\" ] && echo \"read $f\";; esac; \
             (: >> $f) 2>/dev/null && echo \"written $f\"; done; \
             for p in {1}; do kill -9 $p 2>/dev/null && echo killed; head -c 1 /proc/$p/environ >/dev/null 2>&1 && echo environ; done; echo end",
            data.display(),
            world.pid(),
        );
        std::fs::write(world.workspace().join("script.sh"), script).unwrap();
        let turns = [
            Turn::new().tool("bash", bash("bash script.sh")),
            Turn::new().text("done"),
        ];
        let seen = world.run("other-user", turns);
        seen.assert_complete();
        let said = seen.result("bash")["result"]["stdout"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            ["65534", "65534", "65534", "end"],
            "{said}"
        );
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", world.engine_pid())).unwrap();
        assert!(
            status.contains("\nUid:\t65534\t65534\t65534\t65534\n"),
            "{status}"
        );
        // It is stopped and started like any other.
        assert_eq!(world.post("/engine/restart", "").status, 200);
        let seen = world.run(
            "after",
            [
                Turn::new().tool("bash", bash("cat file")),
                Turn::new().text("done"),
            ],
        );
        assert_eq!(seen.result("bash")["result"]["stdout"], "works\n");
    }
}
