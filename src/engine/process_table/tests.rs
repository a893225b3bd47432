use super::*;

fn pid(n: i32) -> Pid {
    Pid::from_raw(n).unwrap()
}

fn process(n: i32, parent: i32, marked: bool) -> Process {
    Process {
        pid: pid(n),
        parent: Pid::from_raw(parent),
        zombie: false,
        started: 0,
        marked,
    }
}

fn numbers(found: &[Process]) -> Vec<i32> {
    found
        .iter()
        .map(|process| process.pid.as_raw_nonzero().get())
        .collect()
}

/// 1 init; 10 the sidecar; 20 the child with its tool 21 and that one's child 22;
/// 30 an orphan that came to us, with a child 31; 40 marked but with init; 50 a stranger.
fn pod() -> Vec<Process> {
    vec![
        process(1, 0, false),
        process(31, 30, false),
        process(22, 21, true),
        process(10, 1, false),
        process(20, 10, true),
        process(21, 20, true),
        process(30, 10, false),
        process(40, 1, true),
        process(50, 1, false),
    ]
}

#[test]
fn with_a_living_child_only_what_escaped_from_it_is_left_over() {
    assert_eq!(
        numbers(&leftovers(&pod(), pid(10), Some(pid(20)), &[])),
        [31, 30, 40]
    );
}

#[test]
fn without_a_child_everything_of_ours_is_left_over_and_nothing_else() {
    assert_eq!(
        numbers(&leftovers(&pod(), pid(10), None, &[])),
        [31, 22, 20, 21, 30, 40]
    );
}

#[test]
fn what_was_there_before_us_is_spared_unless_it_is_marked() {
    let earlier = earlier(&pod(), pid(10));
    assert_eq!(numbers(&earlier), [31, 30]);
    let pids: Vec<Pid> = earlier.iter().map(|process| process.pid).collect();
    assert_eq!(
        numbers(&leftovers(&pod(), pid(10), None, &pids)),
        [22, 20, 21, 40]
    );
    let mut marked = pod();
    for process in &mut marked {
        process.marked = true;
    }
    assert_eq!(
        leftovers(&marked, pid(10), None, &pids).len(),
        marked.len() - 1
    );
}

#[test]
fn a_session_ends_by_descent_and_orphans_end_with_it() {
    // 60 and 61 run commands of two sessions; 60's is 62.
    let mut all = pod();
    all.extend([
        process(60, 10, false),
        process(61, 10, false),
        process(62, 60, false),
    ]);
    let found = |ended: &[i32], kept: &[i32]| {
        let pids = |numbers: &[i32]| numbers.iter().map(|n| pid(*n)).collect::<Vec<_>>();
        numbers(&descendants(&all, pid(10), &pids(ended), &pids(kept)))
    };
    assert_eq!(found(&[60], &[20, 61, 30]), [60, 62]);
    assert_eq!(
        found(&[], &[20, 61, 60]),
        [31, 30],
        "an orphan and its child"
    );
}

#[test]
fn a_mark_is_matched_whole() {
    let marks = [our_mark("fd-12")];
    let environ = |pair: &str| format!("A=1\0{pair}\0B=2").into_bytes();
    assert!(has_mark(&environ("SIDECAR_CHILD_OF=fd-12"), &marks));
    for other in [
        "SIDECAR_CHILD_OF=fd-123",
        "SIDECAR_CHILD_OF=fd-1",
        "XSIDECAR_CHILD_OF=fd-12",
    ] {
        assert!(!has_mark(&environ(other), &marks), "{other}");
    }
}

#[test]
fn a_name_with_brackets_and_blanks_is_no_trap() {
    let fields: Vec<String> = (4..40).map(|n| n.to_string()).collect();
    let stat = format!("7 (a) Z) b) S 3 {}", fields.join(" "));
    let found = parse_stat(pid(7), &stat).unwrap();
    assert_eq!(
        found,
        Process {
            pid: pid(7),
            parent: Some(pid(3)),
            zombie: false,
            started: 21,
            marked: false
        }
    );
}

#[test]
fn we_find_ourselves() {
    let me = rustix::process::getpid();
    assert!(read(&[]).iter().any(|process| process.pid == me));
    assert!(resident_bytes(me).unwrap() > 100_000);
}

#[test]
fn what_descends_from_us_is_weighed_and_what_was_here_earlier_is_not() {
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let earlier_process = one(Pid::from_child(&sleeper)).unwrap();
    let later = Process {
        started: earlier_process.started + 1,
        ..earlier_process
    };
    let weights = [&[][..], &[later][..], &[earlier_process][..]].map(offspring_bytes);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(weights[0] > 0 && weights[2] < weights[0], "{weights:?}");
    assert!(
        weights[1] > weights[2],
        "its number alone is not it: {weights:?}"
    );
}
