//! Patterns as OpenCode reads them: `*` is any text, `?` one character, and a ` *` at the end may be missing
//! altogether, so that `ls *` covers `ls`.

/// Whether `pattern` covers the whole of `text`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let text = text.replace('\\', "/");
    let pattern = pattern.replace('\\', "/");
    let bare = pattern.strip_suffix(" *");
    glob(&pattern, &text) || bare.is_some_and(|bare| glob(bare, &text))
}

/// Goes back to the last `*` whenever what follows it does not fit: in the worst case as many steps as the two
/// lengths multiplied.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = text.get(place) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                (at, place) = (after + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_opencodes_cover() {
        for (pattern, text, covered) in [
            ("*", "", true),
            ("*", "anything\nat all", true),
            ("rm *", "rm -rf x", true),
            ("rm *", "rm", true),
            ("rm *", "rmdir x", false),
            ("git status*", "git status --short", true),
            ("src/*.rs", "src/a/b.rs", true),
            ("src\\*.rs", "src/b.rs", true),
            ("?.rs", "a.rs", true),
            ("?.rs", "ab.rs", false),
            ("a.c", "abc", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("ünter*", "ünterwegs", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), covered, "{pattern} {text}");
        }
    }
}
