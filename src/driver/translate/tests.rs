//! Every recording of the real OpenCode, through the decoder and the translator.

mod crash;
mod harness;
mod healing;
mod missed;
mod mutation;
mod replay;
mod restoring;
mod shorten;
mod units;

use replay::{Recording, run};

/// What a client sees of each recording. Read these when they change: they are the product.
macro_rules! transcripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let recording = Recording::read(stringify!($name));
            insta::assert_snapshot!(stringify!($name), run(&recording).transcript());
        }
    )*

    /// The names of all recordings.
    pub(super) const RECORDINGS: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts! {
    cap_apply_patch cap_big cap_binary cap_denied cap_emoji cap_emoji_bytes cap_empty cap_exit3
    cap_hallucinated cap_length cap_loop cap_oneline cap_overflow cap_parallel cap_queued cap_read
    cap_retry_fail cap_slide cap_sub_abort cap_sub_two cap_tenmb cap_todos cap_trailing
    cap_two_turns cap_unknown_agent cap_unknown_model
    external hang_llm i_plain_text ii_bash_stream iii_write_edit iv_subagent perm_ask_once
    perm_ask_reject perm_deny_pattern question_reject question_reply todo v_llm_401 vi_b_llm_500
    vi_c_conn_drop vi_llm_429_retry_after vii_a_abort_stream vii_b_abort_bash viii_compaction_auto
    viii_compaction_manual x_patch_config_aborts_run x_patch_global_config_aborts_run
}

#[test]
fn every_recording_has_a_transcript() {
    let mut files: Vec<String> = std::fs::read_dir("tests/recordings")
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".jsonl").map(str::to_owned))
        .collect();
    files.sort();
    let mut names = RECORDINGS.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}
