use proptest::prelude::*;

use super::*;

/// A cgroup tree made of files.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(membership: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("membership"), membership).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir }
    }

    /// Writes the files of one cgroup: `(name, text)`.
    fn cgroup(&self, path: &str, files: &[(&str, &str)]) -> &Self {
        let dir = self.dir.path().join("root").join(path);
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        self
    }

    fn v2(&self, path: &str, max: &str, current: &str, stat: &str) -> &Self {
        self.cgroup(
            path,
            &[
                ("memory.max", max),
                ("memory.current", current),
                ("memory.stat", stat),
            ],
        )
    }

    fn v1(&self, path: &str, limit: &str, usage: &str, stat: &str) -> &Self {
        self.cgroup(
            path,
            &[
                ("memory.limit_in_bytes", limit),
                ("memory.usage_in_bytes", usage),
                ("memory.stat", stat),
            ],
        )
    }

    fn look(&self) -> Option<Memory> {
        self.places(None).look()
    }

    fn places(&self, tree_limit: Option<u64>) -> Places {
        Places {
            membership: self.dir.path().join("membership"),
            root: self.dir.path().join("root"),
            tree_limit,
            earlier: Vec::new(),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what a look finds")]
const fn v2(used: u64, limit: u64) -> Option<Memory> {
    Some(Memory {
        used,
        limit,
        source: Source::CgroupV2,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what a look finds")]
const fn v1(used: u64, limit: u64) -> Option<Memory> {
    Some(Memory {
        used,
        limit,
        source: Source::CgroupV1,
    })
}

const STAT: &str = "anon 500\nfile 300\ninactive_file 200\nactive_file 100\n";

#[test]
fn a_container_that_sees_itself_as_the_root_of_v2() {
    let fixture = Fixture::new("0::/\n");
    fixture.v2("", "1000\n", "900\n", STAT);
    assert_eq!(fixture.look(), v2(700, 1000), "as the kubelet counts");
}

#[test]
fn a_path_of_the_host_that_is_not_there_is_the_root() {
    for path in ["/kubepods.slice/pod1/container1", "/../../other"] {
        let fixture = Fixture::new(&format!("0::{path}\n"));
        fixture.v2("", "1000", "900", STAT);
        assert_eq!(fixture.look(), v2(700, 1000), "{path}");
    }
}

#[test]
fn of_nested_limits_the_nearest_counts() {
    let fixture = Fixture::new("0::/pod/container/init\n");
    fixture
        .v2("pod", "1000", "950", "inactive_file 0\n")
        .v2("pod/container", "500", "400", "inactive_file 0\n")
        .v2("pod/container/init", "max", "390", "inactive_file 0\n");
    assert_eq!(fixture.look(), v2(950, 1000));
    fixture.v2("pod", "10000", "950", "inactive_file 0\n");
    assert_eq!(fixture.look(), v2(400, 500));
    fixture.v2("pod/container", "max\n", "400", "");
    assert_eq!(fixture.look(), v2(950, 10_000));
}

#[test]
fn v1_alone_and_beside_an_empty_v2() {
    let own = "12:cpu,cpuacct:/x\n4:memory:/docker/one\n0::/docker/one\n";
    let stat = "cache 1\ntotal_cache 300\ninactive_file 1\ntotal_inactive_file 200\n";
    let fixture = Fixture::new(own);
    fixture.v1("memory/docker/one", "1000\n", "900\n", stat);
    assert_eq!(fixture.look(), v1(700, 1000));
    // Docker shows a container its own as the root.
    let inside = Fixture::new(own);
    inside.v1("memory", "1000\n", "900\n", stat);
    assert_eq!(inside.look(), v1(700, 1000));
    inside.v1("memory", "9223372036854771712\n", "900\n", stat);
    assert_eq!(inside.look(), None, "the huge number is no limit");
}

#[test]
fn no_limit_no_files_and_garbage_are_no_limit() {
    for (max, current) in [
        ("max\n", "900\n"),
        ("0\n", "900\n"),
        ("-1\n", "900\n"),
        ("many\n", "900\n"),
        ("99999999999999999999999\n", "900\n"),
        ("", ""),
        ("1000\n", "plenty\n"),
    ] {
        let fixture = Fixture::new("0::/\n");
        fixture.v2("", max, current, STAT);
        assert_eq!(fixture.look(), None, "{max:?} {current:?}");
    }
    for membership in ["", "0::/\n", "garbage", "4:memory:/a\n", "::::\n", "0:\n"] {
        assert_eq!(Fixture::new(membership).look(), None, "{membership:?}");
    }
    let nowhere = Places {
        membership: "/nowhere/cgroup".into(),
        root: "/nowhere".into(),
        tree_limit: None,
        earlier: Vec::new(),
    };
    assert_eq!(nowhere.look(), None);
}

#[test]
fn a_stat_that_does_not_help_takes_nothing_off() {
    let fixture = Fixture::new("0::/\n");
    for stat in [
        "",
        "inactive_file\n",
        "inactive_file x\n",
        "inactive_file_x 5\n",
    ] {
        fixture.v2("", "1000", "900", stat);
        assert_eq!(fixture.look(), v2(900, 1000), "{stat:?}");
    }
    fixture.v2("", "1000", "900", "inactive_file 5000\n");
    assert_eq!(fixture.look(), v2(0, 1000), "never below nought");
    fs::remove_file(fixture.dir.path().join("root/memory.stat")).unwrap();
    assert_eq!(fixture.look(), v2(900, 1000));
}

#[test]
fn a_limit_that_changes_is_the_new_one_at_the_next_look() {
    let fixture = Fixture::new("0::/\n");
    fixture.v2("", "max", "900", "");
    assert_eq!(fixture.look(), None);
    fixture.v2("", "1000", "900", "");
    assert_eq!(fixture.look(), v2(900, 1000));
    fixture.v2("", "2000", "900", "");
    assert_eq!(fixture.look(), v2(900, 2000));
}

#[test]
fn the_stricter_of_cgroup_and_process_tree_counts() {
    let fixture = Fixture::new("0::/\n");
    fixture.v2("", "1000", "900", "");
    let look = |tree_limit| fixture.places(Some(tree_limit)).look();
    assert_eq!(look(1 << 50), v2(900, 1000), "nothing of it is used");
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let tree = look(1).unwrap();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!((tree.source, tree.limit), (Source::ProcessTree, 1));
    assert!(tree.used > 0);
}

#[test]
fn the_pressure_rises_at_its_marks() {
    let pressure = |used, limit| v2(used, limit).unwrap().pressure();
    let table = [
        (0, Pressure::Normal),
        (849, Pressure::Normal),
        (850, Pressure::High),
        (949, Pressure::High),
        (950, Pressure::Critical),
        (979, Pressure::Critical),
        (980, Pressure::Extreme),
        (5000, Pressure::Extreme),
    ];
    for (used, expected) in table {
        assert_eq!(pressure(used, 1000), expected, "{used}");
    }
    assert_eq!(pressure(u64::MAX, u64::MAX), Pressure::Extreme);
}

proptest! {
    #[test]
    fn no_file_makes_it_panic_or_divide_by_nought(
        membership in "(0::|4:memory:)?[/.a:\\n]{0,12}",
        texts in proptest::collection::vec("[0-9a-z \\n-]{0,24}", 6),
    ) {
        let fixture = Fixture::new(&membership);
        fixture.v2("", &texts[0], &texts[1], &texts[2]);
        fixture.v1("memory", &texts[3], &texts[4], &texts[5]);
        if let Some(memory) = fixture.look() {
            prop_assert!(memory.limit > 0);
            memory.pressure();
        }
    }
}
