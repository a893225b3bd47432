//! What an agent leaves for the next child.

use std::fs;

use rusqlite::Connection;

use super::Victim;
use crate::llm::Turn;
use crate::support::processes;
use crate::world::bash;

/// Rows of the session database that are no session: OpenCode would fetch its configuration from the
/// address of an account that is signed in, and run a trigger's statements.
pub(super) fn plant_an_account_in_the_database(victim: &mut Victim) {
    victim.post("/engine/stop", "");
    victim.until("stopped", |sidecar| sidecar.engine()["state"] == "stopped");
    let path = victim.data_dir().join("engine/share/opencode/opencode.db");
    let owner = fs::metadata(&path).unwrap();
    let sessions = {
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "INSERT INTO account (id, email, url, access_token, refresh_token, time_created, time_updated)
                   VALUES ('a', 'a@b', 'http://127.0.0.1:9', 't', 't', 1, 1);
                 INSERT OR REPLACE INTO account_state (id, active_account_id, active_org_id) VALUES (1, 'a', 'o');
                 CREATE TRIGGER planted AFTER INSERT ON session BEGIN DELETE FROM message; END;",
            )
            .unwrap();
        count(&database, "SELECT count(*) FROM session")
    };
    for suffix in ["", "-wal", "-shm"] {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let file = format!("{}{suffix}", path.display());
        if fs::exists(&file).unwrap() {
            chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
    }
    victim.start_engine("start");
    let database = Connection::open(&path).unwrap();
    for planted in [
        "SELECT count(*) FROM account",
        "SELECT count(*) FROM account_state",
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
    ] {
        assert_eq!(count(&database, planted), 0, "{planted}");
    }
    assert!(
        count(&database, "SELECT count(*) FROM session") >= sessions,
        "sessions stay"
    );
}

fn count(database: &Connection, query: &str) -> i64 {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

/// Twelve processes that replace themselves wait for the next child's secrets while the present one dies.
pub(super) fn outrun_the_sweep(victim: &mut Victim) {
    let id = victim.new_session();
    let script = victim.workspace().join("hostile.pl");
    fs::write(&script, processes::SELF_REPLACING).unwrap();
    let command = format!("setsid perl hostile.pl {id} > /dev/null 2>&1 < /dev/null; sleep 20");
    let generation = victim.engine()["generation"].as_u64().unwrap();
    victim.script(
        &id,
        [
            Turn::new().tool("bash", bash(&command)),
            Turn::new().text("done"),
        ],
    );
    victim.create(&id);
    victim.until("hostile", |_| processes::running(&id).len() >= 6);
    // Not by a call: without a secret the sidecar refuses those whose owner it cannot tell, and among such
    // processes that takes long.
    let bin = victim.data_dir().parent().unwrap().join("opencode");
    for pid in processes::running(&format!("{}\0serve", bin.display())) {
        processes::kill(pid);
    }
    victim.until("replaced", |sidecar| {
        let status = sidecar.get("/engine/status");
        status.status == 200
            && status.json()["generation"].as_u64().unwrap() > generation
            && sidecar.get("/ready").status == 200
    });
    let left = processes::running(&id);
    for pid in &left {
        processes::kill(*pid);
    }
    assert!(left.is_empty(), "{left:?} outlived the child");
    victim.follow(&id);
    fs::remove_file(script).unwrap();
}
