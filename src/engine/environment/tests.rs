use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

#[test]
fn nothing_but_the_sessions_outlives_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path(), None);
    home.prepare().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    let planted = [
        "home/.opencode/plugin/evil.js",
        "config/opencode/plugin/evil.js",
        "state/x",
        "cache/x",
        "tmp/x",
        "unknown/x",
        "share/x",
        "share/opencode/auth.json",
        "share/opencode/opencode.db-shm",
        "share/opencode/log/opencode.log",
        "share/opencode/snapshot/a/b/config",
        "share/opencode/tool-output/tool_1",
    ];
    let kept = [
        "share/opencode/opencode.db",
        "share/opencode/opencode.db-wal",
    ];
    for file in planted.iter().chain(&kept) {
        let file = home.root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::set_permissions(home.path("unknown"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_dir_all(home.path("state")).unwrap();
    std::os::unix::fs::symlink(&outside, home.path("state")).unwrap();

    home.prepare().unwrap();
    for file in planted {
        assert!(!home.root.join(file).exists(), "{file}");
    }
    for file in kept {
        assert!(home.path(file).exists(), "{file}");
    }
    assert!(outside.join("kept").exists(), "no link is followed");
}

#[test]
fn a_database_that_is_elsewhere_too_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal.db");
    fs::write(&journal, "journal").unwrap();
    let home = Home::new(dir.path(), None);
    let database = home.path("share/opencode/opencode.db");
    for link in [
        std::os::unix::fs::symlink::<PathBuf, PathBuf>,
        fs::hard_link,
    ] {
        home.prepare().unwrap();
        link(journal.clone(), database.clone()).unwrap();
        home.prepare().unwrap();
        assert!(fs::symlink_metadata(&database).is_err());
    }
    fs::remove_dir_all(home.path("share")).unwrap();
    let other = dir.path().join("other/opencode");
    fs::create_dir_all(&other).unwrap();
    std::os::unix::fs::symlink(dir.path().join("other"), home.path("share")).unwrap();
    home.prepare().unwrap();
    assert!(!home.path("share").is_symlink());
    assert_eq!(fs::read_to_string(&journal).unwrap(), "journal");
    assert!(other.exists());
}

#[test]
fn the_error_names_the_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("engine"), "").unwrap();
    let error = Home::new(dir.path(), None).prepare().unwrap_err();
    let path = dir.path().join("engine");
    assert_eq!(
        error.to_string(),
        format!("{}: file exists", path.display())
    );
}

#[tokio::test]
async fn no_second_preparation_begins_before_the_first_is_back() {
    let mut preparation = Preparation::default();
    let (stuck_tx, stuck_rx) = channel::<()>();
    let (began_tx, began_rx) = channel();
    let first = preparation.run(move || {
        stuck_rx.recv().ok();
        Ok(())
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(10), first)
            .await
            .is_err()
    );
    let second = preparation.run(move || {
        began_tx.send(()).unwrap();
        Ok(())
    });
    let mut second = std::pin::pin!(second);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut second)
            .await
            .is_err()
    );
    assert!(began_rx.try_recv().is_err(), "the first still runs");
    drop(stuck_tx);
    second.await.unwrap().unwrap();
    assert!(began_rx.try_recv().is_ok());
}
