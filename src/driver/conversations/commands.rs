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

/// The words of the arguments take the places `$1`, `$2`, …, the last of which takes the rest, and all together the place
/// `$ARGUMENTS`. Where there is no place they are put behind.
fn expand(command: &Command, arguments: &str) -> String {
    let arguments = arguments.trim();
    let template = &command.template;
    let places: Vec<usize> = (1..=9)
        .filter(|place| template.contains(&format!("${place}")))
        .collect();
    let mut text = template.clone();
    let mut words = arguments.split_whitespace();
    for place in &places {
        let is_last = Some(place) == places.last();
        let value = if is_last {
            words.by_ref().collect::<Vec<_>>().join(" ")
        } else {
            words.next().unwrap_or_default().to_owned()
        };
        text = text.replace(&format!("${place}"), &value);
    }
    let has_place = !places.is_empty() || template.contains("$ARGUMENTS");
    text = text.replace("$ARGUMENTS", arguments);
    if !has_place && !arguments.is_empty() {
        text.push_str("\n\n");
        text.push_str(arguments);
    }
    text
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
    }
}
