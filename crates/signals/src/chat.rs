//! Signals of a chat: its turns, their roles and order, and whether the assistant declines.

use words::strip;

use crate::measure::{Scratch, measure_with};
use crate::{MeasureConfig, Signals, SignalsError};

/// One turn of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<'a> {
    /// `system`, `user`, `assistant` or `tool`; also the names that other collections have for them.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
    Tool,
    Unknown,
}

impl Role {
    fn of(name: &str) -> Self {
        match name {
            "system" | "developer" => Self::System,
            "user" | "human" => Self::User,
            "assistant" | "gpt" | "model" | "bot" | "chatbot" => Self::Assistant,
            "tool" | "function" | "function_call" | "observation" | "ipython" | "tool_call" => Self::Tool,
            _ => Self::Unknown,
        }
    }
}

/// How an assistant declines, in lower case with plain apostrophes; looked for at the start of its turn.
const REFUSALS: [&str; 26] = [
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "i'm sorry, i can",
    "i am sorry, i can",
    "sorry, but i can",
    "sorry, i can",
    "i apologize, but i can",
    "i cannot assist",
    "i can't assist",
    "i cannot help with",
    "i can't help with",
    "i cannot provide",
    "i can't provide",
    "i cannot fulfill",
    "i can't fulfill",
    "i'm not able to",
    "i am not able to",
    "i'm unable to",
    "i am unable to",
    "as an ai language model",
    "as a language model",
    "as an ai assistant, i",
    "很抱歉，我无法",
    "抱歉，我无法",
    "对不起，我不能",
    "作为一个人工智能",
];

/// How much of a turn's start is searched, in characters.
const REFUSAL_CHARACTERS: usize = 200;

/// Measures a chat: all its text together, as [`crate::measure()`] does, and its turns.
///
/// # Errors
/// If the text is too long.
pub fn measure_chat(
    turns: &[Turn<'_>],
    config: &MeasureConfig,
    scratch: &mut Scratch,
) -> Result<Signals, SignalsError> {
    let contents: Vec<&str> = turns.iter().map(|turn| turn.content).collect();
    let mut out = measure_with(&contents.join("\n\n"), config, scratch)?;
    out.chat_turns = turns.len() as u64;
    let mut answers: Vec<&str> = Vec::new();
    let mut previous = None;
    for (index, turn) in turns.iter().enumerate() {
        let role = Role::of(turn.role);
        let content = strip(turn.content);
        let characters = content.chars().count() as u64;
        // A call of a tool may stand in place of words.
        out.chat_empty_turns += u64::from(characters == 0 && role != Role::Tool);
        out.chat_unknown_roles += u64::from(role == Role::Unknown);
        out.chat_order_breaks += u64::from(breaks_order(previous, role, index));
        out.chat_longest_turn = out.chat_longest_turn.max(characters);
        if role == Role::Assistant {
            out.chat_refusals += u64::from(is_refusal(content));
            out.chat_repeated_answers += u64::from(answers.contains(&content));
            let shortest = if answers.is_empty() { characters } else { out.chat_shortest_answer.min(characters) };
            out.chat_shortest_answer = shortest;
            answers.push(content);
        }
        previous = Some(role);
    }
    out.chat_ends_with_assistant = u64::from(previous == Some(Role::Assistant));
    Ok(out)
}

/// A system turn comes first only; a user speaks first or after an answer; an assistant after a user or a tool.
fn breaks_order(previous: Option<Role>, role: Role, index: usize) -> bool {
    match role {
        Role::System => index > 0,
        Role::User => matches!(previous, Some(Role::User | Role::Tool)),
        Role::Assistant => !matches!(previous, Some(Role::User | Role::Tool)),
        Role::Tool => !matches!(previous, Some(Role::Assistant | Role::Tool)),
        Role::Unknown => false,
    }
}

fn is_refusal(content: &str) -> bool {
    let head: String = content.chars().take(REFUSAL_CHARACTERS).map(|c| if c == '’' { '\'' } else { c }).collect();
    let head = head.to_lowercase();
    REFUSALS.iter().any(|refusal| head.contains(refusal))
}
