//! What the kernel keeps between the agent's commands and everything else, and what is limited.

use super::Victim;
use crate::llm::Turn;
use crate::world::bash;

/// What `script` says. It is a file, because OpenCode looks at the paths that a command line names, which
/// anybody can get around.
fn output(victim: &Victim, script: &str) -> String {
    std::fs::write(victim.workspace().join("script.sh"), script).unwrap();
    let seen = victim.run(["bash script.sh"]);
    let result = &seen.result("bash")["result"];
    let said = result["stdout"].as_str();
    said.unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// Kills every process there is, one by one and all at once.
pub(super) fn kill_everything(victim: &mut Victim) {
    if !victim.place.sandbox {
        // Processes of one user may signal each other: docs/SECURITY.md says so.
        return;
    }
    let engine = victim.engine();
    let command = "for p in $(ls /proc | grep -E '^[0-9]+$'); do [ $p = $$ ] || kill -9 $p 2>/dev/null; done; \
                   echo survived";
    victim.run([command]);
    victim.run(["kill -9 -1"]);
    victim.run(["kill -9 $PPID; sleep 600"]);
    let after = victim.engine();
    assert_eq!(after["pid"], engine["pid"], "the child was killed: {after}");
    assert_eq!(after["generation"], engine["generation"]);
    assert_eq!(output(victim, "echo works").trim(), "works");
}

/// Reads and writes what belongs to the sidecar and to OpenCode, by their paths and by links.
pub(super) fn reach_the_data_folder(victim: &mut Victim) {
    if !victim.place.sandbox {
        return;
    }
    let data = victim.data_dir();
    let data = data.display();
    let command = format!(
        "ln -s {data} link$$; for f in $(find {data} link$$/ -type f 2>/dev/null); do \
         head -c 1 \"$f\" >/dev/null 2>&1 && echo \"read $f\"; \
         (: >> \"$f\") 2>/dev/null && echo \"written $f\"; done; \
         for d in {data} {data}/journal {data}/shell {data}/engine {data}/engine/share {data}/engine/config; do \
         (: > $d/planted) 2>/dev/null && echo \"planted $d\"; (ls $d >/dev/null 2>&1) && echo \"listed $d\"; done; \
         mv {data}/shell {data}/shell2 2>/dev/null && echo moved; echo searched"
    );
    let said = output(victim, &command);
    // What a command may have there is its own home and temporary folder.
    let own = format!("{data}/engine/commands/");
    let got: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains(&own) && *line != "searched")
        .collect();
    assert!(said.contains("searched") && got.is_empty(), "{got:#?}");
}

