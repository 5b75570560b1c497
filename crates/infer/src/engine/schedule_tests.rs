//! The scheduler with a model whose every answer depends on all that it should see, and on nothing else.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const VOCABULARY: usize = 5;
const POSITIONS: usize = 3;

/// Keeps tokens where keys and values would be, and finds its answer in a sequence's pages.
struct Memory {
    slots: Vec<u32>,
    logits: Vec<f32>,
    rows: Rc<RefCell<Vec<usize>>>,
    /// What is added to every token that it gives.
    wrong: u32,
}

/// The token that follows a sequence.
fn following(tokens: &[u32]) -> u32 {
    let mixed = tokens.iter().fold(7_u32, |mixed, token| mixed.wrapping_mul(31).wrapping_add(*token + 1));
    (mixed >> 3) % VOCABULARY as u32
}

impl Forward for Memory {
    fn forward(&mut self, batch: &Batch) -> &mut [f32] {
        self.rows.borrow_mut().push(batch.tokens.len());
        for part in &batch.parts {
            for row in part.rows.clone() {
                let position = part.position + row - part.rows.start;
                let slot = part.pages[position / POSITIONS] as usize * POSITIONS + position % POSITIONS;
                self.slots[slot] = batch.tokens[row];
            }
        }
        self.logits.clear();
        for row in &batch.wanted {
            let part = batch.parts.iter().find(|part| part.rows.contains(row)).unwrap();
            let seen: Vec<u32> = (0..=part.position + row - part.rows.start)
                .map(|position| {
                    self.slots[part.pages[position / POSITIONS] as usize * POSITIONS + position % POSITIONS]
                })
                .collect();
            let token = (following(&seen) + self.wrong) % VOCABULARY as u32;
            self.logits.extend((0..VOCABULARY as u32).map(|other| if other == token { 1.0 } else { 0.0 }));
        }
        &mut self.logits
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }
}

/// What a sequence's client heard.
#[derive(Debug, Default, Clone, PartialEq)]
struct Heard {
    tokens: Vec<u32>,
    cached: usize,
    ended: bool,
    cut: Option<Cut>,
}

struct Client {
    heard: Rc<RefCell<Heard>>,
    most: usize,
    /// Guesses are wrong at every so many places; 0: nothing is guessed.
    wrong_every: usize,
    /// The client goes away after so many tokens.
    leaves: usize,
}

impl Writer for Client {
    fn next(&mut self, _: &[u32], logits: &mut [f32]) -> Next {
        let mut heard = self.heard.borrow_mut();
        let token = logits.iter().position(|logit| *logit == 1.0).unwrap() as u32;
        heard.tokens.push(token);
        if heard.tokens.len() == self.most {
            heard.ended = true;
            return Next::End;
        }
        Next::Token(token)
    }

    fn guess(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        if self.wrong_every == 0 {
            return Vec::new();
        }
        let mut all = tokens.to_vec();
        for _ in 0..most {
            let wrong = u32::from(all.len().is_multiple_of(self.wrong_every));
            all.push((following(&all) + wrong) % VOCABULARY as u32);
        }
        all.split_off(tokens.len())
    }

    fn wants_draft(&mut self, most: usize) -> usize {
        most
    }

    fn drafted(&mut self, guesses: &[u32]) {
        assert!(!guesses.is_empty() && self.wrong_every == 0);
    }

    fn is_gone(&self) -> bool {
        self.heard.borrow().tokens.len() >= self.leaves
    }

    fn begins(&mut self, cached: usize) {
        self.heard.borrow_mut().cached = cached;
    }

    fn cut(&mut self, why: Cut) {
        self.heard.borrow_mut().cut = Some(why);
    }
}

struct World {
    scheduler: Scheduler<Memory, Client>,
    rows: Rc<RefCell<Vec<usize>>>,
}

fn world(pages: usize, limits: Limits) -> World {
    drafted_world(pages, limits, None)
}

/// With a draft that is wrong by so much.
fn drafted_world(pages: usize, limits: Limits, wrong: Option<u32>) -> World {
    let rows = Rc::new(RefCell::new(Vec::new()));
    let memory = |wrong, rows| Memory { slots: vec![9; pages * POSITIONS], logits: Vec::new(), rows, wrong };
    let draft = wrong.map(|wrong| memory(wrong, Rc::default()));
    World { scheduler: Scheduler::new(memory(0, rows.clone()), draft, Pages::new(pages, POSITIONS), limits), rows }
}

impl World {
    fn add(&mut self, prompt: &[u32], most: usize, wrong_every: usize, leaves: usize) -> Rc<RefCell<Heard>> {
        let heard = Rc::new(RefCell::new(Heard::default()));
        self.scheduler.add(prompt.to_vec(), Client { heard: heard.clone(), most, wrong_every, leaves });
        heard
    }

    fn run(&mut self) -> Done {
        let mut all = Done::default();
        for _ in 0..10_000 {
            if self.scheduler.load() == (0, 0) {
                return all;
            }
            let done = self.scheduler.step();
            all.guessed += done.guessed;
            all.right += done.right;
            all.preempted += done.preempted;
        }
        panic!("it does not end: {:?}", self.scheduler.load());
    }
}

/// What follows a prompt, token by token.
fn alone(prompt: &[u32], most: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    for _ in 0..most {
        all.push(following(&all));
    }
    all.split_off(prompt.len())
}

const LIMITS: Limits = Limits { rows_max: 6, sequences_max: 4, guesses_max: 3 };

