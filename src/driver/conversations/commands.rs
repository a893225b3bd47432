//! The prompts that OpenCode has a name for.

use super::error::ConversationError;
use super::handle::Conversations;
use crate::opencode::Command;

// === impl Conversations ===

impl Conversations {
    /// The prompt that command `name` stands for.
    pub(crate) async fn command(
        &self,
        name: &str,
        arguments: &str,
    ) -> Result<String, ConversationError> {
        let client = self.child().await?.client;
        let _slot = self.slot().await;
        let commands = client.commands(&self.context.config.workspace).await?;
        if let Some(command) = commands.iter().find(|command| command.name == name) {
            return Ok(expand(command, arguments));
        }
        let names = commands.into_iter().map(|command| command.name);
        Err(ConversationError::NoCommand(names.collect()))
    }
}

/// What stands for arguments in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `$1`, `$2`, …
    Word(usize),
    /// `$ARGUMENTS`
    All,
}

/// The words of the arguments take the places `$1`, `$2`, …, the last of which takes the rest, and all together the place
/// `$ARGUMENTS`. Where there is no place they are put behind. As OpenCode does it, but in one pass: what an argument says is
/// not looked at again.
fn expand(command: &Command, arguments: &str) -> String {
    let arguments = arguments.trim();
    let (pieces, rest) = pieces(&command.template);
    let last = pieces.iter().filter_map(|(_, place)| match place {
        Place::Word(number) => Some(*number),
        Place::All => None,
    });
    let last = last.max();
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let mut text = String::new();
    for (before, place) in &pieces {
        text.push_str(before);
        match place {
            Place::All => text.push_str(arguments),
            Place::Word(number) => {
                let taken = words.get(number.saturating_sub(1)..).unwrap_or_default();
                let most = if Some(*number) == last {
                    taken.len()
                } else {
                    1
                };
                let taken = taken.iter().take(most).copied();
                text.push_str(&taken.collect::<Vec<_>>().join(" "));
            }
        }
    }
    text.push_str(rest);
    if pieces.is_empty() && !arguments.is_empty() {
        text.push_str("\n\n");
        text.push_str(arguments);
    }
    text
}

/// The places of a template, each with the text before it, and the text after the last one.
fn pieces(template: &str) -> (Vec<(&str, Place)>, &str) {
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for (at, _) in template.match_indices('$') {
        let Some(after) = template.get(at + 1..) else {
            continue;
        };
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = after.get(..digits).and_then(|digits| digits.parse().ok());
        let (place, length) = match number {
            Some(number) => (Place::Word(number), digits),
            None if after.starts_with("ARGUMENTS") => (Place::All, "ARGUMENTS".len()),
            None => continue,
        };
        pieces.push((template.get(begin..at).unwrap_or_default(), place));
        begin = at + 1 + length;
    }
    (pieces, template.get(begin..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(template: &str, arguments: &str) -> String {
        let command = Command {
            name: "c".into(),
            template: template.into(),
        };
        expand(&command, arguments)
    }

    #[test]
    fn arguments_take_their_places_or_are_put_behind() {
        assert_eq!(expanded("do $ARGUMENTS now", " a b "), "do a b now");
        assert_eq!(expanded("from $1 to $2", "a b c"), "from a to b c");
        assert_eq!(expanded("from $1 to $2", "a"), "from a to ");
        assert_eq!(expanded("look", "at this"), "look\n\nat this");
        assert_eq!(expanded("look", ""), "look");
        assert_eq!(expanded("$3, $1", "a b c d"), "c d, a");
        assert_eq!(expanded("$1 costs 5$", "tea"), "tea costs 5$");
    }

    #[test]
    fn what_an_argument_says_is_not_a_place() {
        assert_eq!(expanded("$1 and $2", "$2 $ARGUMENTS"), "$2 and $ARGUMENTS");
        assert_eq!(expanded("$10 $1", "a"), " a");
        assert_eq!(expanded("all: $ARGUMENTS", "$1"), "all: $1");
    }
}
