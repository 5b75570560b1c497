//! The engine's thread with a model that needs no weights.

use std::ops::ControlFlow;

use super::*;
use crate::language::FinishReason;
use crate::sampling::Sampling;

const POSITIONS: usize = 4;
const TEXTS: [&str; 3] =
    ["the ship is in the yard, and the yard is at the sea", "{\"name\": \"ship\", \"length\": 42}", "a b c d e f g"];

fn tokenizer() -> TextTokenizer {
    TextTokenizer::train(TEXTS.into_iter(), 320).unwrap()
}

/// Logits that depend on every token that a row sees.
struct Toy {
    vocabulary: usize,
    slots: Vec<u32>,
    logits: Vec<f32>,
    /// How long a step takes.
    time: Duration,
}

impl Forward for Toy {
    fn forward(&mut self, batch: &Batch) -> &mut [f32] {
        std::thread::sleep(self.time);
        let slot =
            |part: &Part, position: usize| part.pages[position / POSITIONS] as usize * POSITIONS + position % POSITIONS;
        for part in &batch.parts {
            for row in part.rows.clone() {
                self.slots[slot(part, part.position + row - part.rows.start)] = batch.tokens[row];
            }
        }
        self.logits.clear();
        for row in &batch.wanted {
            let part = batch.parts.iter().find(|part| part.rows.contains(row)).unwrap();
            let end = part.position + row - part.rows.start;
            let seed = (0..=end).fold(1_u64, |seed, position| {
                (seed ^ u64::from(self.slots[slot(part, position)])).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
            });
            self.logits.extend((0..self.vocabulary as u64).map(|token| {
                let mixed = (seed ^ token).wrapping_mul(0xd6e8_feb8_6659_fd93);
                (mixed >> 40) as f32 / (1_u64 << 24) as f32 * 8.0
            }));
        }
        &mut self.logits
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

const CONFIG: EngineConfig = EngineConfig {
    step_rows_max: 16,
    sequences_max: 4,
    waiting_max: 20,
    page_positions: POSITIONS,
    pages: 60,
    guesses_max: 2,
    context: 240,
};

fn engine(config: EngineConfig, time: Duration) -> Engine {
    let tokenizer = tokenizer();
    let vocabulary = tokenizer.vocabulary_size();
    let toy = Toy { vocabulary, slots: vec![0; config.pages * POSITIONS], logits: Vec::new(), time };
    let ends = vec![tokenizer.end_of_text()];
    Engine::start(Box::new(toy), tokenizer, ends, config).unwrap()
}

/// Goes wrong at its second step.
struct Faulty(Vec<f32>);

impl Forward for Faulty {
    fn forward(&mut self, _: &Batch) -> &mut [f32] {
        assert!(self.0.is_empty(), "on purpose");
        self.0.resize(320, 0.0);
        &mut self.0
    }

    fn vocabulary(&self) -> usize {
        320
    }
}

#[test]
fn an_engine_that_ended_by_a_fault_says_so() {
    let engine = Engine::start(Box::new(Faulty(Vec::new())), tokenizer(), Vec::new(), CONFIG).unwrap();
    assert!(!engine.has_ended());
    let events: Vec<Event> = ask(&engine, "the", sampling(5, 1), None).into_iter().collect();
    assert!(!events.iter().any(|event| matches!(event, Event::End(_))), "{events:?}");
    while !engine.has_ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let request = Request {
        prompt: vec![1],
        sampling: sampling(1, 0),
        structure: None,
        ignore_end: false,
        cancelled: Arc::default(),
        on_event: Box::new(|_| ControlFlow::Continue(())),
    };
    assert_eq!(engine.submit(request), Err(Refused::Closed));
}

fn sampling(max_tokens: usize, seed: u64) -> Sampling {
    Sampling { max_tokens, seed, ..Sampling::default() }
}

/// Hands a prompt in; the events come through the receiver.
fn ask(engine: &Engine, prompt: &str, sampling: Sampling, structure: Option<Matcher>) -> Receiver<Event> {
    let (sender, receiver) = channel();
    let on_event =
        move |event| if sender.send(event).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let prompt = engine.tokenizer().encode(prompt).unwrap();
    let request = Request {
        prompt,
        sampling,
        structure,
        ignore_end: false,
        cancelled: Arc::default(),
        on_event: Box::new(on_event),
    };
    engine.submit(request).unwrap();
    receiver
}

/// The whole text, the tokens, and the end.
fn hear(events: &Receiver<Event>) -> (String, Vec<u32>, Summary) {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for event in events {
        match event {
            Event::Begin { .. } => {}
            Event::Token { text: certain, choice } => {
                text.push_str(&certain);
                tokens.push(choice.token);
            }
            Event::End(summary) => {
                text.push_str(&summary.text);
                return (text, tokens, summary);
            }
            Event::Failed(failure) => panic!("{failure:?}"),
        }
    }
    panic!("no end");
}

#[test]
fn company_and_guesses_change_nothing() {
    let alone = |index: usize| {
        let engine = engine(EngineConfig { guesses_max: 0, sequences_max: 1, ..CONFIG }, Duration::ZERO);
        let (text, tokens, _) = hear(&ask(&engine, TEXTS[index % 3], sampling(30, index as u64), None));
        (text, tokens)
    };
    let engine = engine(CONFIG, Duration::ZERO);
    let all: Vec<_> = (0..12).map(|index| ask(&engine, TEXTS[index % 3], sampling(30, index as u64), None)).collect();
    for (index, events) in all.iter().enumerate() {
        let (text, tokens, summary) = hear(events);
        assert_eq!((text, tokens), alone(index), "{index}");
        assert!(summary.completion_tokens <= 30);
    }
    let statistics = engine.statistics();
    assert!(statistics.sequences.load(Ordering::Relaxed) > statistics.steps.load(Ordering::Relaxed));
    assert_eq!(statistics.pages_used.load(Ordering::Relaxed), 0);
}

#[test]
fn the_queue_has_an_end() {
    let engine = engine(EngineConfig { sequences_max: 1, waiting_max: 2, ..CONFIG }, Duration::from_millis(20));
    let mut heard = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let prompt = engine.tokenizer().encode("the").unwrap();
        let (sender, receiver) = channel();
        let on_event = move |event| {
            let _ = sender.send(event);
            ControlFlow::Continue(())
        };
        let request = Request {
            prompt,
            sampling: sampling(3, 1),
            structure: None,
            ignore_end: true,
            cancelled: Arc::default(),
            on_event: Box::new(on_event),
        };
        match engine.submit(request) {
            Ok(()) => heard.push(receiver),
            Err(why) => {
                assert_eq!(why, Refused::Full);
                refused += 1;
            }
        }
    }
    assert!(refused >= 15, "{refused}");
    for events in &heard {
        assert_eq!(hear(events).2.completion_tokens, 3);
    }
}

#[test]
fn finishing_answers_what_was_taken() {
    let engine = engine(CONFIG, Duration::from_millis(2));
    let all: Vec<_> = (0..6).map(|seed| ask(&engine, "the ship", sampling(10, seed), None)).collect();
    engine.finish();
    assert!(all.iter().all(|events| hear(events).2.finish_reason != FinishReason::Cancelled));
    let on_event = Box::new(|_| ControlFlow::Continue(()));
    let request = Request {
        prompt: vec![1],
        sampling: sampling(1, 0),
        structure: None,
        ignore_end: false,
        cancelled: Arc::default(),
        on_event,
    };
    assert_eq!(engine.submit(request), Err(Refused::Closed));
}

#[test]
fn who_goes_away_makes_room() {
    let engine = engine(EngineConfig { sequences_max: 1, ..CONFIG }, Duration::from_millis(1));
    let long = ask(&engine, "the ship", sampling(200, 1), None);
    assert!(matches!(long.recv(), Ok(Event::Begin { .. })));
    drop(long);
    hear(&ask(&engine, "the yard", sampling(2, 1), None));
    // The one that went away did not get to its end.
    assert!(engine.statistics().decode_rows.load(Ordering::Relaxed) < 150);
}

#[test]
fn text_keeps_its_structure() {
    let engine = engine(CONFIG, Duration::ZERO);
    let structures = Structures::new(engine.tokenizer(), engine.ends()[0]).unwrap();
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "name": { "enum": ["ship", "sea"] }, "length": { "type": "integer", "maximum": 99, "minimum": 0 } },
        "required": ["name", "length"],
        "additionalProperties": false,
    });
    for seed in 0..5 {
        let matcher = structures.begin(&Structure::JsonSchema(schema.clone())).unwrap();
        let (text, _, summary) = hear(&ask(&engine, "{", sampling(200, seed), Some(matcher)));
        assert_eq!(summary.finish_reason, FinishReason::Stop, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(["ship", "sea"].contains(&value["name"].as_str().unwrap()), "{text}");
        assert!((0..=99).contains(&value["length"].as_i64().unwrap()), "{text}");
        let matcher = structures.begin(&Structure::Regex("(yes|no), [0-9]{2}!".to_owned())).unwrap();
        let (text, ..) = hear(&ask(&engine, "well", sampling(50, seed), Some(matcher)));
        assert!(text.starts_with("yes, ") || text.starts_with("no, "), "{text}");
        assert!(text.ends_with('!') && text.len() <= 8, "{text}");
    }
    for wrong in [
        Structure::Regex("(".to_owned()),
        Structure::JsonSchema(serde_json::json!({ "type": "ship" })),
        Structure::Grammar("start: nothing".to_owned()),
        Structure::Regex("a".repeat(300_000)),
    ] {
        assert!(matches!(structures.begin(&wrong), Err(InferError::Structure { .. })), "{wrong:?}");
    }
}

#[test]
fn stop_texts_and_likeliest_tokens_are_told() {
    let engine = engine(CONFIG, Duration::ZERO);
    let (whole, ..) = hear(&ask(&engine, "the", Sampling { logprobs: Some(3), ..sampling(30, 4) }, None));
    let stop: String = whole.chars().skip(6).take(2).collect();
    let (cut, _, summary) = hear(&ask(&engine, "the", Sampling { stop: vec![stop.clone()], ..sampling(30, 4) }, None));
    assert_eq!((cut.as_str(), summary.finish_reason), (whole.split_once(&stop).unwrap().0, FinishReason::Stop));
    let events = ask(&engine, "the", Sampling { logprobs: Some(3), ..sampling(3, 4) }, None);
    for event in &events {
        if let Event::Token { choice, .. } = event {
            assert!(choice.logprob.unwrap() <= choice.likeliest[0].value && choice.likeliest.len() == 3);
        }
    }
}
