//! The programs that OpenCode starts by itself: ripgrep and git.

use std::fs;

use serde_json::json;

use super::Victim;
use crate::insider;
use crate::llm::Turn;
use crate::world::bash;

/// Notes environment and arguments of each `rg` and `git` that it sees, until the file `seen-enough` is there.
const WATCH: &str = r#"cat > watch.sh <<'END'
until [ -e seen-enough ]; do
  for p in /proc/[0-9]*; do
    read -r name < $p/comm || continue
    case "$name" in rg|git) echo "helper $name"; cat $p/environ $p/cmdline; echo;; esac
  done
done
END
setsid bash watch.sh > helpers.txt 2>/dev/null < /dev/null & echo watching"#;

/// Reads what OpenCode's helpers show of themselves while they search and while they take a snapshot.
pub(super) fn read_environment_of_helpers(victim: &mut Victim) {
    let workspace = victim.workspace();
    make_repository(victim);
    let secrets = [
        insider::password(&victim.world),
        insider::gateway(&victim.world).1,
    ];
    let search = || Turn::new().tool("grep", json!({ "pattern": "not there" }));
    let write = Turn::new().tool(
        "write",
        json!({ "filePath": victim.file("written"), "content": "x" }),
    );
    victim.play([
        Turn::new().tool("bash", bash(WATCH)),
        search(),
        write,
        search(),
        search(),
        Turn::new().tool("bash", bash("touch seen-enough; sleep 0.5")),
    ]);
    let seen = fs::read(workspace.join("helpers.txt")).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    if !victim.place.sandbox {
        for helper in ["rg", "git"] {
            let names = seen.matches(&format!("helper {helper}\n")).count();
            assert!(names > 0, "the watcher saw no {helper}");
        }
        assert!(seen.contains("PATH="), "the watcher saw no environment");
    }
    let words = [
        "OPENCODE_SERVER_PASSWORD",
        "OPENCODE_CONFIG_CONTENT",
        "apiKey",
    ];
    for word in words.into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!seen.contains(word), "a helper showed {word}");
    }
    for entry in fs::read_dir(&workspace).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Git runs what the agent wrote into the configuration of a repository: filters, hooks, a monitor of files.
pub(super) fn run_code_through_git(victim: &mut Victim) {
    make_repository(victim);
    let ran = victim.workspace().join("ran");
    let program = victim.file("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = sh {program}\n\thooksPath = {0}\n\
         [filter \"f\"]\n\tclean = sh {program}\n\tsmudge = sh {program}\n[diff]\n\texternal = sh {program}\n\
         [diff \"f\"]\n\ttextconv = sh {program}\n",
        victim.workspace().display()
    );
    let write = |name: &str, content: &str| {
        Turn::new().tool(
            "write",
            json!({ "filePath": victim.file(name), "content": content }),
        )
    };
    // A session that has no shell.
    victim.play([
        write(".gitattributes", "* filter=f diff=f\n"),
        write(".git/config", &config),
        write(
            "post-index-change",
            &format!("#!/bin/sh\ntouch {}\n", ran.display()),
        ),
        write("changed", "one"),
        write("changed", "two"),
    ]);
    assert!(!ran.exists(), "git ran what the repository names");

    // The same in the snapshots' own repository, which a shell without the sandbox can write to.
    let poison = format!(
        "for c in {}/engine/share/opencode/snapshot/*/*/config; do cat .git/config >> $c; done; echo ok",
        victim.data_dir().display()
    );
    victim.play([
        Turn::new().tool("bash", bash(&poison)),
        write("changed", "three"),
        write("changed", "four"),
    ]);
    assert!(
        !ran.exists(),
        "git ran what the snapshot's configuration names"
    );

    victim.restart_engine();
    for content in ["five", "six"] {
        victim.call(
            "write",
            json!({ "filePath": victim.file("changed"), "content": content }),
        );
    }
    assert!(!ran.exists(), "git of the next child ran it");
    fs::remove_file(victim.workspace().join(".gitattributes")).unwrap();
    fs::write(
        victim.workspace().join(".git/config"),
        "[core]\n\trepositoryformatversion = 0\n",
    )
    .unwrap();
}

/// What a person's own git does must go on working: the repository's hooks run at a commit in the shell.
pub(super) fn hooks_of_the_agents_own_commit_still_run(victim: &mut Victim) {
    make_repository(victim);
    let seen = victim.run([
        "mkdir -p .git/hooks; printf '#!/bin/sh\\necho hooked > hooked\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; \
         echo x > committed; git add committed; git -c user.name=a -c user.email=a@b commit -qm x; cat hooked",
    ]);
    assert_eq!(seen.result("bash")["result"]["stdout"], "hooked\n");
}

/// OpenCode looks for a repository when it starts an instance, so it has to be started again.
fn make_repository(victim: &Victim) {
    if victim.workspace().join(".git").is_dir() {
        return;
    }
    victim.run(["git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m begin; echo made"]);
    assert!(victim.workspace().join(".git").is_dir());
    victim.restart_engine();
}
