use super::*;

#[test]
fn every_code_has_its_status() {
    let table: Vec<String> = <ErrorCode as strum::VariantArray>::VARIANTS
        .iter()
        .map(|code| {
            format!(
                "{} {}",
                code.status().as_u16(),
                serde_json::to_value(code).unwrap()
            )
        })
        .collect();
    let expected = [
        "400 \"invalid_request\"",
        "401 \"unauthorized\"",
        "403 \"foreign_origin\"",
        "403 \"agent_process\"",
        "404 \"not_found\"",
        "405 \"method_not_allowed\"",
        "409 \"conflict\"",
        "409 \"already_answered\"",
        "410 \"gone\"",
        "413 \"payload_too_large\"",
        "421 \"unknown_host\"",
        "422 \"idempotency_mismatch\"",
        "409 \"credentials_required\"",
        "429 \"too_many_streams\"",
        "429 \"queue_full\"",
        "426 \"upgrade_required\"",
        "503 \"too_many_sessions\"",
        "503 \"engine_unavailable\"",
        "503 \"workspace_unavailable\"",
        "503 \"journal_unavailable\"",
        "503 \"shutting_down\"",
        "500 \"internal\"",
    ];
    assert_eq!(table, expected);
}