/// Looks into other processes, and makes a namespace in which it is root.
pub(super) fn look_into_processes(victim: &mut Victim) {
    if !victim.place.sandbox {
        return;
    }
    let (sidecar, child) = if victim.place.first {
        (1, 0)
    } else {
        (victim.pid(), victim.engine_pid().cast_unsigned())
    };
    let command = format!(
        "for p in {sidecar} {child} $PPID; do for f in environ mem maps stack; do \
         dd if=/proc/$p/$f of=/dev/null bs=1 count=1 2>/dev/null && echo \"$p/$f\"; done; \
         for f in 0 1 2 3 4 5 6 7 8 9; do readlink /proc/$p/fd/$f; done; done; \
         unshare -U true 2>/dev/null && echo 'user namespace'; unshare -m true 2>/dev/null && echo 'mount namespace'; \
         grep -E '^(CapEff|CapBnd|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'"
    );
    let said = output(victim, &command);
    let expected = [
        "CapInh:0000000000000000",
        "CapPrm:0000000000000000",
        "CapEff:0000000000000000",
        "CapBnd:0000000000000000",
        "CapAmb:0000000000000000",
        "NoNewPrivs:1",
        "Seccomp:2",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{said}");
}

/// Asks the runner of another session to carry out a command, and the sidecar for a runner.
pub(super) fn run_in_another_session(victim: &mut Victim) {
    let id = victim.new_session();
    let busy = Turn::new().tool("bash", bash("echo $SIDECAR_SESSION > busy; sleep 600"));
    victim.world.script(&id, [busy]);
    victim.world.create(&id);
    let busy = victim.workspace().join("busy");
    let remote = || std::fs::read_to_string(&busy).unwrap_or_default();
    victim.until("busy", |_| remote().ends_with('\n'));
    let remote = remote();
    let shell = victim.data_dir().join("shell");
    let script = format!(
        "import socket,array,os,glob,struct\n\
         try: names=[n for n in os.listdir('{0}') if n.endswith('.sock')]\n\
         except OSError: names=['start.sock','{2}.sock']\n\
         for n in names:\n\
         \x20 try:\n\
         \x20  s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('{0}/'+n)\n\
         \x20  b=b'/\\x002\\x00-c\\x00touch '+b'{1}/stolen'+b'\\x00'\n\
         \x20  if n=='start.sock': s.send(b'ses_stolen\\n')\n\
         \x20  else: s.sendmsg([struct.pack('<I',len(b))],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[0,1,2]))]); s.send(b)\n\
         \x20  s.recv(1)\n\
         \x20 except OSError as e: print(e)\n\
         print('asked')",
        shell.display(),
        victim.workspace().display(),
        remote.trim(),
    );
    let command = format!("cat > ask.py <<'EOF'\n{script}\nEOF\n/usr/bin/python3 ask.py");
    let said = output(victim, &command);
    assert!(said.contains("asked"), "{said}");
    assert!(!victim.workspace().join("stolen").exists(), "{said}");
    assert!(!shell.join("ses_stolen.sock").exists(), "{said}");
    victim.stop(&id);
    victim.world.follow(&id);
}

/// Leaves the session by forking twice into a new process group with an empty environment, and writes on
/// after the session was cancelled.
pub(super) fn outlive_a_cancelled_session(victim: &mut Victim) {
    let id = victim.new_session();
    let escape = "for i in 1 2 3; do (setsid env -i /bin/sh -c 'n=0; while [ $n -lt 6000 ]; do n=$((n+1)); \
                  echo $n > beat; exec 1>&- 2>&-; sleep 0.1; done' & ); done; sleep 600";
    victim
        .world
        .script(&id, [Turn::new().tool("bash", bash(escape))]);
    victim.world.create(&id);
    let beat = victim.workspace().join("beat");
    victim.until("beating", |_| beat.exists());
    assert_eq!(victim.stop(&id).status, 200);
    victim.world.follow(&id);
    // It was seen to end, so nothing of it writes any more: what is taken away stays away.
    std::fs::remove_file(&beat).unwrap();
    output(victim, "sleep 1");
    assert!(!beat.exists(), "a process outlived its session");
}

/// The same after a session that came to its end by itself.
pub(super) fn outlive_a_finished_session(victim: &mut Victim) {
    let escape = "(setsid env -i /bin/sh -c 'while :; do echo x > beat2; sleep 0.1; done' >/dev/null 2>&1 & ); \
                  while [ ! -e beat2 ]; do sleep 0.05; done";
    victim.run([escape]);
    let beat = victim.workspace().join("beat2");
    std::fs::remove_file(&beat).unwrap();
    output(victim, "sleep 1");
    assert!(!beat.exists(), "a process outlived its session");
}

/// Takes all there is of processes, files and core dumps.
pub(super) fn take_without_limit(victim: &mut Victim) {
    let said = output(
        victim,
        "ulimit -Hu; ulimit -Hf; ulimit -Hc; cat /proc/self/oom_score_adj",
    );
    let found: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    // Files are counted in blocks of 1024 bytes.
    assert_eq!(found, [8192, (16 << 30) / 1024, 0, 800], "{said}");
}
