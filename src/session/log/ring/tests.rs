use super::*;

const EVERYTHING: bool = true;
const NO_REASONING: bool = false;

fn ring(events: usize, bytes: usize) -> Ring {
    Ring::after(
        0,
        Epoch::parse("abcdefghij").unwrap(),
        Limits { events, bytes },
    )
}

fn frame(seq: u64) -> String {
    format!("event: k\nid: abcdefghij-{seq}\ndata: {seq}\n\n")
}

fn frames(seqs: impl IntoIterator<Item = u64>) -> Bytes {
    seqs.into_iter().map(frame).collect::<String>().into()
}

fn push(ring: &mut Ring, hidden: bool) -> u64 {
    let data = ring.active.index.next().to_string();
    ring.push("k", &data, hidden).0
}

#[test]
fn a_reader_that_is_behind_gets_many_frames_in_one_slice_of_the_segment() {
    let mut ring = ring(4096, 8 << 20);
    for _ in 0..100 {
        push(&mut ring, false);
    }
    ring.seal();
    let Read::Frames { bytes, last } = ring.read(40, 100, EVERYTHING) else {
        panic!("all is kept")
    };
    assert_eq!((&bytes, last), (&frames(41..=100), 100));
    let segment = &ring.sealed[0].frames;
    assert!(
        segment.as_ptr_range().contains(&bytes.as_ptr()),
        "the bytes are the segment's own"
    );
}

#[test]
fn live_readers_share_one_copy_of_what_is_new() {
    let mut ring = ring(4096, 8 << 20);
    push(&mut ring, false);
    push(&mut ring, false);
    let slices: Vec<_> = (0..3)
        .map(|_| match ring.read(1, 2, EVERYTHING) {
            Read::Frames { bytes, last: 2 } => bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(slices[0], frames(2..=2));
    assert!(
        slices
            .iter()
            .all(|slice| slice.as_ptr() == slices[0].as_ptr())
    );
}

#[test]
fn a_reader_behind_the_shared_piece_gets_a_copy_from_its_own_place() {
    let mut ring = ring(4096, 8 << 20);
    for _ in 0..5 {
        push(&mut ring, false);
    }
    for after in [3, 1, 4, 0, 2] {
        let expected = Read::Frames {
            bytes: frames(after + 1..=5),
            last: 5,
        };
        assert_eq!(ring.read(after, 5, EVERYTHING), expected);
    }
    push(&mut ring, false);
    assert_eq!(
        ring.read(0, 6, EVERYTHING),
        Read::Frames {
            bytes: frames(1..=6),
            last: 6
        }
    );
}

#[test]
fn nothing_past_the_published_head_is_read() {
    let mut ring = ring(4096, 8 << 20);
    for _ in 0..5 {
        push(&mut ring, false);
    }
    assert_eq!(
        ring.read(1, 3, EVERYTHING),
        Read::Frames {
            bytes: frames(2..=3),
            last: 3
        }
    );
    ring.seal();
    assert_eq!(
        ring.read(1, 3, EVERYTHING),
        Read::Frames {
            bytes: frames(2..=3),
            last: 3
        }
    );
}

#[test]
fn reasoning_is_skipped_without_copying_the_rest() {
    let mut ring = ring(4096, 8 << 20);
    for seq in 1..=9 {
        push(&mut ring, (4..=6).contains(&seq));
    }
    for _ in 0..2 {
        assert_eq!(
            ring.read(0, 9, EVERYTHING),
            Read::Frames {
                bytes: frames(1..=9),
                last: 9
            }
        );
        assert_eq!(
            ring.read(0, 9, NO_REASONING),
            Read::Frames {
                bytes: frames(1..=3),
                last: 3
            }
        );
        assert_eq!(
            ring.read(3, 9, NO_REASONING),
            Read::Frames {
                bytes: frames(7..=9),
                last: 9
            }
        );
        assert_eq!(ring.read(3, 5, NO_REASONING), Read::Skipped { last: 5 });
        assert_eq!(ring.read(5, 6, NO_REASONING), Read::Skipped { last: 6 });
        ring.seal();
    }
}

#[test]
fn the_count_bound_holds_and_the_oldest_go_first() {
    let mut ring = ring(16, 8 << 20);
    for _ in 0..100 {
        push(&mut ring, false);
        assert!(ring.events() <= 16);
    }
    let oldest = ring.oldest();
    assert!(
        (85..=87).contains(&oldest),
        "no more is given back than one segment: {oldest}"
    );
    assert_eq!(
        ring.read(oldest - 2, 100, EVERYTHING),
        Read::Evicted { oldest }
    );
    assert!(matches!(
        ring.read(oldest - 1, 100, EVERYTHING),
        Read::Frames { .. }
    ));
}

#[test]
fn the_byte_bound_holds() {
    let mut ring = ring(4096, 64 * 1024);
    let data = "x".repeat(1000);
    for _ in 0..1000 {
        ring.push("k", &data, false);
        assert!(ring.bytes() <= 64 * 1024);
    }
    assert!(ring.bytes() > 48 * 1024);
}

#[test]
fn an_event_larger_than_the_bound_is_kept_alone() {
    let mut ring = ring(4096, 1024);
    push(&mut ring, false);
    ring.push("k", &"x".repeat(5000), false);
    assert_eq!(ring.oldest(), 2);
    push(&mut ring, false);
    assert_eq!((ring.oldest(), ring.events()), (3, 1));
}

#[test]
fn giving_everything_back_leaves_the_numbers_as_they_were() {
    let mut ring = ring(4096, 8 << 20);
    push(&mut ring, false);
    ring.seal();
    assert!(ring.evict_segment());
    assert!(!ring.evict_segment());
    assert_eq!((ring.oldest(), ring.bytes()), (2, 0));
    assert_eq!(push(&mut ring, false), 2);
}
