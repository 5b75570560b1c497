//! Chat templates: messages become the prompt that a model was trained on, by the template that comes with it.
//!
//! A template is a program of somebody else's: it has no files, no network, and so much fuel, and what it makes has a
//! limit. It is Jinja as Hugging Face's `apply_chat_template` runs it: blocks trimmed, loop controls, Python's methods of
//! texts and lists, `raise_exception`, `strftime_now`, and `tojson` as Python writes JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value as Json};

use crate::error::InferError;

/// Steps of a template.
const FUEL: u64 = 5_000_000;
/// The largest template, and the longest prompt that one may make, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
const PROMPT_BYTES_MAX: usize = 64 << 20;
const NAME: &str = "chat_template";

/// A template, ready to be filled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
    knows_tools: bool,
}

impl ChatTemplate {
    /// Reads a template. `begin` and `end` are the words of the tokens that begin and end a text, which templates write
    /// themselves.
    ///
    /// # Errors
    /// [`InferError::Template`] when it is too large or no Jinja.
    pub fn parse(source: &str, begin: &str, end: &str) -> Result<Self, InferError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(failed("read")(format!("it has {} bytes", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed("read"))?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, now()));
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.to_owned()).map_err(failed("read"))?;
        Ok(Self { environment, begin: begin.to_owned(), end: end.to_owned(), knows_tools: source.contains("tools") })
    }

    /// Whether the template itself tells the model of tools.
    #[must_use]
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// The prompt of some messages (objects with `role` and `content`, as clients of OpenAI's interface send them), with the
    /// beginning of the answer. `variables` are those of the model's own, such as `enable_thinking`.
    ///
    /// # Errors
    /// [`InferError::Template`] with what the template itself says, when it refuses the messages or does not end.
    pub fn render(
        &self,
        messages: &[Json],
        tools: Option<&[Json]>,
        variables: &Map<String, Json>,
    ) -> Result<String, InferError> {
        let template = self.environment.get_template(NAME).map_err(failed("use"))?;
        let given = context! {
            messages => Value::from(Serde(messages)),
            tools => tools.map(|tools| Value::from(Serde(tools))),
            add_generation_prompt => true,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
            ..Value::from(Serde(variables))
        };
        let prompt = template.render(given).map_err(failed("use"))?;
        if prompt.len() > PROMPT_BYTES_MAX {
            return Err(failed("use")(format!("it made {} bytes", prompt.len())));
        }
        Ok(prompt)
    }
}

fn failed<E: std::fmt::Display>(verb: &'static str) -> impl FnOnce(E) -> InferError {
    move |error| InferError::Template { verb, what: error.to_string() }
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False, indent=indent)` writes it.
#[expect(clippy::needless_pass_by_value, reason = "the interface of filters")]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let wrong = |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut bytes = Vec::new();
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)).map_err(wrong)?,
        Some(indent) => {
            let spaces = vec![b' '; indent.min(16)];
            let formatter = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).map_err(wrong)?;
        }
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment (UTC) as templates ask for it: `%d %b %B %Y %m %H %M %S`.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Hinnant 2013).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + 400 * era + u64::from(month <= 2);
    let name = MONTHS[month as usize - 1];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('d') => text.push_str(&format!("{day:02}")),
            Some('b') => text.push_str(&name[..3]),
            Some('B') => text.push_str(name),
            Some('Y') => text.push_str(&format!("{year:04}")),
            Some('m') => text.push_str(&format!("{month:02}")),
            Some('H') => text.push_str(&format!("{:02}", second / 3600)),
            Some('M') => text.push_str(&format!("{:02}", second / 60 % 60)),
            Some('S') => text.push_str(&format!("{:02}", second % 60)),
            Some('%') | None => text.push('%'),
            Some(other) => text.extend(['%', other]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Templates of real models, and what Hugging Face's `transformers` makes with them
    /// (`crates/xtask/peers/chat_templates.py`).
    #[test]
    fn prompts_are_those_of_transformers() {
        let golden: Json = serde_json::from_str(include_str!("../../tests/golden/chat-templates.json")).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 8, "{}", cases.len());
        for case in cases {
            let source = golden["templates"][case["template"].as_str().unwrap()].as_str().unwrap();
            let template = ChatTemplate::parse(source, "<s>", "</s>").unwrap();
            let messages = case["messages"].as_array().unwrap();
            let tools = case["tools"].as_array().map(Vec::as_slice);
            let found = template.render(messages, tools, &Map::new());
            match case["prompt"].as_str() {
                Some(prompt) => assert_eq!(found.unwrap(), prompt, "{}", case["template"]),
                None => assert!(found.is_err(), "{}", case["template"]),
            }
        }
    }

    #[test]
    fn hostile_templates_end() {
        let endless = ChatTemplate::parse(
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
            "",
            "",
        );
        assert!(endless.unwrap().render(&[], None, &Map::new()).is_err());
        assert!(ChatTemplate::parse("{% for %}", "", "").is_err());
        assert!(ChatTemplate::parse(&"x".repeat(TEMPLATE_BYTES_MAX + 1), "", "").is_err());
        let refuses = ChatTemplate::parse("{{ raise_exception('roles must alternate') }}", "", "").unwrap();
        assert!(
            refuses.render(&[json!({})], None, &Map::new()).unwrap_err().to_string().contains("roles must alternate")
        );
    }

    #[test]
    fn moments_have_their_date() {
        // `date -u -d @1795578360` is Wed Nov 25 03:46:00 UTC 2026.
        assert_eq!(strftime("%d %b %Y, %B %m, %H:%M:%S %%", 1_795_578_360), "25 Nov 2026, November 11, 03:46:00 %");
        assert_eq!(strftime("%Y-%m-%d", 951_782_400), "2000-02-29");
    }
}
