//! The list itself, without a journal.

use super::*;

fn entry(position: u64, number: u64, first: u64, last: u64) -> Entry {
    Entry {
        position,
        number,
        first,
        last,
    }
}

fn recent(order: &Order, after: u64) -> Vec<Entry> {
    match order.recent(after, usize::MAX) {
        Recent::Entries(entries) => entries,
        Recent::Older { oldest } => panic!("only from {oldest} on"),
    }
}

#[test]
fn a_reader_may_stand_anywhere_and_sees_nothing_past_the_head() {
    let order = Order::in_memory("abcdefghij".into());
    order.show(1, 1, 3);
    order.show(2, 1, 1);
    order.show(1, 4, 9);
    assert_eq!(order.head().position, 10);
    let all = [entry(1, 1, 1, 3), entry(4, 2, 1, 1), entry(5, 1, 4, 9)];
    assert_eq!(recent(&order, 0), all);
    assert_eq!(recent(&order, 6), [entry(7, 1, 6, 9)]);
    // One that has a position and is not shown yet.
    assert_eq!(order.place(2, 2, 5), Some(14));
    assert_eq!(recent(&order, 9), [entry(10, 1, 9, 9)]);
    order.publish(14);
    assert_eq!(recent(&order, 12), [entry(13, 2, 4, 5)]);
}

#[test]
fn what_one_session_says_alone_is_one_entry() {
    let order = Order::in_memory("abcdefghij".into());
    for seq in 1..=100_000 {
        order.show(7, seq, seq);
    }
    assert_eq!(recent(&order, 0), [entry(1, 7, 1, 100_000)]);
}

#[test]
fn the_oldest_entries_go_when_there_are_too_many_or_they_are_forgotten() {
    let order = Order::in_memory("abcdefghij".into());
    for seq in 1..=MOST as u64 {
        order.show(seq % 2, seq, seq);
    }
    assert_eq!(recent(&order, 0).len(), MOST);
    order.show(3, 1, 1);
    assert_eq!(order.recent(0, 9), Recent::Older { oldest: 2 });
    order.forget_before(1000);
    assert_eq!(order.oldest(), 1000);
    assert_eq!(order.recent(7, 9), Recent::Older { oldest: 1000 });
    assert_eq!(recent(&order, 999).len(), MOST + 2 - 1000);
}

#[test]
fn before_the_journal_is_open_no_position_is_given() {
    let order = Order::for_journal();
    assert_eq!((order.place(1, 1, 5), order.epoch()), (None, None));
    order.open(OrderStart {
        epoch: "abcdefghij".into(),
        oldest: 11,
        next: 21,
    });
    assert_eq!((order.oldest(), order.head().position), (11, 20));
    assert_eq!(order.recent(15, 9), Recent::Older { oldest: 21 });
    assert_eq!(order.place(1, 1, 5), Some(25));
    assert_eq!(order.written(), 20);
}
