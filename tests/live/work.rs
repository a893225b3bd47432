//! What people do with an agent, in the full sandbox, through the real OpenCode and with real tools. Nothing of it may
//! break. No network is needed.

use std::fmt::Write as _;

use serde_json::Value;

use crate::llm::Turn;
use crate::place::Place;
use crate::support::{Options, skipped};
use crate::world::{World, bash};

/// One piece of work: what it is, commands of one session in their order, and what the last one says.
struct Work {
    name: &'static str,
    commands: &'static [&'static str],
    says: &'static str,
    /// A toolchain in a home of root's, which another user cannot reach.
    root_only: bool,
}

const fn work(name: &'static str, commands: &'static [&'static str], says: &'static str) -> Work {
    Work {
        name,
        commands,
        says,
        root_only: false,
    }
}

const IDENTITY: &str = "git config --global user.email a@b.c && git config --global user.name A \
    && git config --global init.defaultBranch main";

const WORK: &[Work] = &[
    work(
        "git: clone, commit, branch, merge, push",
        &[
            IDENTITY,
            "set -e; mkdir g1 && cd g1; git init -q --bare up.git; git clone -q up.git w 2>/dev/null; cd w; \
             echo a > a; git add a; git commit -qm one; git switch -qc side; echo b > b; git add b; \
             git commit -qm two; git switch -q main; git merge -q side; git push -q origin main; \
             git -C ../up.git log --oneline main | wc -l",
        ],
        "2",
    ),
    work(
        "git: hooks of the repository run by a commit, and stash, worktree, rename",
        &[
            IDENTITY,
            "set -e; git init -q g2 && cd g2; printf '#!/bin/sh\\necho ran > hook.out\\n' > .git/hooks/pre-commit; \
             chmod +x .git/hooks/pre-commit; echo a > a; git add a; git commit -qm one; git mv a b; git stash -q; \
             git stash pop -q; git worktree add -q ../g2w; test -f ../g2w/a; cat hook.out",
        ],
        "ran",
    ),
    work(
        "npm: install of a local folder and run of a script",
        &[
            "set -e; mkdir -p n1/dep n1/app; cd n1; echo '{\"name\":\"dep\",\"version\":\"1.0.0\"}' > dep/package.json; \
             echo 'module.exports=\"from dep\"' > dep/index.js; cd app; \
             echo '{\"name\":\"app\",\"version\":\"1.0.0\",\"scripts\":{\"go\":\"node go.js\"}}' > package.json; \
             echo 'console.log(require(\"dep\"))' > go.js; npm install --offline --no-audit --no-fund ../dep >/dev/null; npm run -s go",
        ],
        "from dep",
    ),
    work(
        "npm: pack, and install of the tarball",
        &[
            "set -e; mkdir -p n2/dep n2/app; cd n2/dep; echo '{\"name\":\"dep\",\"version\":\"2.0.0\",\"bin\":\"x.js\"}' > package.json; \
             printf '#!/usr/bin/env node\\nconsole.log(\"packed\")\\n' > x.js; npm pack --silent >/dev/null",
            "set -e; cd n2/app; npm init -y >/dev/null; npm install --offline --no-audit --no-fund ../dep/dep-2.0.0.tgz >/dev/null; npx --offline dep",
        ],
        "packed",
    ),
    work(
        "python: a venv, and pip install of a local wheel",
        &[
            "set -e; mkdir p1 && cd p1; python3 -m venv v; python3 - <<'EOF'\n\
             import zipfile\n\
             z=zipfile.ZipFile('x-1.0-py3-none-any.whl','w')\n\
             z.writestr('x.py','print(\"from the wheel\")')\n\
             z.writestr('x-1.0.dist-info/METADATA','Metadata-Version: 2.1\\nName: x\\nVersion: 1.0\\n')\n\
             z.writestr('x-1.0.dist-info/WHEEL','Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
             z.writestr('x-1.0.dist-info/RECORD','')\n\
             z.close()\n\
             EOF\n\
             v/bin/pip install -q --no-index --disable-pip-version-check ./x-1.0-py3-none-any.whl; v/bin/python -m x",
        ],
        "from the wheel",
    ),
    work(
        "python: processes that share memory",
        &["python3 - <<'EOF'\n\
             from multiprocessing import Pool, Lock, shared_memory\n\
             m=shared_memory.SharedMemory(create=True,size=8); m.buf[0]=7; Lock()\n\
             print(m.buf[0], sum(Pool(2).map(abs,[-1,-2,-3]))); m.close(); m.unlink()\n\
             EOF"],
        "7 6",
    ),
    Work {
        root_only: true,
        ..work(
            "cargo: build, test and run",
            &[
                "set -e; cargo new -q --vcs none r1 && cd r1; cargo test -q --offline >/dev/null; cargo run -q --offline",
            ],
            "Hello, world!",
        )
    },
    work(
        "make and gcc",
        &[
            "set -e; mkdir c1 && cd c1; printf '#include <stdio.h>\\nint main(){puts(\"compiled\");}\\n' > m.c; \
             printf 'm: m.c\\n\\tgcc -O1 -o m m.c\\n' > Makefile; make -sj2; ./m",
        ],
        "compiled",
    ),
    work(
        "node: threads and processes",
        &[
            "node -e 'const {Worker}=require(\"worker_threads\");const {execFileSync}=require(\"child_process\");\
             new Worker(\"require(\\\"worker_threads\\\").parentPort.postMessage(1)\",{eval:true})\
             .on(\"message\",m=>console.log(\"worker\",m,execFileSync(\"echo\",[\"x\"]).toString().trim()))'",
        ],
        "worker 1 x",
    ),
    work(
        "a dev server that a later command calls",
        &[
            "mkdir s1; cd s1; echo served > index.html; python3 -u -m http.server 0 --bind 127.0.0.1 > log 2>&1 & \
             for i in $(seq 200); do grep -q port s1/log 2>/dev/null && break; sleep 0.05; done",
            "curl -s http://127.0.0.1:$(grep -o 'port [0-9]*' s1/log | cut -c6-)/",
        ],
        "served",
    ),
    work(
        "a background job that a later command looks at and ends",
        &[
            "sleep 1500 > /dev/null 2>&1 & echo $! > job.pid",
            "p=$(cat job.pid); kill -0 $p && ps -o args= -p $p && kill $p && while kill -0 $p 2>/dev/null; do sleep 0.05; done; echo ended",
        ],
        "sleep 1500\nended",
    ),
    work(
        "nohup, a new session and an orphan live on within the session",
        &[
            "nohup sleep 1501 >/dev/null 2>&1 & setsid sleep 1502 >/dev/null 2>&1 & (setsid sleep 1503 >/dev/null 2>&1 &); echo on",
            "pgrep -fxc 'sleep 150[123]'; pkill -fx 'sleep 150[123]'",
        ],
        "3",
    ),
    work(
        "pipes, here-documents and process substitution",
        &[
            "set -o pipefail; diff <(printf 'a\\nb\\n') <(cat <<EOF\na\nb\nEOF\n) && seq 100000 | sort -rn | head -1 | tee out.txt; \
             mkfifo f; (echo through > f &); cat f",
        ],
        "100000\nthrough",
    ),
    work(
        "devices, and the standard streams by name",
        &[
            "set -e; echo gone > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
             (echo out > /dev/stdout) | cat; (echo x > /dev/full) 2>/dev/null || echo full; \
             script -qc 'tty >/dev/null && echo terminal' /dev/null < /dev/null | tr -d '\\r'",
        ],
        "4\n4\nout\nfull\nterminal",
    ),
    work(
        "temporary files, shared memory and a home",
        &[
            "set -e; t=$(mktemp); d=$(mktemp -d); echo x > $t; install $t $d/y; ln $d/y $d/z; head $d/z; unlink $t; \
             echo x > /dev/shm/work.$$; unlink /dev/shm/work.$$; install -d ~/.config/x; echo home > ~/.config/x/y; head ~/.config/x/y",
        ],
        "x\nhome",
    ),
    work(
        "sockets: unix by path, unix abstract, and loopback",
        &["python3 - <<'EOF'\n\
             import socket,threading\n\
             for family,name in [(socket.AF_UNIX,'u.sock'),(socket.AF_UNIX,'\\0work'),(socket.AF_INET,('127.0.0.1',0))]:\n\
             \x20 s=socket.socket(family); s.bind(name); s.listen()\n\
             \x20 threading.Thread(target=lambda: s.accept()[0].send(b'ok')).start()\n\
             \x20 c=socket.socket(family); c.connect(s.getsockname()); print(c.recv(9).decode())\n\
             EOF"],
        "ok\nok\nok",
    ),
    work(
        "archives with foreign owners",
        &[
            "set -e; mkdir t1 && cd t1; echo x > a; tar --owner=12345 --group=12345 -czf a.tgz a; rm a; tar xzf a.tgz; cat a",
        ],
        "x",
    ),
    work(
        "find, grep, sed, awk, xargs, and rename, links, modes across folders",
        &[
            "set -e; mkdir -p f1/a f1/b; cd f1; for i in 1 2 3; do echo line$i > a/$i.txt; done; mv a/1.txt b/; \
             ln -s ../a/2.txt b/l; ln a/3.txt b/h; chmod 600 b/h; touch -d '2020-01-01' b/h; sed -i s/line/word/ a/2.txt; \
             find . -type f -name '*.txt' | sort | xargs -P2 -n1 cat | sort | awk '{print NR\":\"$1}'; rm -r b",
        ],
        "1:line1\n2:line3\n3:word2",
    ),
    work(
        "signals, traps and time limits",
        &[
            "trap 'echo trapped' USR1; kill -USR1 $$; timeout 0.2 sleep 60; echo $?; bash -c 'kill -9 $$'; echo $?; \
             sleep 60 & kill %1; wait; kill -0 $$ && echo alive",
        ],
        "trapped\n124\n137\nalive",
    ),
    work(
        "looking at the system",
        &[
            "set -e; uname -s; id -u >/dev/null; ps aux >/dev/null; nproc >/dev/null; df . >/dev/null; getent hosts localhost >/dev/null; \
             grep -q NAME /etc/os-release; find /etc -maxdepth 1 >/dev/null; date +%Z >/dev/null; env | grep -c '^PATH='",
        ],
        "Linux\n1",
    ),
    work(
        "much output, and sqlite",
        &[
            "seq 20000; python3 -c 'import sqlite3;c=sqlite3.connect(\"d.db\");c.execute(\"pragma journal_mode=wal\");\
             c.execute(\"create table t(x)\");c.execute(\"insert into t values(42)\");c.commit();print(c.execute(\"select x from t\").fetchone()[0])' > n; cat n >&2; \
             exit 3",
        ],
        "",
    ),
];

/// What the commands of one piece of work came to.
fn run(world: &World, number: usize, work: &Work) -> Result<(), String> {
    let id = format!("work-{number}");
    let turns = work
        .commands
        .iter()
        .map(|command| Turn::new().tool("bash", bash(command)))
        .chain([Turn::new().text("done")]);
    let seen = world.run(&id, turns);
    let results: Vec<&Value> = seen.of("tool_result").collect();
    let last = &results.last().ok_or("no result")?["result"];
    let said = last["stdout"].as_str().unwrap_or_default().trim();
    let told = |what: &str| {
        let mut text = format!("{}: {what}", work.name);
        for result in &results {
            write!(text, "\n  {}", result["result"]).unwrap();
        }
        Err(text)
    };
    if work.says.is_empty() {
        return if last["exit_code"] == 3 {
            Ok(())
        } else {
            told("not its exit code")
        };
    }
    // A result holds what went to both streams.
    if last["exit_code"] == 0
        && work
            .says
            .lines()
            .all(|line| said.lines().any(|had| had == line))
    {
        Ok(())
    } else {
        told(&format!("it did not say {:?}", work.says))
    }
}

fn everything(place: Place) {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the namespaces this needs");
        return;
    }
    let mut options = Options::real();
    if !place.root {
        options = options.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    }
    let world = World::around(place.start(options));
    assert_eq!(
        world.engine()["sandbox"]["level"],
        "full",
        "{}",
        world.engine()
    );
    let done = WORK
        .iter()
        .enumerate()
        .filter(|(_, work)| place.root || !work.root_only);
    let broken: Vec<String> = done
        .filter_map(|(number, work)| run(&world, number, work).err())
        .collect();
    assert!(
        broken.is_empty(),
        "as {place}, this is broken:\n{}",
        broken.join("\n")
    );
}

#[test]
fn what_people_do_works_in_the_sandbox_as_root() {
    everything(Place {
        root: true,
        first: false,
        sandbox: true,
    });
}

#[test]
fn what_people_do_works_in_the_sandbox_as_nobody_under_process_1() {
    everything(Place {
        root: false,
        first: true,
        sandbox: true,
    });
}
