//! The words of the model.

use super::*;
use crate::checker::words::heard;

#[test]
fn a_word_twice_a_word_missing_and_an_answer_again() {
    let say = |text: &str| output("assistant", text).1;
    for (number, text) in [
        (4, "1.2]"),
        (4, ""),
        (4, "2] [1.2]"),
        (4, "2] [1.4]"),
        (8, "[1.1]"),
        (8, "[2.2]"),
        (8, "Something else"),
        (11, "[3.1]"),
        (11, "[2.2] [3.1] [3.2]"),
    ] {
        assert_found("words", |evidence| {
            rewrite(evidence, number, "output", &say(text));
        });
    }
    assert_found("words", |evidence| {
        rewrite(
            evidence,
            12,
            "complete",
            &json!({ "final_message": "[3.1]" }),
        );
    });
    assert_found("words", |evidence| {
        rewrite(evidence, 2, "output", &output("reasoning", "[1.2]").1);
    });
    assert_found("words", |evidence| {
        rewrite(evidence, 6, "output", &output("tool", "[1.2]").1);
    });
    assert_found("words", |evidence| {
        let mut result = data(7);
        result["result"]["stdout"] = json!("[1.1]\n[1.1]\n[1.2]\n");
        rewrite(evidence, 7, "tool_result", &result);
    });
    assert_found("words", |evidence| {
        let mut result = data(7);
        result["result"]["stdout"] = json!("[1.1]\n");
        rewrite(evidence, 7, "tool_result", &result);
    });
}

#[test]
fn an_answer_that_is_cut_ends_there() {
    assert_eq!(heard("[1.1] [1.2"), Ok(vec![(1, 1)]));
    assert_eq!(heard("[1.1] [1.[2.1]"), Ok(vec![(1, 1), (2, 1)]));
    heard("[1.1] [1.[1.2]").unwrap_err();
    heard("[2.1] [1.1]").unwrap_err();
    heard("[1.1] and [1.2]").unwrap_err();
}