#[test]
fn a_long_prompt_holds_nobody_up() {
    let mut world = world(40, LIMITS);
    let short = world.add(&[1, 2], 9, 0, usize::MAX);
    let long = world.add(&[3; 50], 2, 0, usize::MAX);
    for step in 1..=9 {
        world.scheduler.step();
        assert_eq!(short.borrow().tokens.len(), step, "a token in every step");
    }
    world.run();
    assert_eq!(long.borrow().tokens, alone(&[3; 50], 2));
    assert!(world.rows.borrow().iter().all(|rows| *rows <= 6));
}

#[test]
fn right_guesses_save_steps_and_change_nothing() {
    let counted = |wrong_every: usize| {
        let mut world = world(40, LIMITS);
        let heard = world.add(&[1, 2, 3], 20, wrong_every, usize::MAX);
        let done = world.run();
        assert_eq!(heard.borrow().tokens, alone(&[1, 2, 3], 20));
        let steps = world.rows.borrow().len();
        (steps, done.guessed, done.right)
    };
    assert_eq!(counted(0), (20, 0, 0));
    let (steps, guessed, right) = counted(usize::MAX);
    assert!(steps <= 7 && right >= 14 && guessed >= right, "{steps} steps, {right} of {guessed}");
    let (steps, guessed, right) = counted(1);
    assert!(steps == 20 && right == 0 && guessed > 0);
}

#[test]
fn a_draft_saves_steps_and_changes_nothing() {
    let counted = |wrong: u32| {
        let mut world = drafted_world(40, LIMITS, Some(wrong));
        let heard = world.add(&[1, 2, 3], 20, 0, usize::MAX);
        let done = world.run();
        assert_eq!(heard.borrow().tokens, alone(&[1, 2, 3], 20));
        let steps = world.rows.borrow().len();
        (steps, done.guessed, done.right)
    };
    let (steps, guessed, right) = counted(0);
    assert!(steps <= 7 && right >= 14 && guessed >= right, "{steps} steps, {right} of {guessed}");
    let (steps, guessed, right) = counted(1);
    assert!(steps == 20 && right == 0 && guessed > 0);
}

#[test]
fn a_second_client_finds_the_prompt_of_the_first() {
    let mut world = world(40, LIMITS);
    let prompt = [1, 2, 3, 4, 0, 1, 2];
    world.add(&prompt, 3, 0, usize::MAX);
    world.run();
    let again = world.add(&prompt, 3, 0, usize::MAX);
    world.run();
    assert_eq!((again.borrow().cached, &again.borrow().tokens), (6, &alone(&prompt, 3)));
}

#[test]
fn prompts_that_begin_alike_compute_the_beginning_once() {
    let mut world = world(60, LIMITS);
    let begin = [1, 2, 3, 4, 0, 1, 2, 3, 3, 2, 1, 0];
    let all: Vec<_> = (0..4).map(|end| world.add(&[&begin[..], &[end, end]].concat(), 2, 0, usize::MAX)).collect();
    world.run();
    for (end, heard) in all.iter().enumerate() {
        let heard = heard.borrow();
        assert_eq!(heard.tokens, alone(&[&begin[..], &[end as u32, end as u32]].concat(), 2));
        assert_eq!(heard.cached, if end == 0 { 0 } else { 12 });
    }
    assert_eq!(world.rows.borrow().iter().sum::<usize>(), 14 + 3 * 2 + 4);
}

#[test]
fn what_never_fits_is_told() {
    let mut world = world(3, LIMITS);
    let long = world.add(&[1; 9], 1, 0, usize::MAX);
    let grows = world.add(&[1; 4], 30, 0, usize::MAX);
    let fits = world.add(&[1; 4], 3, 0, usize::MAX);
    world.run();
    assert_eq!((long.borrow().cut, grows.borrow().cut), (Some(Cut::TooLong), Some(Cut::TooLong)));
    assert_eq!(grows.borrow().tokens, alone(&[1; 4], grows.borrow().tokens.len()));
    assert_eq!(fits.borrow().tokens, alone(&[1; 4], 3));
}

proptest! {
    /// Whoever else is there, and however often pages run out, a client hears what it would hear alone.
    #[test]
    fn company_changes_nothing(
        clients in prop::collection::vec(
            (prop::collection::vec(0..3_u32, 1..14), 1..12_usize, 0..4_usize, 0..6_usize, prop::option::of(0..4_usize)),
            1..9,
        ),
        pages in 9..20_usize,
        rows_max in 1..9_usize,
        draft in prop::option::of(0..2_u32),
    ) {
        let mut world = drafted_world(pages, Limits { rows_max, ..LIMITS }, draft);
        let mut all = Vec::new();
        for (prompt, most, wrong_every, steps, leaves) in &clients {
            all.push(world.add(prompt, *most, *wrong_every, leaves.unwrap_or(usize::MAX)));
            for _ in 0..*steps {
                world.scheduler.step();
            }
        }
        world.run();
        for (heard, (prompt, most, _, _, leaves)) in all.iter().zip(&clients) {
            let heard = heard.borrow();
            prop_assert_eq!(&heard.tokens, &alone(prompt, heard.tokens.len()));
            if leaves.is_none() {
                prop_assert!(heard.ended && heard.tokens.len() == *most);
            } else {
                prop_assert!(heard.ended || heard.cut == Some(Cut::Gone));
            }
        }
        prop_assert_eq!(world.scheduler.pages().available(), pages);
    }
}
