//! Kubernetes' quantities: `500m`, `1Gi`, `10M`. The validators take any text for one.

const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
];

/// In bytes, cores or pieces. `None` is no quantity.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value: f64 = plain.then(|| number.parse().ok())??;
    (value > 0.0).then_some(value * factor)
}

#[test]
fn quantities_are_read_as_kubernetes_reads_them() {
    let cases = [
        ("500m", Some(0.5)),
        ("2", Some(2.0)),
        ("1.5", Some(1.5)),
        ("1Gi", Some(1_073_741_824.0)),
        ("1G", Some(1e9)),
        ("64Mi", Some(67_108_864.0)),
        ("1gb", None),
        ("1 Gi", None),
        ("-1", None),
        ("0", None),
        ("", None),
        ("Gi", None),
        ("1e", None),
        ("inf", None),
    ];
    for (text, expected) in cases {
        let close = match (parse(text), expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(close, "{text}: {:?}", parse(text));
    }
}
